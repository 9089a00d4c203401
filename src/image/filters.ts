/**
 * Resampling weights as Pillow computes them: normalised in double, then rounded to 22-bit fixed point.
 * The kernels (TypeScript and native) only ever see these integers, so both give the same bytes.
 */
import { VlmError } from '../contracts/errors.js';
import type { ResampleArithmetic, ResampleFilter } from '../contracts/family.js';

/** 32 bits less 8 of the pixel less 2 of head-room: the sums of overshooting filters must not overflow an int32. */
export const PRECISION_BITS = 22;

/** Every filter that is a convolution; `nearest` is not. */
export type ConvolutionFilter = Exclude<ResampleFilter, 'nearest'>;

/** Weights of one axis. Output i = sum over t < counts[i] of input[starts[i] + t] * weights[i * size + t]. */
export interface AxisWeights {
  readonly size: number;
  readonly starts: Int32Array;
  readonly counts: Int32Array;
  readonly weights: Int32Array;
}

interface Kernel {
  readonly support: number;
  at(x: number): number;
}

function sinc(x: number): number {
  if (x === 0) return 1;
  const t = x * Math.PI;
  return Math.sin(t) / t;
}

function bicubic(x: number): number {
  const a = -0.5;
  const t = Math.abs(x);
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  if (t < 2) return (((t - 5) * t + 8) * t - 4) * a;
  return 0;
}

// The reference writes these two constants as 32-bit floats.
const HAMMING_A = Math.fround(0.54);
const HAMMING_B = Math.fround(0.46);

function hamming(x: number): number {
  const t = Math.abs(x);
  if (t === 0) return 1;
  if (t >= 1) return 0;
  const u = t * Math.PI;
  return (Math.sin(u) / u) * (HAMMING_A + HAMMING_B * Math.cos(u));
}

const KERNELS: Readonly<Record<ConvolutionFilter, Kernel>> = {
  box: { support: 0.5, at: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: { support: 1, at: hamming },
  bicubic: { support: 2, at: bicubic },
  lanczos: { support: 3, at: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

const CACHE_LIMIT = 64;
const cache = new Map<string, AxisWeights>();

/** Weights that bring `input` samples to `output` samples. The few last used are kept: a batch repeats its sizes. */
export function axisWeights(
  input: number,
  output: number,
  filter: ConvolutionFilter,
  arithmetic: ResampleArithmetic = 'pillow',
): AxisWeights {
  const key = `${arithmetic}:${filter}:${input}:${output}`;
  const known = cache.get(key);
  if (known !== undefined) return known;
  const made = makeWeights(input, output, filter, arithmetic);
  if (cache.size >= CACHE_LIMIT) for (const oldest of [...cache.keys()].slice(0, CACHE_LIMIT / 2)) cache.delete(oldest);
  cache.set(key, made);
  return made;
}

function makeWeights(
  input: number,
  output: number,
  filter: ConvolutionFilter,
  arithmetic: ResampleArithmetic,
): AxisWeights {
  const kernel = KERNELS[filter];
  const scale = input / output;
  const filterScale = Math.max(scale, 1);
  const support = kernel.support * filterScale;
  const size = Math.ceil(support) * 2 + 1;
  if (size * output > 2 ** 28) {
    throw new VlmError('IMAGE_TOO_LARGE', {
      what: `Resampling ${input} to ${output} samples needs too many weights`,
      hint: 'use a smaller picture',
    });
  }
  const starts = new Int32Array(output);
  const counts = new Int32Array(output);
  const exact = new Float64Array(output * size);
  const step = 1 / filterScale;
  for (let i = 0; i < output; i++) {
    const center = (i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(center - support + 0.5));
    const count = Math.min(input, Math.trunc(center + support + 0.5)) - start;
    const row = exact.subarray(i * size, i * size + count);
    let total = 0;
    for (let t = 0; t < count; t++) {
      const w = kernel.at((t + start - center + 0.5) * step);
      row[t] = w;
      total += w;
    }
    if (total !== 0) for (let t = 0; t < count; t++) row[t] = (row[t] ?? 0) / total;
    starts[i] = start;
    counts[i] = count;
  }
  const bits = arithmetic === 'pillow' ? PRECISION_BITS : shortBits(exact);
  const shift = PRECISION_BITS - bits;
  const weights = Int32Array.from(exact, (w) => toFixed(w, bits) << shift);
  return { size, starts, counts, weights };
}

/**
 * torchvision's uint8 kernels keep weights in 16 bits: as many fractional bits as the largest weight leaves room for.
 * Shifted up to 22 bits they go through the same kernels with the same result.
 */
function shortBits(exact: Float64Array): number {
  let largest = 0;
  for (const w of exact) largest = Math.max(largest, w);
  let bits = 0;
  while (bits < PRECISION_BITS && Math.trunc(0.5 + largest * 2 ** (bits + 1)) < 2 ** 15) bits++;
  return bits;
}

/** Rounds half away from zero, as the references do. */
function toFixed(w: number, bits: number): number {
  const scaled = w * 2 ** bits;
  return Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}
