/** What a handful of measurements says: median, its bootstrap interval, percentiles. */
import { randomOf } from './random.js';

export interface Statistic {
  readonly median: number;
  /** 95 % percentile bootstrap interval of the median (Efron 1979). */
  readonly ci: readonly [number, number];
  readonly samples: readonly number[];
}

const RESAMPLES = 2000;

/** Of at least one sample, `p` from 0 to 1; between two samples the line between them (as numpy's default). */
export function percentile(samples: readonly number[], p: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = p * (sorted.length - 1);
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? Number.NaN;
  return low + (high - low) * (at - Math.floor(at));
}

export function median(samples: readonly number[]): number {
  return percentile(samples, 0.5);
}

export function statistic(samples: readonly number[], seed: number): Statistic {
  const random = randomOf(seed);
  const medians = Array.from({ length: samples.length < 2 ? 1 : RESAMPLES }, () =>
    median(samples.map(() => samples[Math.floor(random() * samples.length)] ?? Number.NaN)),
  );
  return { median: median(samples), ci: [percentile(medians, 0.025), percentile(medians, 0.975)], samples };
}

/** Width of the interval as a share of the median. One sample says nothing of its spread. */
export function spread({ median: middle, ci, samples }: Statistic): number {
  if (samples.length < 2) return Number.POSITIVE_INFINITY;
  return middle === 0 ? 0 : (ci[1] - ci[0]) / Math.abs(middle);
}

/**
 * Two-sided p-value that two sets of samples come from one distribution: the rank-sum test (Mann and Whitney 1947), its
 * statistic's distribution from 10,000 drawn relabellings; the observed one counts among them, so that no p is 0.
 */
export function rankSumTest(a: readonly number[], b: readonly number[], seed: number): number {
  const ranks = ranksOf([...a, ...b]);
  const middle = (a.length * (ranks.length + 1)) / 2;
  const off = (all: readonly number[]): number =>
    Math.abs(all.slice(0, a.length).reduce((sum, rank) => sum + rank, 0) - middle);
  const observed = off(ranks);
  const random = randomOf(seed);
  const rounds = 10_000;
  let extreme = 1;
  for (let round = 0; round < rounds; round++) {
    // Only which ranks fall to `a` matters: the first places of a shuffle.
    for (let i = 0; i < a.length; i++) {
      const j = i + Math.floor(random() * (ranks.length - i));
      const [x, y] = [ranks[i] ?? 0, ranks[j] ?? 0];
      ranks[i] = y;
      ranks[j] = x;
    }
    if (off(ranks) >= observed - 1e-9) extreme++;
  }
  return extreme / (rounds + 1);
}

/** From 1; equal samples share the mean of their ranks. */
function ranksOf(samples: readonly number[]): number[] {
  const sorted = [...samples].sort((x, y) => x - y);
  return samples.map((sample) => (sorted.indexOf(sample) + sorted.lastIndexOf(sample)) / 2 + 1);
}
