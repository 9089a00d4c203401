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
