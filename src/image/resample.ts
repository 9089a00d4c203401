/**
 * Resizing of interleaved uint8 RGB with Pillow's bytes: a horizontal pass, its result rounded to uint8, then a
 * vertical pass; an axis whose size stays is left alone. The arithmetic is int32 throughout (see filters.ts).
 */
import { VlmError } from '../contracts/errors.js';
import type { ResampleArithmetic, ResampleFilter } from '../contracts/family.js';
import { type AxisWeights, axisWeights, PRECISION_BITS } from './filters.js';

/** Decoded picture: `data` is RGB interleaved, `width * height * 3` bytes. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** The two passes. Rows are `width` pixels of 3 bytes; the native addon has the same functions. */
export interface ResampleKernels {
  readonly name: 'native' | 'typescript';
  /** [rows, inWidth, 3] -> [rows, outWidth, 3]. */
  horizontal(
    input: Uint8Array,
    inWidth: number,
    rows: number,
    output: Uint8Array,
    outWidth: number,
    w: AxisWeights,
  ): void;
  /** [inRows, rowBytes] -> [outRows, rowBytes]. */
  vertical(input: Uint8Array, rowBytes: number, output: Uint8Array, outRows: number, w: AxisWeights): void;
  /**
   * Cuts a `size.width` x `size.height` tile at (left, top) out of rows of `stride` bytes and writes it as three planes
   * of float32, each value looked up in `table` (256 entries a channel).
   */
  tile(
    input: Uint8Array,
    stride: number,
    left: number,
    top: number,
    size: { readonly width: number; readonly height: number },
    table: Float32Array,
    output: Float32Array,
    offset: number,
  ): void;
}

const HALF = 1 << (PRECISION_BITS - 1);

/** A sum without its fraction, read as an unsigned number of ten bits, to the byte it stands for. */
const CLIPPED = Uint8Array.from({ length: 1 << (32 - PRECISION_BITS) }, (_, top) =>
  top >> (31 - PRECISION_BITS) === 1 ? 0 : Math.min(255, top),
);

/** Rows that the vertical pass adds up at once: the sums go through memory once for all of them. */
const TAPS = 4;

// Elements are read where they are needed and not through a helper: one helper for arrays of several types is several
// times slower, because its reads are compiled for all of them.
export const typescriptKernels: ResampleKernels = {
  name: 'typescript',

  horizontal(input, inWidth, rows, output, outWidth, w) {
    const { size, starts, counts, weights } = w;
    for (let y = 0; y < rows; y++) {
      const rowIn = y * inWidth * 3;
      let o = y * outWidth * 3;
      for (let x = 0; x < outWidth; x++) {
        let r = HALF;
        let g = HALF;
        let b = HALF;
        let p = rowIn + (starts[x] as number) * 3;
        const first = x * size;
        const last = first + (counts[x] as number);
        for (let t = first; t < last; t++) {
          const k = weights[t] as number;
          r = (r + Math.imul(input[p] as number, k)) | 0;
          g = (g + Math.imul(input[p + 1] as number, k)) | 0;
          b = (b + Math.imul(input[p + 2] as number, k)) | 0;
          p += 3;
        }
        output[o] = CLIPPED[r >>> PRECISION_BITS] as number;
        output[o + 1] = CLIPPED[g >>> PRECISION_BITS] as number;
        output[o + 2] = CLIPPED[b >>> PRECISION_BITS] as number;
        o += 3;
      }
    }
  },

  vertical(input, rowBytes, output, outRows, w) {
    const { size, starts, counts, weights } = w;
    const sums = new Int32Array(rowBytes);
    for (let y = 0; y < outRows; y++) {
      const count = counts[y] as number;
      const first = (starts[y] as number) * rowBytes;
      sums.fill(HALF);
      for (let t = 0; t < count; t += TAPS)
        addRows(sums, input, first + t * rowBytes, weights, y * size + t, count - t);
      const out = y * rowBytes;
      for (let i = 0; i < rowBytes; i++) output[out + i] = CLIPPED[(sums[i] as number) >>> PRECISION_BITS] as number;
    }
  },

  tile(input, stride, left, top, size, table, output, offset) {
    const plane = size.width * size.height;
    let o = offset;
    for (let y = 0; y < size.height; y++) {
      let p = (top + y) * stride + left * 3;
      for (let x = 0; x < size.width; x++, p += 3, o++) {
        output[o] = table[input[p] as number] as number;
        output[o + plane] = table[256 + (input[p + 1] as number)] as number;
        output[o + 2 * plane] = table[512 + (input[p + 2] as number)] as number;
      }
    }
  },
};

