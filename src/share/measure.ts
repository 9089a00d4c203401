/**
 * Tensors in a few bytes. Pixels are compared exactly: digests, one a tile to name the first that differs. Embeddings
 * are compared within a tolerance without keeping them: a count sketch (every number is added, with a sign, to one of
 * 64 sums chosen by its place) keeps lengths, so the length of the difference of two sketches estimates the length of
 * the difference of the tensors, and no number is left out. One sketch a block of rows names the place.
 */
import type { EmbeddingsValue, PixelsValue } from '../contracts/ports.js';
import type { Tensor } from '../contracts/tensor.js';
import { halvesToFloats } from '../util/float16.js';
import { sha256Of } from './canonical.js';
import type { LockedEmbeddings, LockedPixels } from './format.js';

const BUCKETS = 64;
const BLOCKS = 16;
const TILE_DIGITS = 16;

function bytesOf(data: Tensor['data']): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** tensor float32 [tiles, …]: the first axis is what a difference is named by. */
export function measurePixels({ tensor }: PixelsValue): LockedPixels | null {
  if (tensor === null) return null;
  const bytes = bytesOf(tensor.data);
  const count = tensor.dims[0] ?? 0;
  const size = count === 0 ? 0 : bytes.length / count;
  const tiles = Array.from({ length: count }, (_, i) =>
    sha256Of(bytes.subarray(i * size, (i + 1) * size)).slice(0, TILE_DIGITS),
  );
  return { dims: tensor.dims, sha256: sha256Of(bytes), tiles };
}

/** What differs first, or null. */
export function comparePixels(locked: LockedPixels | null, here: LockedPixels | null): string | null {
  if (locked === null || here === null) {
    return locked === here
      ? null
      : `${here === null ? 'no pixels' : 'pixels'} (lock: ${locked === null ? 'none' : 'some'})`;
  }
  if (locked.dims.join() !== here.dims.join())
    return `shape [${here.dims.join(', ')}] (lock: [${locked.dims.join(', ')}])`;
  if (locked.sha256 === here.sha256) return null;
  const at = locked.tiles.findIndex((digest, i) => digest !== here.tiles[i]);
  const others = locked.tiles.filter((digest, i) => digest !== here.tiles[i]).length;
  return `tile ${at} is the first of ${others} that differ`;
}

/** Bucket and sign of a place: a full avalanche of 32 bits, the same on every machine. */
function scatter(place: number): number {
  let h = Math.imul(place + 1, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 15), 0x85ebca77);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae3d);
  return h ^ (h >>> 16);
}

/** Sketches of [rows, hidden], one after another: rows go to at most 16 blocks of equal height. */
export function sketch(values: Float32Array, rows: number): Float32Array {
  const height = blockHeight(rows);
  const blocks = rows === 0 ? 0 : Math.ceil(rows / height);
  const hidden = rows === 0 ? 0 : values.length / rows;
  const out = new Float32Array(blocks * BUCKETS);
  const sums = new Float64Array(BUCKETS);
  for (let block = 0; block < blocks; block++) {
    sums.fill(0);
    const from = block * height * hidden;
    const to = Math.min((block + 1) * height, rows) * hidden;
    for (let i = from; i < to; i++) {
      const h = scatter(i - from);
      const at = h & (BUCKETS - 1);
      const value = values[i] as number;
      sums[at] = (sums[at] as number) + (h < 0 ? -value : value);
    }
    out.set(sums, block * BUCKETS);
  }
  return out;
}

function blockHeight(rows: number): number {
  return Math.max(1, Math.ceil(rows / BLOCKS));
}

function length(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value * value;
  return Math.sqrt(sum);
}

export function measureEmbeddings({ tensor }: EmbeddingsValue): LockedEmbeddings | null {
  if (tensor === null) return null;
  const values =
    tensor.dtype === 'float16' ? halvesToFloats(tensor.data as Uint16Array) : (tensor.data as Float32Array);
  return {
    dims: tensor.dims,
    dtype: tensor.dtype,
    sha256: sha256Of(bytesOf(tensor.data)),
    norm: Number(length(values).toPrecision(7)),
    sketch: Buffer.from(bytesOf(sketch(values, tensor.dims[0] ?? 0))).toString('base64'),
  };
}

