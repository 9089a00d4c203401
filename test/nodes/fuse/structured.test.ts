import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { findJson, structuredReader } from '../../../src/nodes/fuse/structured.js';
import { rejectionOf } from '../../text/helpers.js';

test('JSON is found as the whole text, in a fence, or inside words', () => {
  assert.equal(findJson(' {"a": 1} '), { value: { a: 1 } });
  assert.equal(findJson('3'), { value: 3 });
  assert.equal(findJson('Sure:\n```json\n{"a": [1, 2]}\n```\nDone.'), { value: { a: [1, 2] } });
  assert.equal(findJson('```\n[1]\n```'), { value: [1] });
  assert.equal(findJson('It is {not json} but {"a": "}"} fits'), { value: { a: '}' } });
  assert.equal(findJson('{"a": "\\"}"} tail'), { value: { a: '"}' } });
  assert.is(findJson('no json {"a": '), null);
  assert.is(findJson(''), null);
});

test('brackets that never close do not make reading quadratic', () => {
  // As long as that: a scan to the end for every bracket would outlast the time-out of a test file many times over.
  for (const piece of ['{', '[{"', '["', '[\\"{']) assert.is(findJson(piece.repeat(300_000)), null);
  assert.equal(findJson(`${'{'.repeat(300_000)} {"a": 1}`), { value: { a: 1 } });
  assert.is(findJson(`${'[x'.repeat(100_000)}${']'.repeat(100_000)}`), null);
  assert.equal(findJson('say "{ [1, "{"]'), { value: [1, '{'] });
});

test('the value is validated and failures are data', async () => {
  const read = await structuredReader({
    type: 'object',
    required: ['count'],
    properties: { count: { type: 'integer' }, day: { type: 'string', format: 'date' } },
  });
  assert.equal(read('{"count": 3}'), { valid: true, value: { count: 3 } });
  const wrong = read('{"count": "3", "day": "soon"}');
  assert.is(wrong.valid, false);
  assert.is(wrong.errors?.length, 2);
  assert.match(wrong.errors?.[0] ?? '', '/count');
  assert.equal(wrong.value, { count: '3', day: 'soon' });
  assert.equal(read('three'), { valid: false, errors: ['the text holds no JSON'] });
});

test('draft-07 schemas are understood, broken ones are OPTION_INVALID', async () => {
  const old = await structuredReader({
    $schema: 'http://json-schema.org/draft-07/schema#',
    items: [{ type: 'integer' }],
  });
  assert.is(old('["x"]').valid, false);
  assert.is((await structuredReader(true))('1').valid, true);
  assert.is((await rejectionOf(() => structuredReader({ type: 'nonsense' }))).code, 'OPTION_INVALID');
});

test.run();
