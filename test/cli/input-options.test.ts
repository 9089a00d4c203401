import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseInputs } from '../../src/cli/input-options.js';
import { VlmError } from '../../src/contracts/errors.js';
import type { Plan, PlanInput } from '../../src/contracts/recipe.js';
import { fakePlan } from '../runner/fakes/plans.js';

const input = (name: string, type: PlanInput['type']): [string, PlanInput] => [
  name,
  { name, type, many: false, required: true },
];
const plan: Plan = {
  ...fakePlan({}, {}),
  inputs: Object.fromEntries([input('image', 'image'), input('prompt', 'text'), input('chat', 'messages')]),
};

function refused(texts: readonly string[]): VlmError {
  try {
    parseInputs(plan, texts);
  } catch (error) {
    assert.instance(error, VlmError);
    return error as VlmError;
  }
  throw new Error(`${texts.join(' ')} was read`);
}

test('a conversation is a place, or itself as JSON', () => {
  const messages = [{ role: 'user', content: 'What?' }];
  const text = JSON.stringify(messages);
  assert.equal(parseInputs(plan, [`chat=${text}`])['chat'], messages);
  assert.equal(parseInputs(plan, [`chat= {"messages": ${text}}\n`])['chat'], { messages });
  assert.is(parseInputs(plan, ['chat=chat.json'])['chat'], 'chat.json');
  assert.is(parseInputs(plan, ['chat=@chat.json'])['chat'], 'chat.json');
  assert.is(parseInputs(plan, ['chat=[1].json'])['chat'], '[1].json');
  assert.is(parseInputs(plan, ['chat=@{chat}'])['chat'], '{chat}');
});

test('a conversation with a slip of the pen is told as such, not as a file that is not there', () => {
  const error = refused([`chat=[{'role': 'user', 'content': 'What?'}]`]);
  assert.is(error.code, 'USAGE');
  assert.match(error.details.where ?? '', 'chat');
});

test('what looks like JSON stays text for a text, and a path for a picture', () => {
  assert.equal(parseInputs(plan, ['prompt=[{"a": 1}]', 'image=[1]']), { prompt: '[{"a": 1}]', image: '[1]' });
});

test.run();
