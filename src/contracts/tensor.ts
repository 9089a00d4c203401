/**
 * Tensors as they cross ports, threads and devices: a dtype, dims and one flat typed array in row-major order.
 * `float16` elements are raw IEEE 754 binary16 bits in a Uint16Array; `bool` is one byte an element.
 */
import { VlmError } from './errors.js';

export interface DTypeArrays {
  float32: Float32Array;
  float16: Uint16Array;
  int64: BigInt64Array;
  int32: Int32Array;
  int8: Int8Array;
  uint8: Uint8Array;
  bool: Uint8Array;
}
export type DType = keyof DTypeArrays;

export interface Tensor<D extends DType = DType> {
  readonly dtype: D;
  readonly dims: readonly number[];
  readonly data: DTypeArrays[D];
}

export const BYTES_PER_ELEMENT: Readonly<Record<DType, number>> = {
  float32: 4,
  float16: 2,
  int64: 8,
  int32: 4,
  int8: 1,
  uint8: 1,
  bool: 1,
};

export function elementCount(dims: readonly number[]): number {
  return dims.reduce((n, d) => n * d, 1);
}

/** Builds a tensor and checks that the data is as long as the dims say. Throws TENSOR_INVALID. */
export function tensor<D extends DType>(dtype: D, dims: readonly number[], data: DTypeArrays[D]): Tensor<D> {
  const expected = elementCount(dims);
  if (data.length !== expected || dims.some((d) => !Number.isInteger(d) || d < 0)) {
    throw new VlmError('TENSOR_INVALID', {
      what: `A ${dtype} tensor's data does not match its dims`,
      expected: `${expected} elements for dims [${dims.join(', ')}]`,
      received: `${data.length} elements`,
    });
  }
  return { dtype, dims, data };
}

/** `float32 [1, 16, 128]`: what error messages and logs show of a tensor. Contents are never logged. */
export function tensorLabel(t: { readonly dtype: DType; readonly dims: readonly number[] }): string {
  return `${t.dtype} [${t.dims.join(', ')}]`;
}
