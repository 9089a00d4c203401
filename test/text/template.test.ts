import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ChatMessage } from '../../src/contracts/node.js';
import { compileTemplate, namedTokens, pickTemplate } from '../../src/text/template.js';
import { createTextModel } from '../../src/text/text-model.js';
import { packageRoot } from '../../src/util/package-root.js';
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

interface Case {
  readonly name: string;
  readonly template: string;
  readonly messages: readonly ChatMessage[];
  readonly generation: boolean;
  readonly rendered: string;
  readonly limit: boolean;
}
const cases: readonly Case[] = JSON.parse(
  readFileSync(join(packageRoot(), 'test', 'golden', 'text', 'templates.json'), 'utf8'),
).cases;
const tokens = { bos_token: '<s>', eos_token: '</s>' };
const rendered = (c: Case): string =>
  compileTemplate(c.template, tokens, 't')(c.messages, { addGenerationPrompt: c.generation });

test('templates render as in the reference', () => {
  const exact = cases.filter((c) => !c.limit);
  assert.ok(exact.length > 80);
  for (const c of exact) assert.is(rendered(c), c.rendered, c.name);
});

test('what would render otherwise than in the reference is refused, but for two spellings', () => {
  const spelled: Readonly<Record<string, readonly [string, string]>> = {
    'a printed truth value': ['true', 'True'],
    'title case beyond ASCII': ['An éCole', 'An École'],
  };
  const limits = cases.filter((c) => c.limit);
  assert.ok(limits.length > 20);
  for (const c of limits) {
    const spellings = spelled[c.name];
    if (spellings !== undefined) assert.equal([rendered(c), c.rendered], [...spellings]);
    else assert.is(codeOf(() => rendered(c)).code, 'TEMPLATE_INVALID', c.name);
  }
});

test.run();
