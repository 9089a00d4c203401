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
  /** How far f32 sums in another order move a logit, with f32 caches and with f16 ones: see the script. */
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

/**
 * Largest difference from the reference's logits. The graphs and torch add the same products in another order: the script
 * measured what that does to a logit by way of the caches; the logit itself is one more sum, of 16 products. `halfRows`
 * rounds the same values to the same f16, which adds nothing. With `half` a value between two f16 may be tipped over to
 * the other one, in a cache (in what was measured) and in the logit (one step of f16 at the largest).
 */
export function logitTolerance(precision: Precision): number {
  const logits = golden.cases.flatMap((c) => [
    ...outcome(c, precision).logits.first,
    ...outcome(c, precision).logits.last,
  ]);
  const largest = Math.max(...logits.map(Math.abs));
  // Runs that were tried need not be the worst: twice what they showed.
  if (precision === 'half') return 2 * golden.halfSpread + halfStep(largest);
  return 2 * golden.floatSpread + 16 * 2 ** -24 * largest;
}

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
