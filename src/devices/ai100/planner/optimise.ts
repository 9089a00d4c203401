/**
 * Which sizes to compile for a given load: exact, by dynamic programming over the distinct sizes. A program pads each
 * call to a compiled size, so the best sizes are among the sizes that occur (moving one down to the next that occurs
 * never costs more).
 */

export interface Buckets {
  /** Compiled sizes, ascending. */
  readonly sizes: readonly number[];
  /** What all calls cost with them, padding included. */
  readonly cost: number;
}

/** Sizes of single calls, each with how often it occurs. */
export type Histogram = ReadonlyMap<number, number>;

export function histogram(sizes: readonly number[]): Histogram {
  const counts = new Map<number, number>();
  for (const size of sizes) counts.set(size, (counts.get(size) ?? 0) + 1);
  return counts;
}

/**
 * The best 1, 2, … `most` sizes for calls that each take the smallest compiled size that holds them: entry k - 1 holds
 * at most k sizes. Cost is the sum of the compiled sizes used. `forced` is a size that must be among them, at least as
 * large as every call. Empty without calls and without a forced size.
 */
export function bestBuckets(calls: Histogram, most: number, forced?: number): readonly Buckets[] {
  const sizes = [...new Set([...calls.keys(), ...(forced === undefined ? [] : [forced])])].sort((a, b) => a - b);
  const n = sizes.length;
  if (n === 0 || most < 1) return [];
  const before = [0];
  for (const size of sizes) before.push((before.at(-1) ?? 0) + (calls.get(size) ?? 0));
  // least[i]: the least cost of the calls of sizes[0, i), their last compiled size being sizes[i - 1].
  let least = before.map((count, i) => count * (sizes[i - 1] ?? 0));
  let chosen: number[][] = sizes.map((size) => [size]);
  const result: Buckets[] = [{ sizes: chosen[n - 1] ?? [], cost: least[n] ?? 0 }];
  for (let k = 2; k <= most; k++) {
    const next = [...least];
    const nextChosen = [...chosen];
    for (let i = 1; i <= n; i++) {
      for (let j = 1; j < i; j++) {
        const cost = (least[j] ?? 0) + ((before[i] ?? 0) - (before[j] ?? 0)) * (sizes[i - 1] ?? 0);
        if (cost >= (next[i] ?? 0)) continue;
        next[i] = cost;
        nextChosen[i - 1] = [...(chosen[j - 1] ?? []), sizes[i - 1] ?? 0];
      }
    }
    least = next;
    chosen = nextChosen;
    result.push({ sizes: chosen[n - 1] ?? [], cost: least[n] ?? 0 });
  }
  return result;
}

export interface PrefillCosts {
  /** Lengths are multiples of this. */
  readonly step: number;
  /** No length above this. */
  readonly longest: number;
  /** What one call costs besides its positions, in positions: every call reads all weights once. */
  readonly call: number;
}

/** Cost of one prompt as the generation loop runs it: the largest length while more is left, then the smallest that holds the rest. */
export function promptCost(tokens: number, lengths: readonly number[], call: number): number {
  const ordered = [...lengths].sort((a, b) => a - b);
  const largest = ordered.at(-1) ?? 0;
  if (tokens < 1 || largest < 1) return 0;
  const whole = Math.ceil(tokens / largest) - 1;
  const rest = tokens - whole * largest;
  return whole * (largest + call) + (ordered.find((length) => length >= rest) ?? largest) + call;
}

/**
 * The best 1, 2, … `most` prefill lengths. The largest length decides how prompts are cut, so each is tried; below it
 * the rests of the prompts are calls of one size each.
 */
export function bestPrefill(prompts: Histogram, most: number, costs: PrefillCosts): readonly Buckets[] {
  const { step, longest, call } = costs;
  const needed = Math.max(0, ...prompts.keys());
  if (needed === 0) return [];
  const up = (n: number): number => Math.ceil(n / step) * step;
  const best: Buckets[] = [];
  for (let largest = step; largest <= Math.max(step, Math.min(up(needed), longest)); largest += step) {
    const rests = new Map<number, number>();
    let fixed = 0;
    for (const [tokens, count] of prompts) {
      const whole = Math.ceil(tokens / largest) - 1;
      const rest = up(tokens - whole * largest);
      fixed += count * (whole * (largest + call) + call);
      rests.set(rest, (rests.get(rest) ?? 0) + count);
    }
    for (const [k, buckets] of bestBuckets(rests, most, largest).entries()) {
      const cost = fixed + buckets.cost;
      if (best[k] === undefined || cost < best[k].cost) best[k] = { sizes: buckets.sizes, cost };
    }
  }
  return best;
}

export interface Split {
  readonly tiles: Buckets | null;
  readonly prefill: Buckets;
}

/**
 * Shares `sets` sets (decode sets are taken off by the caller; a prefill length takes `perLength` of them) between tile counts and prefill lengths so that the padding
 * of both programs together is least, each counted as a share of what the program would cost without padding.
 */
export function shareSets(
  tiles: readonly Buckets[],
  prefill: readonly Buckets[],
  sets: number,
  unpadded: { readonly tiles: number; readonly prefill: number },
  perLength = 1,
): Split | null {
  let best: { readonly split: Split; readonly cost: number } | null = null;
  const options: readonly (Buckets | null)[] = tiles.length === 0 ? [null] : tiles;
  for (const v of options) {
    for (const l of prefill) {
      if ((v?.sizes.length ?? 0) + l.sizes.length * perLength > sets) continue;
      const cost = (v === null ? 0 : v.cost / Math.max(1, unpadded.tiles)) + l.cost / Math.max(1, unpadded.prefill);
      if (best === null || cost < best.cost - 1e-12) best = { split: { tiles: v, prefill: l }, cost };
    }
  }
  return best?.split ?? null;
}
