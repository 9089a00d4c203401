/**
 * A graph as ONNX Runtime can run it: constants of INT32_MAX at 0, weights left where they lie. What is made is the
 * graph alone; large weights of a self-contained file become references to places in that same file, which ONNX Runtime
 * maps into memory, so that a model is mended without its weights being read or copied here.
 */
import type { IndexLimits } from './index-limits.js';
import type { OnnxModel, OnnxTensor } from './onnx-graph.js';
import { type ByteSource, encodeVarint, fields, type Range } from './onnx-wire.js';

/** Smaller ones stay in the graph: ONNX Runtime reads shapes and the like while it checks the graph. */
const LARGE_BYTES = 1 << 16;

/** Weights that a mended graph may refer to instead of holding them. None when others lie in files of their own. */
export function largeWeights(model: OnnxModel, limits: IndexLimits, atLeast = LARGE_BYTES): readonly OnnxTensor[] {
  const { initializers } = model.graph;
  if (initializers.some((t) => t.external !== null)) return [];
  const mended = new Set(limits.tensors);
  return initializers.filter((t) => {
    if (t.payload?.field !== 'raw' || mended.has(t)) return false;
    return t.payload.end - t.payload.start === t.bytes && t.bytes >= atLeast;
  });
}

interface Edit {
  readonly start: number;
  readonly end: number;
  readonly bytes: Uint8Array;
}

/**
 * The bytes of the graph with those constants at 0. A constant in the file is overwritten (0 as long as the old value,
 * which protobuf allows); one in an external file becomes an inline one; `weights` become references to `location`, and
 * references of `moved` tensors name another file.
 */
export function mendedGraph(
  source: ByteSource,
  limits: IndexLimits,
  weights: readonly OnnxTensor[] = [],
  location = '',
  moved: ReadonlyMap<OnnxTensor, string> = new Map(),
): Uint8Array {
  const edits: Edit[] = [];
  const growth = new Map<Range, number>();
  const zeroed = (start: number, end: number, keepLength: boolean): void => {
    const bytes = source.bytes(start, end - start).slice();
    for (let i = 0; i < bytes.length; i++) bytes[i] = keepLength ? (bytes[i] ?? 0) & 0x80 : 0;
    edits.push({ start, end, bytes });
  };
  const replaced = ({ message }: OnnxTensor, bytes: Uint8Array): void => {
    edits.push({ start: message.start, end: message.end, bytes });
    growth.set(message, bytes.length - (message.end - message.start));
  };
  for (const { start, end } of limits.ints) zeroed(start, end, true);
  for (const t of limits.tensors) {
    if (t.external !== null) replaced(t, zeroTensor(source, t));
    else if (t.payload !== null) zeroed(t.payload.start, t.payload.end, t.payload.field !== 'raw');
  }
  for (const t of weights) replaced(t, referringTensor(source, t, location));
  for (const [t, file] of moved) {
    if (!limits.tensors.includes(t)) replaced(t, referringTensor(source, t, file));
  }
  return splice(source, [...edits, ...newLengths(growth)]);
}

/** From the inside out: a message's length varint may itself change its length, and so the message around it. */
function newLengths(growth: Map<Range, number>): Edit[] {
  const edits: Edit[] = [];
  const ranges = [...new Set([...growth.keys()].flatMap(enclosing))].sort(
    (a, b) => enclosing(b).length - enclosing(a).length,
  );
  for (const range of ranges) {
    if (range.parent === null) continue;
    const grown = growth.get(range) ?? 0;
    const length = encodeVarint(range.end - range.start + grown);
    edits.push({ start: range.lengthAt, end: range.start, bytes: length });
    const above = growth.get(range.parent) ?? 0;
    growth.set(range.parent, above + grown + length.length - (range.start - range.lengthAt));
  }
  return edits;
}

function enclosing(range: Range): Range[] {
  const out: Range[] = [];
  for (let r: Range | null = range; r !== null; r = r.parent) out.push(r);
  return out;
}

/** Fields of TensorProto that say where the elements are: raw_data, external_data, data_location. */
const PLACES: ReadonlySet<number> = new Set([9, 13, 14]);

/** The message of a tensor without its elements. */
function bare(source: ByteSource, tensor: OnnxTensor): Uint8Array[] {
  const parts: Uint8Array[] = [];
  fields(source, tensor.message, (f) => {
    if (!PLACES.has(f.number)) parts.push(source.bytes(f.at, f.end - f.at).slice());
  });
  return parts;
}

/** An external tensor with zero bytes of its own instead. */
function zeroTensor(source: ByteSource, tensor: OnnxTensor): Uint8Array {
  return joined([...bare(source, tensor), lengthDelimited(9, new Uint8Array(tensor.bytes))]);
}

/** The tensor with its elements in `location`, as far in as they are now in the graph or in the file that it names. */
function referringTensor(source: ByteSource, tensor: OnnxTensor, location: string): Uint8Array {
  const start = tensor.external?.offset ?? tensor.payload?.start ?? 0;
  const entries = { location, offset: String(start), length: String(tensor.bytes) };
  const parts = bare(source, tensor);
  for (const [key, value] of Object.entries(entries)) {
    parts.push(lengthDelimited(13, joined([lengthDelimited(1, text(key)), lengthDelimited(2, text(value))])));
  }
  return joined([...parts, Uint8Array.of(14 << 3, 1)]);
}

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function lengthDelimited(number: number, payload: Uint8Array): Uint8Array {
  return joined([encodeVarint((number << 3) | 2), encodeVarint(payload.length), payload]);
}

/** What is not edited is read as it is: of a file that is the graph, as the weights are among the edits. */
function splice(source: ByteSource, edits: readonly Edit[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const edit of [...edits].sort((a, b) => a.start - b.start)) {
    parts.push(source.bytes(at, edit.start - at).slice(), edit.bytes);
    at = edit.end;
  }
  parts.push(source.bytes(at, source.size - at).slice());
  return joined(parts);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}
