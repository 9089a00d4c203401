/** Inputs of the language program as the loop builds them: read from the program's ports, never assumed. */
import type { ProgramDescription, ProgramPort } from '../contracts/device.js';
import { VlmError } from '../contracts/errors.js';
import type { DType, Tensor } from '../contracts/tensor.js';
import { floatsToHalves, halvesToFloats } from '../util/float16.js';

/** What the loop must know of a language program. */
export interface LanguagePorts {
  readonly vision: ProgramPort | null;
  readonly hasImageIndex: boolean;
  readonly hasTokenTypes: boolean;
  readonly contextLengths: DType | null;
  readonly batchIndex: DType | null;
}

export function languagePorts(program: ProgramDescription): LanguagePorts {
  const port = (name: string): ProgramPort | undefined => program.inputs.find((p) => p.name === name);
  return {
    vision: port('vision_embeds') ?? null,
    hasImageIndex: port('image_idx') !== undefined,
    hasTokenTypes: port('mm_token_type_ids') !== undefined,
    contextLengths: port('comp_ctx_lengths')?.dtype ?? null,
    batchIndex: port('batch_index')?.dtype ?? null,
  };
}

/** An int64 tensor that is written in place, element by element, without making a bigint. */
export class IntTensor implements Tensor<'int64'> {
  readonly dtype = 'int64';
  readonly dims: readonly number[];
  readonly data: BigInt64Array;
  readonly #words: Int32Array;

  constructor(dims: readonly number[]) {
    this.dims = dims;
    this.data = new BigInt64Array(dims.reduce((n, d) => n * d, 1));
    this.#words = new Int32Array(this.data.buffer);
  }

  /** Little-endian, as every supported machine is. */
  set(index: number, value: number): void {
    this.#words[2 * index] = value;
    this.#words[2 * index + 1] = value < 0 ? -1 : 0;
  }

  get(index: number): number {
    return this.#words[2 * index] as number;
  }
}

/** A tensor of whole numbers in the dtype that a program wants. */
export function wholeNumbers(dtype: DType, dims: readonly number[], value: (index: number) => number): Tensor {
  const count = dims.reduce((n, d) => n * d, 1);
  const values = Array.from({ length: count }, (_, i) => value(i));
  switch (dtype) {
    case 'int64':
      return { dtype, dims, data: BigInt64Array.from(values, BigInt) };
    case 'int32':
      return { dtype, dims, data: Int32Array.from(values) };
    case 'int8':
      return { dtype, dims, data: Int8Array.from(values) };
    case 'uint8':
    case 'bool':
      return { dtype, dims, data: Uint8Array.from(values) };
    case 'float16':
      return { dtype, dims, data: floatsToHalves(Float32Array.from(values)) };
    default:
      return { dtype: 'float32', dims, data: Float32Array.from(values) };
  }
}

/**
 * Vision rows in the shape that the program takes: [rows, hidden] -> [T, H] or [1, T, H], zero rows behind them where
 * the program's (or the shape set's) T is larger. `shape` wins over the port's dims. Null vision: rows of zero.
 */
export function visionTensor(vision: Tensor | null, port: ProgramPort, shape?: readonly number[]): Tensor {
  const dims = shape ?? port.dims;
  const hidden = Number(dims[dims.length - 1]);
  const rows = vision?.dims[0] ?? 0;
  const given = dims[dims.length - 2];
  const count = typeof given === 'number' ? given : Math.max(rows, 1);
  const lead = dims.slice(0, -2).map((d) => (typeof d === 'number' ? d : 1));
  const problem = vision === null ? null : visionProblem(vision, dims);
  if (problem !== null) throw problem;
  const total = lead.reduce((n, d) => n * d, 1) * count * hidden;
  if (vision !== null && vision.data.length === total) {
    return { dtype: vision.dtype, dims: [...lead, count, hidden], data: vision.data } as Tensor;
  }
  const made = zeroFloats(port.dtype, [...lead, count, hidden], total);
  if (vision !== null) putFloats(vision, made, 0);
  return made;
}

/** Why vision rows cannot go into a port of these dims, or null. */
export function visionProblem(vision: Tensor, dims: readonly (number | string)[]): VlmError | null {
  const hidden = dims[dims.length - 1];
  const most = dims[dims.length - 2];
  const [rows = 0] = vision.dims;
  const tooMany = typeof most === 'number' && rows > most;
  if (vision.dims.length === 2 && vision.dims[1] === hidden && !tooMany) return null;
  return new VlmError(tooMany ? 'SHAPE_NOT_ALLOWED' : 'TENSOR_INVALID', {
    what: 'Vision embeddings do not fit the language program',
    expected: `[${typeof most === 'number' ? `up to ${most}` : 'any number of'} rows, ${hidden}]`,
    received: `[${vision.dims.join(', ')}]`,
    where: 'vision_embeds',
    hint: tooMany
      ? 'lower max_tiles, or use a program made for more vision rows'
      : 'use the vision and the language program of the same model',
  });
}

/** Vision rows of several prompts for a program with a batch axis: [batch, T, hidden]. */
export function visionBatch(
  rows: readonly { readonly row: number; readonly vision: Tensor | null }[],
  port: ProgramPort,
  shape: readonly number[],
): Tensor {
  const [batch, count, hidden] = shape as readonly [number, number, number];
  const made = zeroFloats(port.dtype, shape, batch * count * hidden);
  for (const { row, vision } of rows) {
    if (vision === null) continue;
    const fitted = visionTensor(vision, port, [1, count, hidden]);
    putFloats(fitted, made, row * count * hidden);
  }
  return made;
}

function zeroFloats(dtype: DType, dims: readonly number[], total: number): Tensor {
  return dtype === 'float16'
    ? { dtype, dims, data: new Uint16Array(total) }
    : { dtype: 'float32', dims, data: new Float32Array(total) };
}

function putFloats(from: Tensor, into: Tensor, at: number): void {
  const { data } = from;
  const target = into.data;
  const end = at + data.length;
  if (target instanceof Float32Array && data instanceof Float32Array) target.set(data, at);
  else if (target instanceof Uint16Array && data instanceof Uint16Array) target.set(data, at);
  else if (target instanceof Float32Array && data instanceof Uint16Array)
    halvesToFloats(data, target.subarray(at, end));
  else if (target instanceof Uint16Array && data instanceof Float32Array)
    floatsToHalves(data, target.subarray(at, end));
}

/** Image tokens among ids[0, end). */
export function imageTokens(ids: Int32Array, imageTokenId: number, end = ids.length): number {
  let n = 0;
  if (imageTokenId >= 0) for (let i = 0; i < end; i++) if (ids[i] === imageTokenId) n++;
  return n;
}
