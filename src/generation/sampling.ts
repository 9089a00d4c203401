/**
 * From logits to a token. Order and rules are those of transformers' logits processors: repetition penalty, then
 * temperature, top-k, top-p, min-p, each on what the one before left, scores in float32.
 */
import { Random } from './random.js';
import type { SamplingOptions } from './types.js';

/** Tokens that are left, ascending by id, with their scores after penalty and temperature. */
export interface Kept {
  readonly count: number;
  readonly ids: Int32Array;
  readonly scores: Float32Array;
}

/** True when a token is the argmax of the untouched logits, so that the device may pick it. */
export function isPlainGreedy(options: SamplingOptions): boolean {
  return options.temperature === 0 && options.repetitionPenalty === 1;
}

/** Work space for one vocabulary, shared by the rows of a batch. */
export class Filter {
  readonly #options: SamplingOptions;
  readonly #scores: Float32Array;
  readonly #ids: Int32Array;
  readonly #kept: Float32Array;
  readonly #sorted: Float32Array;

  constructor(options: SamplingOptions, vocab: number) {
    this.#options = options;
    this.#scores = new Float32Array(vocab);
    this.#ids = new Int32Array(vocab);
    this.#kept = new Float32Array(vocab);
    this.#sorted = new Float32Array(vocab);
  }

  /** What is left of `logits` [vocab]. `seen` are the ids of prompt and answer so far. Valid until the next call. */
  apply(logits: Float32Array, seen: ReadonlySet<number>): Kept {
    const { temperature, topK, topP, minP } = this.#options;
    this.#penalize(logits, seen);
    if (temperature !== 0 && temperature !== 1) {
      // One float32 division: the reference's scalar is a float32 as well.
      const divisor = Math.fround(temperature);
      for (let i = 0; i < logits.length; i++) this.#scores[i] = (this.#scores[i] as number) / divisor;
    }
    let count = this.#topK(temperature === 0 ? 0 : topK);
    if (temperature !== 0 && topP < 1) count = this.#topP(count, topP);
    if (temperature !== 0 && minP > 0) count = this.#minP(count, minP);
    return { count, ids: this.#ids, scores: this.#kept };
  }

  #penalize(logits: Float32Array, seen: ReadonlySet<number>): void {
    const penalty = Math.fround(this.#options.repetitionPenalty);
    for (let i = 0; i < logits.length; i++) {
      const v = logits[i] as number;
      this.#scores[i] = Number.isNaN(v) ? Number.NEGATIVE_INFINITY : v;
    }
    if (penalty === 1) return;
    for (const id of seen) {
      const v = this.#scores[id];
      if (v !== undefined) this.#scores[id] = v < 0 ? v * penalty : v / penalty;
    }
  }

  /** Everything not below the k-th best score (ties with it stay). */
  #topK(k: number): number {
    const scores = this.#scores;
    const width = scores.length;
    const least = k > 0 && k < width ? this.#kthBest(k) : Number.NEGATIVE_INFINITY;
    let count = 0;
    for (let i = 0; i < width; i++) {
      const v = scores[i] as number;
      if (v < least || v === Number.NEGATIVE_INFINITY) continue;
      this.#ids[count] = i;
      this.#kept[count++] = v;
    }
    if (count === 0) {
      // Nothing is finite: the first token stands for all.
      this.#ids[0] = 0;
      this.#kept[0] = 0;
      return 1;
    }
    return count;
  }

  /** A heap of the k best: its root is the k-th. */
  #kthBest(k: number): number {
    const heap = this.#sorted.subarray(0, k);
    heap.set(this.#scores.subarray(0, k));
    for (let i = (k >> 1) - 1; i >= 0; i--) sink(heap, i);
    for (let i = k; i < this.#scores.length; i++) {
      const v = this.#scores[i] as number;
      if (v <= (heap[0] as number)) continue;
      heap[0] = v;
      sink(heap, 0);
    }
    return heap[0] as number;
  }

