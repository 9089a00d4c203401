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

function clip8(sum: number): number {
  const v = sum >> PRECISION_BITS;
  return Math.max(0, Math.min(255, v));
}

function at(a: Uint8Array | Int32Array, i: number): number {
  return a[i] as number;
}

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
        let p = rowIn + at(starts, x) * 3;
        const first = x * size;
        const last = first + at(counts, x);
        for (let t = first; t < last; t++) {
          const k = at(weights, t);
          r = (r + Math.imul(at(input, p), k)) | 0;
          g = (g + Math.imul(at(input, p + 1), k)) | 0;
          b = (b + Math.imul(at(input, p + 2), k)) | 0;
          p += 3;
        }
        output[o] = clip8(r);
        output[o + 1] = clip8(g);
        output[o + 2] = clip8(b);
        o += 3;
      }
    }
  },

  vertical(input, rowBytes, output, outRows, w) {
    const { size, starts, counts, weights } = w;
    const sums = new Int32Array(rowBytes);
    for (let y = 0; y < outRows; y++) {
      sums.fill(HALF);
      const count = at(counts, y);
      for (let t = 0; t < count; t++) {
        const k = at(weights, y * size + t);
        const row = (at(starts, y) + t) * rowBytes;
        for (let i = 0; i < rowBytes; i++) sums[i] = (at(sums, i) + Math.imul(at(input, row + i), k)) | 0;
      }
      const out = y * rowBytes;
      for (let i = 0; i < rowBytes; i++) output[out + i] = clip8(at(sums, i));
    }
  },

  tile(input, stride, left, top, size, table, output, offset) {
    const plane = size.width * size.height;
    let o = offset;
    for (let y = 0; y < size.height; y++) {
      let p = (top + y) * stride + left * 3;
      for (let x = 0; x < size.width; x++, p += 3, o++) {
        output[o] = table[at(input, p)] as number;
        output[o + plane] = table[256 + at(input, p + 1)] as number;
        output[o + 2 * plane] = table[512 + at(input, p + 2)] as number;
      }
    }
  },
};

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
    const sy = at(ys, y);
    if (sy < 0) continue;
    let o = y * width * 3;
    for (let x = 0; x < width; x++, o += 3) {
      const sx = at(xs, x);
      if (sx < 0) continue;
      const p = (sy * image.width + sx) * 3;
      data[o] = at(image.data, p);
      data[o + 1] = at(image.data, p + 1);
      data[o + 2] = at(image.data, p + 2);
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
