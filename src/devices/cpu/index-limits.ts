/**
 * INT32_MAX constants. Exports made for cards use 2147483647 as an index that is out of range on purpose: a card drops
 * such writes, ONNX Runtime refuses the call. Here they are found; mend.ts turns them into 0. (A position that would have used them never reaches ONNX Runtime: session.ts refuses -1.)
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { VlmError } from '../../contracts/errors.js';
import {
  ONNX_BYTES,
  ONNX_INT32,
  ONNX_INT64,
  type OnnxInts,
  type OnnxModel,
  type OnnxNode,
  type OnnxTensor,
} from './onnx-graph.js';
import { type ByteSource, varint } from './onnx-wire.js';

export const INT32_MAX = 2147483647;
/** A padding index is one number or a small mask of them; longer constants are tables, never limits. */
const MOST_ELEMENTS = 65536;
/** Ops that hand a constant on unchanged, so that its use lies further down. */
const PASSES = new Set(['Cast', 'Identity', 'Reshape', 'Unsqueeze', 'Squeeze', 'Concat', 'Expand']);

export interface IndexLimits {
  readonly tensors: readonly OnnxTensor[];
  readonly ints: readonly OnnxInts[];
}

/** Every constant of the model whose elements are all INT32_MAX, save those that say where a Slice ends. */
export function findIndexLimits(model: OnnxModel, source: ByteSource): IndexLimits {
  const tensors: OnnxTensor[] = [];
  const ints: OnnxInts[] = [];
  const scan = (nodes: readonly OnnxNode[], initializers: readonly OnnxTensor[]): void => {
    for (const t of initializers) {
      if (isLimit(t, source, model.path) && !endsSlice(t.name, nodes)) tensors.push(t);
    }
    for (const node of nodes) {
      for (const g of node.graphs) scan(g.nodes, g.initializers);
      if (node.op !== 'Constant' || node.outputs.some((o) => endsSlice(o, nodes))) continue;
      for (const t of node.tensors) if (isLimit(t, source, model.path)) tensors.push(t);
      for (const i of node.ints) if (i.values.length > 0 && i.values.every((v) => v === INT32_MAX)) ints.push(i);
    }
  };
  scan(model.graph.nodes, model.graph.initializers);
  for (const f of model.functions.values()) scan(f.nodes, []);
  return { tensors, ints };
}

/** INT32_MAX as `ends` of a Slice means "to the end" and is no index. */
function endsSlice(name: string, nodes: readonly OnnxNode[], depth = 0): boolean {
  if (name === '' || depth > 8) return false;
  return nodes.some(
    (n) =>
      (n.op === 'Slice' && n.inputs[2] === name) ||
      (PASSES.has(n.op) && n.inputs.includes(name) && n.outputs.some((o) => endsSlice(o, nodes, depth + 1))),
  );
}

function isLimit(tensor: OnnxTensor, source: ByteSource, path: string): boolean {
  const { elementType: type } = tensor;
  if (type !== ONNX_INT32 && type !== ONNX_INT64) return false;
  const count = tensor.bytes / (ONNX_BYTES[type] ?? 1);
  if (count < 1 || count > MOST_ELEMENTS) return false;
  if (tensor.external !== null) {
    if (count > 1024) return false;
    return allRaw(readExternalBytes(path, tensor.external), type);
  }
  const payload = tensor.payload;
  if (payload === null) return false;
  if (payload.field === 'raw') return allRaw(source.bytes(payload.start, payload.end - payload.start), type);
  const cursor = { next: payload.start };
  let seen = 0;
  for (; cursor.next < payload.end; seen++) if (varint(source, cursor.next, cursor) !== INT32_MAX) return false;
  return seen === count;
}

function allRaw(bytes: Uint8Array, type: number): boolean {
  const width = type === ONNX_INT64 ? 8 : 4;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i + width <= bytes.length; i += width) {
    if (view.getInt32(i, true) !== INT32_MAX || (width === 8 && view.getInt32(i + 4, true) !== 0)) return false;
  }
  return bytes.length >= width;
}

function readExternalBytes(
  path: string,
  place: { readonly location: string; readonly offset: number; readonly length: number },
): Uint8Array {
  const file = join(dirname(path), place.location);
  const bytes = new Uint8Array(place.length);
  try {
    const fd = openSync(file, 'r');
    try {
      readSync(fd, bytes, 0, place.length, place.offset);
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    throw new VlmError('MODEL_MISSING', {
      what: 'The weights file of a program cannot be read',
      expected: `${place.location} beside the ONNX file`,
      where: path,
      hint: 'copy the external data file along with the model',
      cause,
    });
  }
  return bytes;
}
