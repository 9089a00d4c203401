/** From the records of a point's batches to its figures. */
import type { ItemRecord, Ledger } from '../contracts/record.js';
import type { PointScore } from './score.js';
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
  /** Over the time in which a batch was under way, preprocessing included. */
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
  /** Items that the ledger is of. */
  readonly items: number;
  /** Generated ids of each set of inputs, in the order of the file. */
  readonly tokens: readonly (readonly number[])[];
  /** On the dataset that the sweep names, if it names one. */
  readonly score?: PointScore;
  readonly emulated: boolean;
}

/**
 * Samples are one a round: `rounds` are repeats of the same batches in the same order, so what differs between two
 * samples is the measurement and not the inputs. `before` is when the batch ahead of the first round was done.
 */
export function figuresOf(
  rounds: readonly (readonly BatchRecord[])[],
  before: number | undefined,
  seed: number,
): PointFigures {
  const of = (value: (item: ItemRecord) => number, join: (batch: readonly number[]) => number): Statistic =>
    statistic(
      rounds.map((round) => mean(round.map(({ items }) => join(items.map(value))))),
      seed,
    );
  const decode = (item: ItemRecord): number => item.metrics?.decodeTokensPerSecond ?? 0;
  const latencies = rounds.map((round) => round.map(({ start, end }) => end - start));
  const all = latencies.flat();
  return {
    ttftMs: of((item) => item.metrics?.ttftMs ?? Number.NaN, mean),
    ttftQefficientMs: of((item) => item.metrics?.ttftQefficientMs ?? Number.NaN, mean),
    decodeTokensPerSecond: of(decode, sum),
    tokensPerSecondPerSequence: of(decode, mean),
    imagesPerSecond: statistic(imageRates(rounds, before), seed),
    latencyMs: statistic(latencies.map(mean), seed),
    latencyPercentiles: { p50: percentile(all, 0.5), p95: percentile(all, 0.95), p99: percentile(all, 0.99) },
  };
}

/**
 * Images of each round a second of the time in which a batch of it was under way and no earlier round was: batches of
 * a queue overlap and must not be counted twice; what lies between two batches (reading inputs) is not the run's.
 */
function imageRates(rounds: readonly (readonly BatchRecord[])[], before: number | undefined): number[] {
  let done = before ?? Number.NEGATIVE_INFINITY;
  return rounds.map((round) => {
    let busy = 0;
    for (const { start, end } of [...round].sort((a, b) => a.start - b.start)) {
      busy += Math.max(0, end - Math.max(start, done));
      done = Math.max(done, end);
    }
    return (sum(round.map(({ items }) => sum(items.map(({ images }) => images.length)))) / busy) * 1000;
  });
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function mean(values: readonly number[]): number {
  return sum(values) / values.length;
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
