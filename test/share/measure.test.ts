import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { EmbeddingsValue, PixelsValue } from '../../src/contracts/ports.js';
import {
  compareEmbeddings,
  comparePixels,
  expandRuns,
  measureEmbeddings,
  measurePixels,
  runLengths,
  sketch,
} from '../../src/share/measure.js';
import { floatsToHalves } from '../../src/util/float16.js';

/** Of something that must be there. */
const matches = (text: string | null | undefined, pattern: RegExp): void => assert.match(text ?? 'nothing', pattern);

/** Numbers that are the same in every run. */
function noise(count: number, seed: number): Float32Array {
  let state = seed >>> 0;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return Float32Array.from(
    { length: count },
    () => Math.sqrt(-2 * Math.log(next() + 1e-12)) * Math.cos(2 * Math.PI * next()),
  );
}

const length = (values: Float32Array): number => Math.sqrt(values.reduce((n, v) => n + v * v, 0));
const embeddings = (data: Float32Array, rows: number): EmbeddingsValue => ({
  kind: 'embeddings',
  tensor: { dtype: 'float32', dims: [rows, data.length / rows], data },
});
const pixels = (data: Float32Array, tiles: number): PixelsValue => ({
  kind: 'pixels',
  tensor: { dtype: 'float32', dims: [tiles, 3, 2, 2], data },
  images: [],
});

test('a sketch keeps lengths: the estimate is within a few deviations of the truth, for any size', () => {
  for (const [rows, hidden] of [
    [1, 64],
    [7, 48],
    [80, 96],
    [257, 64],
  ] as const) {
    for (let seed = 1; seed <= 20; seed++) {
      const values = noise(rows * hidden, seed * 7919);
      const ratio = length(sketch(values, rows)) / length(values);
      // Blocks of 64 sums each: a block's square is off by sqrt(2/64) = 0.18 at one deviation.
      const blocks = Math.min(16, rows);
      assert.ok(Math.abs(ratio ** 2 - 1) < (5 * 0.18) / Math.sqrt(blocks), `${rows}x${hidden}: ${ratio}`);
    }
  }
});

test('the estimated difference follows the true one over six decades', () => {
  const values = noise(80 * 96, 5);
  const locked = measureEmbeddings(embeddings(values, 80));
  for (const scale of [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]) {
    const other = noise(values.length, 99).map((v, i) => (values[i] as number) + v * scale);
    const truth = length(other.map((v, i) => v - (values[i] as number))) / length(values);
    const { relative, same } = compareEmbeddings(locked, measureEmbeddings(embeddings(other, 80)), 1);
    assert.not.ok(same);
    assert.ok(Math.abs(relative / truth - 1) < 0.25, `${relative} for ${truth}`);
  }
});

test('within the tolerance there is no problem, beyond it the first block of rows is named', () => {
  const values = noise(80 * 96, 11);
  const locked = measureEmbeddings(embeddings(values, 80));
  const moved = values.map((v, i) => v * (i % 2 === 0 ? 1.0005 : 0.9995));
  assert.is(compareEmbeddings(locked, measureEmbeddings(embeddings(moved, 80)), 2 ** -7).problem, null);
  const broken = values.map((v, i) => (i >= 33 * 96 && i < 34 * 96 ? -v : v));
  const { problem } = compareEmbeddings(locked, measureEmbeddings(embeddings(broken, 80)), 2 ** -7);
  matches(problem, /^rows 30 to 34 differ/);
  const one = values.slice();
  one[79 * 96] = (one[79 * 96] as number) + 5;
  matches(compareEmbeddings(locked, measureEmbeddings(embeddings(one, 80)), 2 ** -7).problem, /^rows 75 to 79/);
});

test('rows in another order are another result, though every number is there', () => {
  const values = noise(32 * 64, 3);
  const swapped = values.slice();
  swapped.set(values.subarray(0, 64), 64);
  swapped.set(values.subarray(64, 128), 0);
  const locked = measureEmbeddings(embeddings(values, 32));
  assert.ok(compareEmbeddings(locked, measureEmbeddings(embeddings(swapped, 32)), 2 ** -7).problem !== null);
});

test('numbers rounded to binary16 are within the tolerance that is declared for it', () => {
  const values = noise(80 * 96, 21);
  const halves = floatsToHalves(values);
  const value: EmbeddingsValue = { kind: 'embeddings', tensor: { dtype: 'float16', dims: [80, 96], data: halves } };
  const { problem, relative } = compareEmbeddings(
    measureEmbeddings(embeddings(values, 80)),
    measureEmbeddings(value),
    2 ** -7,
  );
  assert.is(problem, null);
  // One rounding: 2^-12 on average at most, as the rounding error is uniform within half a step.
  assert.ok(relative > 0 && relative < 2 ** -11, String(relative));
});

test('other shapes, missing embeddings and values that are no numbers are told', () => {
  const a = measureEmbeddings(embeddings(noise(64, 1), 4));
  matches(compareEmbeddings(a, measureEmbeddings(embeddings(noise(64, 1), 8)), 1).problem, /shape \[8, 8\]/);
  matches(compareEmbeddings(a, null, 1).problem, /no embeddings/);
  assert.is(compareEmbeddings(null, null, 1).same, true);
  const nan = noise(64, 1);
  nan[5] = Number.NaN;
  matches(compareEmbeddings(a, measureEmbeddings(embeddings(nan, 4)), 1).problem, /no number/);
});

test('pixels are compared exactly, and the first tile that differs is named', () => {
  const data = noise(36, 2);
  const locked = measurePixels(pixels(data, 3));
  assert.is(comparePixels(locked, measurePixels(pixels(data.slice(), 3))), null);
  const other = data.slice();
  other[14] = (other[14] as number) + 1e-6;
  matches(comparePixels(locked, measurePixels(pixels(other, 3))), /^tile 1 is the first of 1/);
  matches(comparePixels(locked, measurePixels(pixels(data.slice(12), 2))), /shape/);
  matches(comparePixels(locked, null), /no pixels/);
  assert.is(comparePixels(null, null), null);
});

test('runs of token ids are written short and come back the same', () => {
  for (const ids of [[], [1], [1, 1], [5, 7, 7, 7, 7, 9], Array<number>(300).fill(4), [1, 2, 3]]) {
    assert.equal(expandRuns(runLengths(ids)), ids);
  }
  assert.equal(runLengths([5, 7, 7, 7, 9, 9]), [5, [7, 3], 9, 9]);
});

test.run();