export interface EmbeddingsComparison {
  readonly same: boolean;
  /** Estimated length of the difference over that of the locked embeddings; NaN when it cannot be told. */
  readonly relative: number;
  /** What is outside the tolerance first, or null. */
  readonly problem: string | null;
}

/**
 * A block's estimate has a relative standard deviation of sqrt(2 / 64) = 0.18 in its square: five of them are a factor
 * of 1.37 in length. The whole, of 16 blocks, is held to the tolerance itself.
 */
const BLOCK_SLACK = 1.4;

export function compareEmbeddings(
  locked: LockedEmbeddings | null,
  here: LockedEmbeddings | null,
  tolerance: number,
): EmbeddingsComparison {
  const broken = (problem: string): EmbeddingsComparison => ({ same: false, relative: Number.NaN, problem });
  if (locked === null || here === null) {
    if (locked === here) return { same: true, relative: 0, problem: null };
    return broken(here === null ? 'no embeddings (lock: some)' : 'embeddings (lock: none)');
  }
  if (locked.dims.join() !== here.dims.join()) {
    return broken(`shape [${here.dims.join(', ')}] (lock: [${locked.dims.join(', ')}])`);
  }
  if (locked.sha256 === here.sha256) return { same: true, relative: 0, problem: null };
  const a = floats(locked.sketch);
  const b = floats(here.sketch);
  if (a.length !== b.length) return broken('a sketch of another length: the lock is damaged');
  const whole = length(a);
  const delta = a.map((value, i) => (b[i] as number) - value);
  const relative = length(delta) / Math.max(whole, Number.MIN_VALUE);
  if (!Number.isFinite(relative)) return broken('a value that is no number');
  const problem = firstBlock(a, delta, whole, tolerance * BLOCK_SLACK, locked.dims[0] ?? 0);
  if (problem !== null) return { same: false, relative, problem };
  const over =
    relative > tolerance
      ? `the difference is ${ratio(relative)} of the embeddings (at most ${ratio(tolerance)})`
      : null;
  return { same: false, relative, problem: over };
}

function firstBlock(a: Float32Array, delta: Float32Array, whole: number, limit: number, rows: number): string | null {
  const blocks = a.length / BUCKETS;
  const height = blockHeight(rows);
  for (let block = 0; block < blocks; block++) {
    const range = [block * BUCKETS, (block + 1) * BUCKETS] as const;
    // A block of next to nothing is measured against what blocks are on average.
    const scale = Math.max(length(a.subarray(...range)), whole / Math.sqrt(blocks) / 8);
    const relative = length(delta.subarray(...range)) / scale;
    if (relative <= limit) continue;
    const last = Math.min((block + 1) * height, rows) - 1;
    return `rows ${block * height} to ${last} differ by ${ratio(relative)} of their length (at most ${ratio(limit)})`;
  }
  return null;
}

export function ratio(value: number): string {
  return Number(value.toPrecision(2)).toString();
}

function floats(base64: string): Float32Array {
  const bytes = new Uint8Array(Buffer.from(base64, 'base64'));
  return new Float32Array(bytes.buffer, 0, Math.floor(bytes.length / 4));
}

/** [5, 7, 7, 7] -> [5, [7, 3]]: image tokens come by the hundred. */
export function runLengths(ids: ArrayLike<number>): readonly (number | readonly [number, number])[] {
  const out: (number | readonly [number, number])[] = [];
  for (let i = 0; i < ids.length; ) {
    const id = ids[i] as number;
    let end = i + 1;
    while (end < ids.length && ids[end] === id) end++;
    if (end - i > 2) out.push([id, end - i]);
    else for (let k = i; k < end; k++) out.push(id);
    i = end;
  }
  return out;
}

export function expandRuns(runs: readonly (number | readonly [number, number])[]): readonly number[] {
  return runs.flatMap((run) => (typeof run === 'number' ? [run] : Array<number>(run[1]).fill(run[0])));
}
