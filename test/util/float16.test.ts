import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { floatsToHalves, fromHalf, halvesToFloats, toHalf } from '../../src/util/float16.js';
import { packageRoot } from '../../src/util/package-root.js';

const test = suite('float16');
const { halves } = JSON.parse(readFileSync(join(packageRoot(), 'test/golden/sampling.json'), 'utf8')) as {
  halves: { float32: number[]; float16: number[] };
};
const values = new Float32Array(Uint32Array.from(halves.float32).buffer);
const isNaN16 = (bits: number): boolean => (bits & 0x7c00) === 0x7c00 && (bits & 0x3ff) !== 0;

test('rounding to nearest even is torch’s, with infinities, NaN, subnormals and both zeros', () => {
  const made = floatsToHalves(values);
  for (const [i, expected] of halves.float16.entries()) {
    const given = made[i] as number;
    if (isNaN16(expected)) assert.ok(isNaN16(given));
    else assert.is(given, expected, `${values[i]}`);
  }
});

test('every half survives the way to float32 and back', () => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const wide = halvesToFloats(all);
  for (const bits of all) {
    assert.ok(Object.is(wide[bits], fromHalf(bits)));
    if (isNaN16(bits)) assert.ok(Number.isNaN(wide[bits]));
    else assert.is(toHalf(wide[bits] as number), bits);
  }
  assert.is(fromHalf(0x3c00), 1);
  assert.is(fromHalf(0x0001), 2 ** -24);
  assert.is(fromHalf(0x7bff), 65504);
  assert.is(fromHalf(0xfc00), Number.NEGATIVE_INFINITY);
});

test.run();
