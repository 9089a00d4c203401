/** Ports of an ONNX program as the device contract names them: no prefix, our dtypes, fixed or symbolic dims. */
import type { ProgramPort } from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';
import type { DType } from '../../contracts/tensor.js';
import type { OnnxValue } from './onnx-graph.js';

const DTYPES: Readonly<Record<number, DType>> = {
  1: 'float32',
  2: 'uint8',
  3: 'int8',
  6: 'int32',
  7: 'int64',
  9: 'bool',
  10: 'float16',
};

/** `prefix/past_key.0` -> `past_key.0`. */
export function bareName(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1);
}

/** A port and the name by which the graph knows it. */
export interface BoundPort extends ProgramPort {
  readonly graphName: string;
}

export function boundPorts(values: readonly OnnxValue[], path: string): readonly BoundPort[] {
  const seen = new Map<string, string>();
  return values.map((v) => {
    const name = bareName(v.name);
    const dtype = DTYPES[v.elementType];
    if (dtype === undefined) {
      throw new VlmError('PROGRAM_INVALID', {
        what: 'A program port has a type that is not supported',
        expected: `one of ${Object.values(DTYPES).join(', ')}`,
        received: `ONNX element type ${v.elementType}`,
        where: `${path}: ${v.name}`,
      });
    }
    const other = seen.get(name);
    if (other !== undefined) {
      throw new VlmError('PROGRAM_INVALID', {
        what: 'Two ports of a program have the same name after their prefix',
        expected: 'names that differ after the last /',
        received: `${other} and ${v.name}`,
        where: path,
      });
    }
    seen.set(name, v.name);
    // An axis without value or name takes anything: it gets a name of its own.
    const dims = v.dims.map((d, axis) => (d === '' ? `${name}_axis${axis}` : d));
    return { name, dtype, dims, graphName: v.name };
  });
}
