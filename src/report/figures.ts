/** The figures of a point that a report shows, and where a row has them. */
import { isObject, type Json } from './read.js';
import type { Figure, Metric } from './types.js';

export const METRICS: readonly Metric[] = [
  { key: 'ttftMs', label: 'Time to first token', unit: 'ms', better: 'low' },
  { key: 'ttftQefficientMs', label: 'Prefill alone (QEfficient’s TTFT)', unit: 'ms', better: 'low' },
  { key: 'decodeTokensPerSecond', label: 'Decode, all rows', unit: 'tok/s', better: 'high' },
  { key: 'tokensPerSecondPerSequence', label: 'Decode, per sequence', unit: 'tok/s', better: 'high' },
  { key: 'imagesPerSecond', label: 'Images', unit: '1/s', better: 'high' },
  { key: 'latencyMs', label: 'Latency of a batch', unit: 'ms', better: 'low' },
  { key: 'latencyP50Ms', label: 'Latency p50', unit: 'ms', better: 'low' },
  { key: 'latencyP95Ms', label: 'Latency p95', unit: 'ms', better: 'low' },
  { key: 'latencyP99Ms', label: 'Latency p99', unit: 'ms', better: 'low' },
  { key: 'score', label: 'Score on the dataset', unit: '', better: 'high' },
  { key: 'coldTtftMs', label: 'First token, cold', unit: 'ms', better: 'low' },
  { key: 'peakMemoryMiB', label: 'Peak memory', unit: 'MiB', better: 'low' },
  { key: 'loadBefore', label: 'Load before', unit: '', better: 'low' },
];

export const LATENCY = 'ttftMs';
export const THROUGHPUT = 'decodeTokensPerSecond';

/** Figures that are there and are numbers; NaN crosses JSON as null, and is not there. */
export function figuresOfRow(row: Json): Readonly<Record<string, Figure>> {
  const figures = isObject(row['figures']) ? row['figures'] : {};
  const percentiles = isObject(figures['latencyPercentiles']) ? figures['latencyPercentiles'] : {};
  const peak = numberOf(row['peakMemoryBytes']);
  const plain: Readonly<Record<string, number | null>> = {
    latencyP50Ms: numberOf(percentiles['p50']),
    latencyP95Ms: numberOf(percentiles['p95']),
    latencyP99Ms: numberOf(percentiles['p99']),
    score: scoreOfRow(row),
    coldTtftMs: numberOf(row['coldTtftMs']),
    peakMemoryMiB: peak === null ? null : peak / 1024 / 1024,
    loadBefore: numberOf(row['loadBefore']),
  };
  const found: [string, Figure][] = [];
  for (const { key } of METRICS) {
    const value = plain[key];
    const figure = value === undefined ? statisticOf(figures[key]) : value === null ? null : { value, ci: null };
    if (figure !== null) found.push([key, figure]);
  }
  return Object.fromEntries(found);
}

export function scoreOfRow(row: Json): number | null {
  return isObject(row['score']) ? numberOf(row['score']['value']) : null;
}

function statisticOf(statistic: unknown): Figure | null {
  if (!isObject(statistic)) return null;
  const value = numberOf(statistic['median']);
  if (value === null) return null;
  const [low, high] = Array.isArray(statistic['ci']) ? statistic['ci'].map(numberOf) : [];
  // Of one sample the interval is that sample: it says nothing, and is not shown.
  const samples = Array.isArray(statistic['samples']) ? statistic['samples'].length : 0;
  return { value, ci: samples > 1 && typeof low === 'number' && typeof high === 'number' ? [low, high] : null };
}

export function numberOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

export function itemsOfRow(row: Json): number | null {
  const items = numberOf(row['items']);
  return items !== null && items > 0 ? items : null;
}

/** Lane to stage to milliseconds. */
export function stagesOfRow(row: Json): Readonly<Record<string, Readonly<Record<string, number>>>> {
  if (!isObject(row['stages'])) return {};
  const lanes = Object.entries(row['stages']).map(([lane, stages]) => {
    const times = Object.entries(isObject(stages) ? stages : {}).map(([stage, ms]) => [stage, numberOf(ms)] as const);
    return [lane, Object.fromEntries(times.filter((entry): entry is [string, number] => entry[1] !== null))] as const;
  });
  return Object.fromEntries(lanes);
}

/**
 * Points that no other one beats: lower latency and higher throughput, or equal in one and better in the other. Equal
 * points stand side by side. Returns places in `points`, by rising latency.
 */
export function paretoFront(points: readonly { readonly latency: number; readonly throughput: number }[]): number[] {
  const order = points
    .map((_, i) => i)
    .sort((a, b) => {
      const [p, q] = [points[a], points[b]];
      if (p === undefined || q === undefined) return 0;
      return p.latency - q.latency || q.throughput - p.throughput || a - b;
    });
  const front: number[] = [];
  let best = Number.NEGATIVE_INFINITY;
  let bestLatency = Number.NaN;
  for (const i of order) {
    const point = points[i];
    if (point === undefined) continue;
    const { latency, throughput } = point;
    if (throughput > best || (throughput === best && latency === bestLatency)) {
      front.push(i);
      best = throughput;
      bestLatency = latency;
    }
  }
  return front;
}
