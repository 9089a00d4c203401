import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ChatMessage } from '../../src/contracts/node.js';
import { compileTemplate, namedTokens, pickTemplate } from '../../src/text/template.js';
import { createTextModel } from '../../src/text/text-model.js';
import { codeOf } from './helpers.js';

const messages: readonly ChatMessage[] = [{ role: 'user', content: 'Hi' }];
const end = { addGenerationPrompt: true };

test('a template is a string, or the one named default of a list', () => {
  assert.is(pickTemplate('x'), 'x');
  assert.is(
    pickTemplate([
      { name: 'tool_use', template: 'a' },
      { name: 'default', template: 'b' },
    ]),
    'b',
  );
  assert.is(pickTemplate([{ name: 'only', template: 'a' }]), 'a');
  assert.is(pickTemplate({ default: 'c' }), 'c');
  assert.is(
    pickTemplate([
      { name: 'a', template: 'a' },
      { name: 'b', template: 'b' },
    ]),
    undefined,
  );
  assert.is(pickTemplate(undefined), undefined);
});

test('blocks trim their line as the reference sets Jinja up', () => {
  const render = compileTemplate(
    '{% for m in messages %}\n  {% if true %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}',
    {},
    't',
  );
  assert.is(render(messages, end), 'Hi\n');
});

test('special tokens and the generation prompt are variables; tools and documents are none', () => {
  const tokens = namedTokens({
    bos_token: { content: '<s>' },
    eos_token: null,
    extra_special_tokens: { image_token: '<i>' },
  });
  assert.equal(tokens, { image_token: '<i>', bos_token: '<s>' });
  const source =
    '{{ bos_token }}{{ image_token }}{% if tools is none and not documents %}-{% endif %}{{ add_generation_prompt }}';
  assert.is(compileTemplate(source, tokens, 't')(messages, { addGenerationPrompt: false }), '<s><i>-false');
});

test('what a template refuses is TEMPLATE_INVALID with its own words and the file', () => {
  const render = compileTemplate("{{ raise_exception('Roles must alternate') }}", {}, '/m/chat_template.jinja');
  const refused = codeOf(() => render(messages, end));
  assert.is(refused.code, 'TEMPLATE_INVALID');
  assert.match(refused.message, 'Roles must alternate');
  assert.match(refused.message, '/m/chat_template.jinja');
  const broken = codeOf(() => compileTemplate('{% for %}', {}, '/m/chat_template.jinja'));
  assert.is(broken.code, 'TEMPLATE_INVALID');
  assert.match(broken.message, '/m/chat_template.jinja');
});

test('a model without a template says so only when one is asked for', () => {
  const model = createTextModel({
    tokenizer: () => null,
    tokenizerConfig: { bos_token: '<s>' },
    chatTemplate: null,
    tokenizerFile: '/m/tokenizer.json',
    templateFile: '/m/chat_template.jinja',
  });
  assert.is(model.bosToken, '<s>');
  assert.is(codeOf(() => model.render(messages, end)).code, 'TEMPLATE_INVALID');
  assert.is(codeOf(() => model.encode('x')).code, 'TOKENIZER_INVALID');
});

test.run();
