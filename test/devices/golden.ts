/** What the reference answers on the fixtures (tools/reference/dual_program_fixtures.py), and how near to it is near. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { Tensor } from '../../src/contracts/tensor.js';
import type { GenerationRequest } from '../../src/generation/types.js';
import { packageRoot } from '../../src/util/package-root.js';

export interface Golden {
  readonly imageToken: number;
  readonly vocab: number;
  readonly hidden: number;
  readonly ctx: number;
  readonly rowsPerTile: number;
  /**
   * How far f32 sums in another order moved a logit in the script's runs, with f32 caches and with f16 ones. Not what is
   * allowed: a test holds them against it.
   */
  readonly floatSpread: number;
  readonly halfSpread: number;
  readonly cases: readonly GoldenCase[];
}
/** What the reference answers: its tokens, by how much each was the best, its first and last logits. */
export interface Outcome {
  readonly tokens: readonly number[];
  readonly margins: readonly number[];
  readonly logits: { readonly first: readonly number[]; readonly last: readonly number[] };
}
export interface GoldenCase extends Outcome {
  readonly ids: readonly number[];
  readonly pixels: Flat | null;
  readonly vision: Flat | null;
  /** The same with vision rows rounded to f16, and with caches and logits rounded as well. */
  readonly halfRows: Outcome;
  readonly half: Outcome;
}
interface Flat {
  readonly dims: readonly number[];
  readonly data: readonly number[];
}

export const golden = JSON.parse(readFileSync(join(packageRoot(), 'test/golden/dual-program.json'), 'utf8')) as Golden;

export function fixture(name: string): string {
  return join(packageRoot(), 'test/fixtures/programs', name);
}

export function floats(flat: Flat): Tensor<'float32'> {
  return { dtype: 'float32', dims: flat.dims, data: Float32Array.from(flat.data) };
}

export function goldenRequest(c: GoldenCase): GenerationRequest {
  return {
    ids: Int32Array.from(c.ids),
    imageTokenId: golden.imageToken,
    vision: c.vision === null ? null : floats(c.vision),
  };
}

export type Precision = 'float32' | 'halfRows' | 'half';

export function outcome(c: GoldenCase, precision: Precision): Outcome {
  return precision === 'float32' ? c : c[precision];
}

/** The fixtures' decoder: layers, each of which stores keys and values of so many numbers a token. */
const LAYERS = 2;
const HEAD = 8;
/** Sums in a row that a layer makes: values, attention, its output, gate and up, down. The longest has so many terms. */
const SUMS = 5;
const TERMS = 52;

/**
 * Largest difference from the reference's logits, from the number formats alone, as the tolerances of locks are
 * (src/share/format.ts).
 *
 * f32: a sum of n terms is off by up to n roundings of 2^-24 in whatever order, so two orders are up to twice that
 * apart. The sums on the way to a logit, those of every layer and its own, add up like a random walk.
 *
 * `half`: both sides round the same values to f16 when they store them. A value comes out as the next f16, 2^-10 of it
 * off, where the order of its sum put it across the middle between two: one in some 2^8 (2 x 2^-19 of 2^-10). So one of
 * the 8 numbers of a key or value at most, which is 2^-10 / sqrt(8) of it; two at once are one in thousands. Keys and
 * values of every layer add up like a random walk. The logit is stored too, and may be the next f16 as well.
 * `halfRows` rounds values that are the same to the bit, which adds nothing.
 */
export function logitTolerance(precision: Precision): number {
  const { sums, stored, rounded } = logitErrors(precision);
  return sums + stored + rounded;
}

/** The parts of the tolerance: of the order of sums, of stored keys and values, of the logit as it is handed over. */
export function logitErrors(precision: Precision): { readonly [part in 'sums' | 'stored' | 'rounded']: number } {
  const largest = Math.max(...golden.cases.flatMap((c) => magnitudes(outcome(c, precision))));
  const sums = Math.sqrt(LAYERS * SUMS + 1) * 2 * TERMS * 2 ** -24 * largest;
  if (precision !== 'half') return { sums, stored: 0, rounded: 0 };
  return { sums, stored: (Math.sqrt(2 * LAYERS) / Math.sqrt(HEAD)) * halfStep(largest), rounded: halfStep(largest) };
}

const magnitudes = ({ logits }: Outcome): readonly number[] => [...logits.first, ...logits.last].map(Math.abs);

/** Distance of an f16 from the next one: 11 bits of significand. */
export function halfStep(value: number): number {
  return 2 ** (Math.floor(Math.log2(Math.abs(value))) - 10);
}

/**
 * Tokens of the reference. With f16 boundaries another token may come where the two best logits of the reference are
 * so close that both could be off by the tolerance; what follows such a near-tie is another text and not compared.
 */
export function sameTokens(given: ArrayLike<number>, expected: Outcome, precision: Precision, tied = 0): void {
  const tokens = Array.from(given);
  const wanted = expected.tokens.slice(0, tokens.length);
  const at = tokens.findIndex((t, i) => t !== wanted[i]);
  if (at < 0) return;
  const margin = expected.margins[at] ?? Number.POSITIVE_INFINITY;
  const most = precision === 'float32' ? tied : Math.max(tied, 2 * logitTolerance(precision));
  const story = `step ${at}: token ${tokens[at]} for ${wanted[at]}, which the reference prefers by ${margin.toPrecision(3)}`;
  if (margin > most) assert.equal(tokens, wanted, `${story}; a near-tie is ${most.toPrecision(3)}`);
  process.stderr.write(`near-tie, ${story}\n`);
}