  /**
   * Keeps a token when those ranked above it hold less than p. Among equals the lower id ranks first, as everywhere
   * here; the reference leaves their order open (its sort is not stable).
   */
  #topP(count: number, p: number): number {
    const scores = this.#kept;
    let best = Number.NEGATIVE_INFINITY;
    for (let i = 0; i < count; i++) best = Math.max(best, scores[i] as number);
    let mass = 0;
    for (let i = 0; i < count; i++) mass += Math.exp((scores[i] as number) - best);
    const ranked = this.#ranked(count, best, p * mass);
    let above = 0;
    let last = 0;
    while (last < ranked.length && (last === 0 || above < p * mass)) {
      above += Math.exp((ranked[last] as number) - best);
      last++;
    }
    const least = ranked[last - 1] as number;
    let ties = 0;
    for (let i = last - 1; i >= 0 && ranked[i] === least; i--) ties++;
    return this.#keepFrom(count, least, ties);
  }

  /** Scores in falling order, at least as many as hold `mass`: sorting the long tail is what costs. */
  #ranked(count: number, best: number, mass: number): Float32Array {
    for (const depth of [4, 8, 16, 32, Number.POSITIVE_INFINITY]) {
      let n = 0;
      let held = 0;
      for (let i = 0; i < count; i++) {
        const v = this.#kept[i] as number;
        if (v < best - depth) continue;
        this.#sorted[n++] = v;
        held += Math.exp(v - best);
      }
      // A little more than asked: the sum in another order may differ in its last bits.
      if (held > mass * (1 + 1e-9) || n === count) return this.#sorted.subarray(0, n).sort().reverse();
    }
    return this.#sorted.subarray(0, 0);
  }

  /** Drops what is below `least`, and of those equal to it all but the first `ties`. */
  #keepFrom(count: number, least: number, ties: number): number {
    let left = ties;
    let out = 0;
    for (let i = 0; i < count; i++) {
      const v = this.#kept[i] as number;
      if (v < least || (v === least && left-- <= 0)) continue;
      this.#ids[out] = this.#ids[i] as number;
      this.#kept[out++] = v;
    }
    return out;
  }

  /** Everything at least `p` times as likely as the best. */
  #minP(count: number, p: number): number {
    let best = Number.NEGATIVE_INFINITY;
    for (let i = 0; i < count; i++) best = Math.max(best, this.#kept[i] as number);
    let out = 0;
    for (let i = 0; i < count; i++) {
      const v = this.#kept[i] as number;
      if (v !== best && Math.exp(v - best) < p) continue;
      this.#ids[out] = this.#ids[i] as number;
      this.#kept[out++] = v;
    }
    return out;
  }
}

function sink(heap: Float32Array, from: number): void {
  const value = heap[from] as number;
  let at = from;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && (heap[child + 1] as number) < (heap[child] as number)) child++;
    if ((heap[child] as number) >= value) break;
    heap[at] = heap[child] as number;
    at = child;
  }
  heap[at] = value;
}

/** Picks the tokens of one sequence. */
export class Sampler {
  readonly #options: SamplingOptions;
  readonly #random: Random;
  readonly #seen: Set<number>;
  #step = 0;

  constructor(options: SamplingOptions, prompt: Int32Array) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#seen = new Set(options.repetitionPenalty === 1 ? [] : prompt);
  }

  /** The next token from full logits [vocab]. */
  pick(logits: Float32Array, filter: Filter): number {
    const kept = filter.apply(logits, this.#seen);
    const id = this.#options.temperature === 0 ? bestOf(kept) : this.#draw(kept);
    if (this.#options.repetitionPenalty !== 1) this.#seen.add(id);
    this.#step++;
    return id;
  }

  #draw({ count, ids, scores }: Kept): number {
    let best = Number.NEGATIVE_INFINITY;
    for (let i = 0; i < count; i++) best = Math.max(best, scores[i] as number);
    let mass = 0;
    for (let i = 0; i < count; i++) mass += Math.exp((scores[i] as number) - best);
    const target = this.#random.at(this.#step) * mass;
    let sum = 0;
    for (let i = 0; i < count; i++) {
      sum += Math.exp((scores[i] as number) - best);
      if (sum > target) return ids[i] as number;
    }
    return ids[count - 1] as number;
  }
}

function bestOf({ count, ids, scores }: Kept): number {
  let at = 0;
  for (let i = 1; i < count; i++) if ((scores[i] as number) > (scores[at] as number)) at = i;
  return ids[at] as number;
}
