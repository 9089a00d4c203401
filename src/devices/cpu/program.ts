/** Reads a program file into what the device contract asks: description, retained state, constants to mend. */
import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ProgramDescription, ProgramPort, ProgramSource } from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';
import { BYTES_PER_ELEMENT } from '../../contracts/tensor.js';
import { checkHalf } from '../shared/halves.js';
import { findIndexLimits, type IndexLimits } from './index-limits.js';
import { largeWeights } from './mend.js';
import { type OnnxGraph, type OnnxModel, type OnnxTensor, parseOnnx } from './onnx-graph.js';
import { ByteSource } from './onnx-wire.js';
import { type BoundPort, boundPorts } from './ports.js';
import { type RetainedPair, retainedPairs } from './retained-state.js';

export interface CpuProgram {
  readonly path: string;
  readonly description: ProgramDescription;
  readonly inputs: readonly BoundPort[];
  readonly outputs: readonly BoundPort[];
  readonly pairs: readonly RetainedPair[];
  readonly limits: IndexLimits;
  /** Weights that a mended graph refers to where they lie. */
  readonly weights: readonly OnnxTensor[];
  /** Tensors whose elements lie in files of their own beside the graph. */
  readonly external: readonly OnnxTensor[];
}

/** Reads the graph of a program, not its weights. Throws MODEL_MISSING / PROGRAM_INVALID. */
export function readProgram(source: ProgramSource): CpuProgram {
  const bytes = ByteSource.open(source.path);
  try {
    const model = parseOnnx(bytes);
    const inputs = boundPorts(model.graph.inputs, source.path);
    const outputs = boundPorts(model.graph.outputs, source.path);
    checkHalf(source.role, { inputs: inputs.map((p) => p.name), outputs: outputs.map((p) => p.name) }, source.path);
    const pairs = source.role === 'language' ? retainedPairs(model) : [];
    const constants = allConstants(model);
    checkExternalFiles(source.path, constants);
    const limits = findIndexLimits(model, bytes);
    return {
      path: source.path,
      inputs,
      outputs,
      pairs,
      limits,
      weights: largeWeights(model, limits),
      external: constants.filter((t) => t.external !== null),
      description: {
        role: source.role,
        inputs: inputs.map(portOf),
        outputs: outputs.map(portOf),
        allowedShapes: null,
        calls: 'exact',
        weightBytes: constants.reduce((n, t) => n + t.bytes, 0),
        stateBytesPerToken: pairs.reduce((n, p) => n + bytesPerSlot(p, inputs), 0),
        emulated: false,
      },
    };
  } finally {
    bytes.close();
  }
}

function portOf(port: BoundPort): ProgramPort {
  return { name: port.name, dtype: port.dtype, dims: port.dims };
}

/** Bytes of one slot of one row: [batch, heads, slots, head_dim] without its first and third axis. */
function bytesPerSlot(pair: RetainedPair, inputs: readonly BoundPort[]): number {
  const port = inputs.find((p) => p.graphName === pair.input.name);
  const width = BYTES_PER_ELEMENT[port?.dtype ?? 'float32'];
  return pair.input.dims.reduce<number>(
    (n, d, axis) => (axis === 0 || axis === 2 || typeof d === 'string' ? n : n * d),
    width,
  );
}

function allConstants(model: OnnxModel): readonly OnnxTensor[] {
  const out: OnnxTensor[] = [];
  const walk = (graph: Pick<OnnxGraph, 'nodes'>): void => {
    for (const node of graph.nodes) {
      out.push(...node.tensors);
      for (const inner of node.graphs) {
        out.push(...inner.initializers);
        walk(inner);
      }
    }
  };
  out.push(...model.graph.initializers);
  walk(model.graph);
  for (const fn of model.functions.values()) walk(fn);
  return out;
}

function checkExternalFiles(path: string, constants: readonly OnnxTensor[]): void {
  const ends = new Map<string, number>();
  for (const { external } of constants) {
    if (external === null) continue;
    ends.set(external.location, Math.max(ends.get(external.location) ?? 0, external.offset + external.length));
  }
  for (const [location, end] of ends) {
    const file = join(dirname(path), location);
    const size = statSync(file, { throwIfNoEntry: false })?.size ?? -1;
    if (size >= end) continue;
    throw new VlmError('MODEL_MISSING', {
      what: size < 0 ? 'The weights file of a program is missing' : 'The weights file of a program is cut short',
      expected: `${location} of at least ${end} bytes beside the ONNX file`,
      received: size < 0 ? 'no such file' : `${size} bytes`,
      where: path,
      hint: 'copy the external data file along with the model',
    });
  }
}
