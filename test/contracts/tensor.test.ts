import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../src/contracts/errors.js';
import { elementCount, tensor, tensorLabel } from '../../src/contracts/tensor.js';

function codeOf(f: () => unknown): string {
  try {
    f();
  } catch (e) {
    if (e instanceof VlmError) return e.code;
    throw e;
  }
  return 'none';
}

test('a tensor keeps dims and data', () => {
  const t = tensor('float32', [2, 3], new Float32Array(6));
  assert.is(tensorLabel(t), 'float32 [2, 3]');
  assert.is(elementCount([]), 1);
  assert.is(elementCount([0, 4]), 0);
});

test('data that does not match the dims is refused', () => {
  assert.is(
    codeOf(() => tensor('int64', [2], new BigInt64Array(3))),
    'TENSOR_INVALID',
  );
  assert.is(
    codeOf(() => tensor('int64', [-1], new BigInt64Array(1))),
    'TENSOR_INVALID',
  );
  assert.is(
    codeOf(() => tensor('int64', [1.5], new BigInt64Array(1))),
    'TENSOR_INVALID',
  );
});

test.run();