/**
 * Adds up to TAPS rows of `sums.length` bytes, the first at `row`, each times its weight. Of rows past `left` the first
 * one is read again and weighs nothing: nothing is read outside the picture.
 */
function addRows(
  sums: Int32Array,
  input: Uint8Array,
  row: number,
  weights: Int32Array,
  first: number,
  left: number,
): void {
  const bytes = sums.length;
  const k0 = weights[first] as number;
  const k1 = left > 1 ? (weights[first + 1] as number) : 0;
  const k2 = left > 2 ? (weights[first + 2] as number) : 0;
  const k3 = left > 3 ? (weights[first + 3] as number) : 0;
  const row1 = left > 1 ? row + bytes : row;
  const row2 = left > 2 ? row + 2 * bytes : row;
  const row3 = left > 3 ? row + 3 * bytes : row;
  for (let i = 0; i < bytes; i++) {
    let sum = sums[i] as number;
    sum = (sum + Math.imul(input[row + i] as number, k0)) | 0;
    sum = (sum + Math.imul(input[row1 + i] as number, k1)) | 0;
    sum = (sum + Math.imul(input[row2 + i] as number, k2)) | 0;
    sums[i] = (sum + Math.imul(input[row3 + i] as number, k3)) | 0;
  }
}

/** `image` resized to `width` x `height`. An unchanged size gives the same object back: do not write into it. */
export function resize(
  image: RgbImage,
  width: number,
  height: number,
  filter: ResampleFilter,
  kernels: ResampleKernels,
  arithmetic: ResampleArithmetic = 'pillow',
): RgbImage {
  checkSizes(image, width, height);
  if (filter === 'nearest') return nearest(image, width, height);
  const across = (from: RgbImage): RgbImage => {
    if (from.width === width) return from;
    const data = new Uint8Array(width * from.height * 3);
    const weights = axisWeights(from.width, width, filter, arithmetic);
    kernels.horizontal(from.data, from.width, from.height, data, width, weights);
    return { width, height: from.height, data };
  };
  const down = (from: RgbImage): RgbImage => {
    if (from.height === height) return from;
    const data = new Uint8Array(from.width * height * 3);
    kernels.vertical(from.data, from.width * 3, data, height, axisWeights(from.height, height, filter, arithmetic));
    return { width: from.width, height, data };
  };
  // Pillow turns the order round for a very tall picture that gets lower.
  const downFirst = arithmetic === 'pillow' && image.height > image.width * 100 && height < image.height;
  return downFirst ? across(down(image)) : down(across(image));
}

/** Source index of each output sample; the position is summed up step by step because the reference does so. */
function nearestIndices(input: number, output: number): Int32Array {
  const step = input / output;
  const indices = new Int32Array(output);
  let position = step * 0.5;
  for (let i = 0; i < output; i++) {
    const index = Math.trunc(position);
    indices[i] = index < input ? index : -1;
    position += step;
  }
  return indices;
}

function nearest(image: RgbImage, width: number, height: number): RgbImage {
  if (image.width === width && image.height === height) return image;
  const xs = nearestIndices(image.width, width);
  const ys = nearestIndices(image.height, height);
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const sy = ys[y] as number;
    if (sy < 0) continue;
    let o = y * width * 3;
    for (let x = 0; x < width; x++, o += 3) {
      const sx = xs[x] as number;
      if (sx < 0) continue;
      const p = (sy * image.width + sx) * 3;
      data[o] = image.data[p] as number;
      data[o + 1] = image.data[p + 1] as number;
      data[o + 2] = image.data[p + 2] as number;
    }
  }
  return { width, height, data };
}

function checkSizes(image: RgbImage, width: number, height: number): void {
  const ok = [image.width, image.height, width, height].every((n) => Number.isInteger(n) && n > 0);
  if (!ok || image.data.length !== image.width * image.height * 3) {
    throw new VlmError('INTERNAL', {
      what: 'An image cannot be resized',
      expected: 'positive whole sizes and width * height * 3 bytes',
      received: `${image.width}x${image.height} with ${image.data.length} bytes to ${width}x${height}`,
    });
  }
}
