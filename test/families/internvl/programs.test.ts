import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ProgramDescription, ShapeSet } from '../../../src/contracts/device.js';
import type { ImageInfo } from '../../../src/contracts/ports.js';
import { type DType, type Tensor, tensor } from '../../../src/contracts/tensor.js';
import { visionInputs, visionRows } from '../../../src/families/internvl/programs.js';
import { codeOf } from '../../text/helpers.js';

function program(
  dims: readonly (number | string)[],
  options: { readonly dtype?: DType; readonly name?: string; readonly allowed?: readonly number[] } = {},
): ProgramDescription {
  const name = options.name ?? 'pixel_values';
  const allowed = options.allowed?.map(
    (n): ShapeSet => ({ name: `tiles-${n}`, symbols: {}, shapes: { [name]: [n, 3, 2, 2] } }),
  );
  return {
    role: 'vision',
    inputs: [{ name, dtype: options.dtype ?? 'float32', dims }],
    outputs: [],
    allowedShapes: allowed ?? null,
    calls: allowed === undefined ? 'exact' : 'padded',
    weightBytes: 0,
    stateBytesPerToken: 0,
    emulated: false,
  };
}

const pixels = (tiles: number): Tensor<'float32'> =>
  tensor(
    'float32',
    [tiles, 3, 2, 2],
    Float32Array.from({ length: tiles * 12 }, (_, i) => i + 1),
  );
const info = (visionTokens: number): ImageInfo => ({
  name: 'x',
  width: 1,
  height: 1,
  grid: [1, 1],
  tiles: 1,
  visionTokens,
});

test('pixels take the rank of the program', () => {
  assert.equal(visionInputs(pixels(3), program(['n', 3, 2, 2]))['pixel_values']!.dims, [3, 3, 2, 2]);
  assert.equal(visionInputs(pixels(3), program(['b', 'n', 3, 's', 's']))['pixel_values']!.dims, [1, 3, 3, 2, 2]);
  assert.equal(
    visionInputs(pixels(1), program(['n', 3, 2, 2], { name: 'vision/pixel_values' }))['pixel_values']!.dims,
    [1, 3, 2, 2],
  );
});

test('a fixed or compiled number of tiles is filled with zero tiles', () => {
  const fixed = visionInputs(pixels(2), program([3, 3, 2, 2]))['pixel_values']!;
  assert.equal(fixed.dims, [3, 3, 2, 2]);
  assert.equal([...(fixed.data as Float32Array).subarray(24)], Array(12).fill(0));
  assert.is((fixed.data as Float32Array)[23], 24);
  const compiled = visionInputs(pixels(2), program(['n', 3, 2, 2], { allowed: [13, 1, 5] }))['pixel_values']!;
  assert.equal(compiled.dims, [5, 3, 2, 2]);
});

test('half precision programs get half precision pixels', () => {
  const half = visionInputs(pixels(1), program(['n', 3, 2, 2], { dtype: 'float16' }))['pixel_values']!;
  assert.is(half.dtype, 'float16');
  assert.equal([...half.data].slice(0, 2), [0x3c00, 0x4000]);
});

test('too many tiles or another tile size are SHAPE_NOT_ALLOWED, another program is PROGRAM_INVALID', () => {
  const limits = [program([2, 3, 2, 2]), program(['n', 3, 4, 4]), program(['n', 3, 2, 2], { allowed: [1, 2] })];
  for (const limit of limits) assert.is(codeOf(() => visionInputs(pixels(3), limit)).code, 'SHAPE_NOT_ALLOWED');
  for (const other of [program(['n', 3]), program(['n', 3, 2, 2], { name: 'input' })]) {
    assert.is(codeOf(() => visionInputs(pixels(1), other)).code, 'PROGRAM_INVALID');
  }
});

test('rows of any rank become [rows, hidden], padding left out, in memory of their own', () => {
  const data = Float32Array.from({ length: 24 }, (_, i) => i);
  for (const dims of [
    [1, 8, 3],
    [2, 4, 3],
    [8, 3],
  ]) {
    const rows = visionRows(tensor('float32', dims, data), [info(4), info(2)], 3);
    assert.equal(rows.dims, [6, 3]);
    assert.equal([...rows.data], [...data.subarray(0, 18)]);
    assert.is.not(rows.data.buffer, data.buffer);
  }
  const half = visionRows(tensor('float16', [1, 2, 3], new Uint16Array(6).fill(7)), [info(2)], 3);
  assert.is(half.dtype, 'float16');
});

test('too few rows or another width are IMAGE_TOKENS_MISMATCH', () => {
  const embeds = tensor('float32', [1, 2, 3], new Float32Array(6));
  assert.is(codeOf(() => visionRows(embeds, [info(3)], 3)).code, 'IMAGE_TOKENS_MISMATCH');
  assert.is(codeOf(() => visionRows(embeds, [info(1)], 4)).code, 'IMAGE_TOKENS_MISMATCH');
});

test.run();
