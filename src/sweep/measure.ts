/** From the records of a point's batches to its figures. */
import type { ItemRecord, Ledger } from '../contracts/record.js';
import { percentile, type Statistic, statistic } from './stats.js';

/** One batch: its items, and when it was handed over and done (milliseconds on one clock). */
export interface BatchRecord {
  readonly start: number;
  readonly end: number;
  readonly items: readonly ItemRecord[];
}

export interface PointFigures {
  /** From the hand-over of an item to its first token: what a caller waits, preprocessing and queue included. */
  readonly ttftMs: Statistic;
  /** Prefill calls alone, as QEfficient counts. */
  readonly ttftQefficientMs: Statistic;
  /** Tokens after the first of all rows of a batch, over the time of its decode steps. */
  readonly decodeTokensPerSecond: Statistic;
  readonly tokensPerSecondPerSequence: Statistic;
  /** Over the whole batch, preprocessing included. */
  readonly imagesPerSecond: Statistic;
  readonly latencyMs: Statistic;
  readonly latencyPercentiles: { readonly p50: number; readonly p95: number; readonly p99: number };
}

export interface PointMeasured {
  readonly figures: PointFigures;
  /** First batch of the fresh process, sessions not open yet: from its hand-over. */
  readonly coldTtftMs: number | null;
  /** Largest resident set of the point's process. */
  readonly peakMemoryBytes: number;
  /** Of the whole process, loading and warm-up included. */
  readonly ledger: Ledger;
  /** Generated ids of each set of inputs, in the order of the file. */
  readonly tokens: readonly (readonly number[])[];
  readonly emulated: boolean;
}

export function figuresOf(batches: readonly BatchRecord[], seed: number): PointFigures {
  const of = (value: (batch: BatchRecord) => number): Statistic => statistic(batches.map(value), seed);
  const mean = (batch: BatchRecord, value: (item: ItemRecord) => number): number =>
    batch.items.reduce((sum, item) => sum + value(item), 0) / batch.items.length;
  const latencies = batches.map(({ start, end }) => end - start);
  return {
    ttftMs: of((batch) => mean(batch, (item) => item.metrics?.ttftMs ?? Number.NaN)),
    ttftQefficientMs: of((batch) => mean(batch, (item) => item.metrics?.ttftQefficientMs ?? Number.NaN)),
    decodeTokensPerSecond: of((batch) =>
      batch.items.reduce((sum, item) => sum + (item.metrics?.decodeTokensPerSecond ?? 0), 0),
    ),
    tokensPerSecondPerSequence: of((batch) => mean(batch, (item) => item.metrics?.decodeTokensPerSecond ?? 0)),
    imagesPerSecond: of((batch) => {
      const images = batch.items.reduce((sum, item) => sum + item.images.length, 0);
      return (images / (batch.end - batch.start)) * 1000;
    }),
    latencyMs: of(({ start, end }) => end - start),
    latencyPercentiles: {
      p50: percentile(latencies, 0.5),
      p95: percentile(latencies, 0.95),
      p99: percentile(latencies, 0.99),
    },
  };
}

/** Where two answers part: `same`, or the first set of inputs and token that differ. */
export function parityOf(
  tokens: readonly (readonly number[])[],
  reference: readonly (readonly number[])[],
): 'same' | { readonly input: number; readonly token: number } {
  for (let input = 0; input < Math.max(tokens.length, reference.length); input++) {
    const [mine = [], theirs = []] = [tokens[input], reference[input]];
    for (let token = 0; token < Math.max(mine.length, theirs.length); token++) {
      if (mine[token] !== theirs[token]) return { input, token };
    }
  }
  return 'same';
}
