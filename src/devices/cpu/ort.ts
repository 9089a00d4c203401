/** The one place that knows onnxruntime-node's tensors. */
import { Tensor as OrtTensor } from 'onnxruntime-node';
import { VlmError } from '../../contracts/errors.js';
import { BYTES_PER_ELEMENT, type DType, type DTypeArrays, type Tensor } from '../../contracts/tensor.js';

export type DTypeArray = DTypeArrays[DType];

/** A zero-filled array. Throws STATE_INVALID when there is not that much memory. */
export function allocate(dtype: DType, count: number): DTypeArray {
  try {
    switch (dtype) {
      case 'float32':
        return new Float32Array(count);
      case 'float16':
        return new Uint16Array(count);
      case 'int64':
        return new BigInt64Array(count);
      case 'int32':
        return new Int32Array(count);
      case 'int8':
        return new Int8Array(count);
      default:
        return new Uint8Array(count);
    }
  } catch (cause) {
    throw new VlmError('STATE_INVALID', {
      what: 'There is not enough memory for a tensor of the program',
      expected: `${((count * BYTES_PER_ELEMENT[dtype]) / 2 ** 20).toFixed(0)} MiB in one piece`,
      hint: 'lower ctx_len or batch_size',
      cause,
    });
  }
}

/** Wraps an array without copying it. */
export function ortTensor(dtype: DType, data: DTypeArray, dims: readonly number[]): OrtTensor {
  const tensor = new OrtTensor(dtype as 'float32', data as Float32Array, dims);
  // Where JavaScript has Float16Array (Node 24), a tensor shows one, in which the runtime's native side sees no bytes.
  return tensor.data === data ? tensor : Object.defineProperty(tensor, 'data', { value: data });
}

/** The data of a tensor that ONNX Runtime gave, as the contract has it (newer engines give Float16Array for float16). */
export function dataOf(tensor: OrtTensor, dtype: DType): DTypeArray {
  const data = tensor.data as DTypeArray;
  if (dtype !== 'float16' || data instanceof Uint16Array) return data;
  return new Uint16Array(data.buffer, data.byteOffset, data.length);
}

export function contractTensor(tensor: OrtTensor, dtype: DType): Tensor {
  return { dtype, dims: tensor.dims, data: dataOf(tensor, dtype) };
}
