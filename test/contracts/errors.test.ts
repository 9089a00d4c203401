import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ERROR_CODES, EXIT, VlmError } from '../../src/contracts/errors.js';

test('an error says what, expected, received, where and what to do', () => {
  const e = new VlmError('TENSOR_INVALID', {
    what: 'A tensor is off',
    expected: 'float32 [1]',
    received: 'int64 [2]',
    where: 'node encode',
    hint: 'pass pixels',
  });
  assert.is(e.message, 'node encode: A tensor is off; expected float32 [1]; received int64 [2] — pass pixels');
  assert.is(e.exitCode, EXIT.device);
});

test('an error crosses a thread as plain data and comes back the same', () => {
  const e = new VlmError('NODE_FAILED', {
    what: 'It broke',
    where: 'node x',
    location: { file: 'a.yaml', line: 3, column: 4 },
    cause: new TypeError('inner'),
  });
  const data = structuredClone(e.toData());
  const back = VlmError.fromData(data);
  assert.is(back.code, 'NODE_FAILED');
  assert.is(back.message, e.message);
  assert.equal(back.details.location, { file: 'a.yaml', line: 3, column: 4 });
  assert.is(back.toData().cause, 'inner');
});

test('wrap keeps an error of ours and wraps a foreign one once, with its cause', () => {
  const ours = new VlmError('CANCELLED', { what: 'stopped' });
  assert.is(VlmError.wrap(ours, 'INTERNAL', { what: 'x' }), ours);
  const foreign = new RangeError('r');
  const wrapped = VlmError.wrap(foreign, 'NODE_FAILED', { what: 'x' });
  assert.is(wrapped.code, 'NODE_FAILED');
  assert.is(wrapped.cause, foreign);
});

test('at() adds a place without losing the inner one or the code', () => {
  const e = new VlmError('IMAGE_UNREADABLE', { what: 'bad', where: 'cat.jpg' }).at('node preprocess', {
    file: 'r.yaml',
    line: 1,
    column: 2,
  });
  assert.is(e.code, 'IMAGE_UNREADABLE');
  assert.is(e.details.where, 'node preprocess: cat.jpg');
  assert.is(e.details.location?.line, 1);
});

test('every code has one of the documented exit codes', () => {
  const exits = new Set<number>(Object.values(EXIT));
  for (const [code, exit] of Object.entries(ERROR_CODES)) assert.ok(exits.has(exit), code);
});

test.run();
