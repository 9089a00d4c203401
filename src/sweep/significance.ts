/** Whether two sets of measurements differ, and by how much. Pure. */
import { randomOf } from './random.js';
import { median, percentile } from './stats.js';

/** Above this many samples in both sets together the normal approximation is used. */
const EXACT_UP_TO = 40;
const RESAMPLES = 2000;

export interface RankSum {
  /** Of the first set: pairs in which it is the larger one; equal ones count half. */
  readonly u: number;
  /** Two-sided. */
  readonly p: number;
  readonly exact: boolean;
}

/**
 * Mann and Whitney 1947. Up to 40 samples p is exact, equal samples included: the rank sums of all ways to relabel the
 * samples are counted, not drawn. Beyond, the normal distribution with corrections for ties and continuity.
 */
export function mannWhitney(a: readonly number[], b: readonly number[]): RankSum {
  const [n, m] = [a.length, b.length];
  if (n === 0 || m === 0) return { u: Number.NaN, p: 1, exact: true };
  const doubled = doubledRanks([...a, ...b]);
  const sum = doubled.slice(0, n).reduce((total, rank) => total + rank, 0);
  const u = sum / 2 - (n * (n + 1)) / 2;
  if (n + m <= EXACT_UP_TO) return { u, p: exactP(doubled, n, sum), exact: true };
  return { u, p: normalP(doubled, n, m, u), exact: false };
}

/** The smallest two-sided p that so many samples can reach, however far apart they are. */
export function smallestP(n: number, m: number): number {
  let ways = 1;
  for (let i = 1; i <= Math.min(n, m); i++) ways = (ways * (n + m - Math.min(n, m) + i)) / i;
  return Math.min(1, 2 / ways);
}

/** Equal samples share the mean of their ranks; twice that is a whole number, by which sums can be counted. */
function doubledRanks(samples: readonly number[]): number[] {
  const sorted = [...samples].sort((x, y) => x - y);
  const first = new Map<number, number>();
  const last = new Map<number, number>();
  for (const [i, sample] of sorted.entries()) {
    if (!first.has(sample)) first.set(sample, i + 1);
    last.set(sample, i + 1);
  }
  return samples.map((sample) => (first.get(sample) ?? 0) + (last.get(sample) ?? 0));
}

function exactP(doubled: readonly number[], n: number, observed: number): number {
  const top = doubled.reduce((total, rank) => total + rank, 0);
  // ways[k][s]: in how many ways k of the ranks seen so far add up to s. At most C(40, 20), exact in a double.
  const ways = Array.from({ length: n + 1 }, () => new Float64Array(top + 1));
  const none = ways[0];
  if (none !== undefined) none[0] = 1;
  for (const rank of doubled) {
    for (let k = n; k >= 1; k--) {
      const [to, from] = [ways[k], ways[k - 1]];
      if (to === undefined || from === undefined) continue;
      for (let s = top; s >= rank; s--) to[s] = (to[s] ?? 0) + (from[s - rank] ?? 0);
    }
  }
  let [below, above, all] = [0, 0, 0];
  for (const [s, count] of (ways[n] ?? []).entries()) {
    all += count;
    if (s <= observed) below += count;
    if (s >= observed) above += count;
  }
  return Math.min(1, (2 * Math.min(below, above)) / all);
}

function normalP(doubled: readonly number[], n: number, m: number, u: number): number {
  const all = n + m;
  const sizes = new Map<number, number>();
  for (const rank of doubled) sizes.set(rank, (sizes.get(rank) ?? 0) + 1);
  const ties = [...sizes.values()].reduce((sum, size) => sum + size ** 3 - size, 0);
  const variance = ((n * m) / 12) * (all + 1 - ties / (all * (all - 1)));
  if (variance <= 0) return 1;
  const z = (Math.abs(u - (n * m) / 2) - 0.5) / Math.sqrt(variance);
  return Math.min(1, erfc(z / Math.SQRT2));
}

/** Its series where that converges fast, its continued fraction (Lentz) elsewhere: both to double precision. */
function erfc(x: number): number {
  if (x < 0) return 2 - erfc(-x);
  if (x < 2) {
    let [term, sum] = [x, x];
    for (let k = 1; Math.abs(term) > 1e-17 * Math.abs(sum) && k < 200; k++) {
      term *= (-x * x) / k;
      sum += term / (2 * k + 1);
    }
    return 1 - (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = x;
  for (let k = 120; k >= 1; k--) fraction = x + k / 2 / fraction;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
}

/** Sign test, exact and two-sided: of `n` that differ, `up` went up, where each is as likely to go down. */
export function signTest(up: number, n: number): number {
  const few = Math.min(up, n - up);
  // In logarithms: 2^-n of a thousand points is below what a double holds.
  let log = -n * Math.LN2;
  let p = Math.exp(log);
  for (let k = 1; k <= few; k++) {
    log += Math.log((n - k + 1) / k);
    p += Math.exp(log);
  }
  return Math.min(1, 2 * p);
}

/** Holm 1979: p-values adjusted for how many there are, in the order given. */
export function holm(ps: readonly number[]): number[] {
  const order = ps.map((p, at) => ({ p, at })).sort((x, y) => x.p - y.p);
  const adjusted = new Array<number>(ps.length).fill(1);
  let largest = 0;
  for (const [i, { p, at }] of order.entries()) {
    largest = Math.max(largest, Math.min(1, p * (ps.length - i)));
    adjusted[at] = largest;
  }
  return adjusted;
}

export interface Ratio {
  readonly ratio: number;
  /** 95 % percentile bootstrap interval, both sets drawn anew. */
  readonly ci: readonly [number, number];
}

/** Median of `b` over median of `a`. */
export function medianRatio(a: readonly number[], b: readonly number[], seed: number): Ratio {
  const random = randomOf(seed);
  const drawn = (samples: readonly number[]): number =>
    median(samples.map(() => samples[Math.floor(random() * samples.length)] ?? Number.NaN));
  const ratios = Array.from({ length: RESAMPLES }, () => drawn(b) / drawn(a));
  return { ratio: median(b) / median(a), ci: [percentile(ratios, 0.025), percentile(ratios, 0.975)] };
}
