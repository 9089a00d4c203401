import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../src/contracts/errors.js';
import type { ResampleFilter } from '../../src/contracts/family.js';
import { loadKernels } from '../../src/image/native.js';
import { resize, typescriptKernels } from '../../src/image/resample.js';
import { golden, Lcg, lcgImage, sha256 } from './goldens.js';

const test = suite('resample');
const FILTERS: readonly ResampleFilter[] = ['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos'];
const { kernels } = loadKernels();

type Case = [number, number, number, number, ResampleFilter, number, string];

for (const set of [typescriptKernels, kernels]) {
  test(`${set.name}: random sizes and filters give Pillow's bytes`, () => {
    const { cases } = golden<{ cases: Case[] }>('resize.json');
    assert.ok(cases.length >= 200);
    const wrong = cases.filter(([w, h, toW, toH, filter, seed, digest]) => {
      return sha256(resize(lcgImage(w, h, seed), toW, toH, filter, set).data) !== digest;
    });
    assert.equal(wrong, []);
  });
}

test('native and TypeScript agree on random sizes, extreme ratios and flat extremes', () => {
  const lcg = new Lcg(99);
  const ranges = [
    [1, 3],
    [1, 60],
    [200, 1200],
  ] as const;
  const side = () => {
    const [low, high] = ranges[lcg.between(0, 2)] ?? [1, 60];
    return lcg.between(low, high);
  };
  for (let n = 0; n < 150; n++) {
    const [w, h, toW, toH] = [side(), lcg.between(1, 40), side(), lcg.between(1, 90)];
    const filter = FILTERS[n % FILTERS.length] ?? 'bicubic';
    const image = lcgImage(w, h, n + 1);
    // Every other picture only knows 0 and 255: the largest overshoots of the filters.
    if (n % 2 === 0) image.data.set(image.data.map((v) => (v < 128 ? 0 : 255)));
    const a = resize(image, toW, toH, filter, typescriptKernels);
    const b = resize(image, toW, toH, filter, kernels);
    assert.is(sha256(b.data), sha256(a.data), `${w}x${h} -> ${toW}x${toH} ${filter}`);
  }
});

test('a view into a larger buffer is read in its bounds', () => {
  const image = lcgImage(17, 9, 5);
  const whole = new Uint8Array(image.data.length + 7).fill(255);
  whole.set(image.data, 3);
  const view = { ...image, data: whole.subarray(3, 3 + image.data.length) };
  assert.is(
    sha256(resize(view, 5, 4, 'lanczos', kernels).data),
    sha256(resize(image, 5, 4, 'lanczos', typescriptKernels).data),
  );
});

test('an unchanged size keeps the picture; one changed axis is one pass', () => {
  const image = lcgImage(20, 10, 1);
  assert.is(resize(image, 20, 10, 'bicubic', kernels), image);
  for (const set of [typescriptKernels, kernels]) {
    assert.is(resize(image, 20, 4, 'bicubic', set).data.length, 20 * 4 * 3);
    assert.is(resize(image, 7, 10, 'bicubic', set).data.length, 7 * 10 * 3);
  }
});

test('impossible sizes are refused', () => {
  const image = lcgImage(4, 4, 1);
  for (const [w, h] of [
    [0, 4],
    [4, -1],
    [2.5, 4],
    [Number.NaN, 4],
  ] as const) {
    assert.throws(
      () => resize(image, w, h, 'bicubic', kernels),
      (e: unknown) => e instanceof VlmError && e.code === 'INTERNAL',
    );
  }
  assert.throws(
    () => resize({ ...image, width: 5 }, 2, 2, 'box', kernels),
    (e: unknown) => e instanceof VlmError && e.code === 'INTERNAL',
  );
});

test.run();
