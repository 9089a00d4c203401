/**
 * What the cpu device needs to know of an ONNX file, read without loading its weights: ports, constants and where their
 * bytes stand, nodes and local functions. Field numbers are those of onnx.proto3 (IR version 3 and later).
 */
import { VlmError } from '../../contracts/errors.js';
import { ByteSource, body, type Field, fields, number, numbers, type Range, string } from './onnx-wire.js';

/** ONNX element types by number: bytes of one element. */
export const ONNX_BYTES: Readonly<Record<number, number>> = {
  1: 4, // float
  2: 1, // uint8
  3: 1, // int8
  4: 2, // uint16
  5: 2, // int16
  6: 4, // int32
  7: 8, // int64
  9: 1, // bool
  10: 2, // float16
  11: 8, // double
  12: 4, // uint32
  13: 8, // uint64
  16: 2, // bfloat16
  17: 1, // float8 kinds
  18: 1,
  19: 1,
  20: 1,
  21: 0.5, // uint4
  22: 0.5, // int4
};
export const ONNX_INT32 = 6;
export const ONNX_INT64 = 7;

export interface OnnxValue {
  readonly name: string;
  readonly elementType: number;
  readonly dims: readonly (number | string)[];
}

/** A constant tensor: its bytes are in the file (`payload`) or in another one (`external`). */
export interface OnnxTensor {
  readonly name: string;
  readonly elementType: number;
  readonly dims: readonly number[];
  readonly bytes: number;
  readonly message: Range;
  readonly payload: { readonly field: 'raw' | 'int32' | 'int64'; readonly start: number; readonly end: number } | null;
  readonly external: { readonly location: string; readonly offset: number; readonly length: number } | null;
}

/** An integer attribute of a Constant node (`value_int`, `value_ints`): where its varints stand. */
export interface OnnxInts {
  readonly start: number;
  readonly end: number;
  readonly values: readonly number[];
}

export interface OnnxNode {
  readonly op: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Tensors and integers of Constant nodes; bodies of If, Loop and Scan. */
  readonly tensors: readonly OnnxTensor[];
  readonly ints: readonly OnnxInts[];
  readonly graphs: readonly OnnxGraph[];
}

export interface OnnxGraph {
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  readonly initializers: readonly OnnxTensor[];
  readonly nodes: readonly OnnxNode[];
}

export interface OnnxFunction {
  readonly domain: string;
  readonly name: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly nodes: readonly OnnxNode[];
}

export interface OnnxModel {
  readonly path: string;
  readonly size: number;
  readonly graph: OnnxGraph;
  /** Local functions by `domain:name`. */
  readonly functions: ReadonlyMap<string, OnnxFunction>;
  /** Version of each operator set by domain; '' is ONNX's own. */
  readonly opsets: Readonly<Record<string, number>>;
}

/** Reads the structure of an ONNX file. Throws MODEL_MISSING / PROGRAM_INVALID. */
export function readOnnx(path: string): OnnxModel {
  const source = ByteSource.open(path);
  try {
    return parseOnnx(source);
  } finally {
    source.close();
  }
}

export function parseOnnx(source: ByteSource): OnnxModel {
  const root: Range = { start: 0, end: source.size, lengthAt: -1, parent: null };
  let graph: OnnxGraph | null = null;
  const functions = new Map<string, OnnxFunction>();
  const opsets: Record<string, number> = {};
  fields(source, root, (f) => {
    if (f.number === 7 && f.wire === 2) graph = readGraph(source, body(f, root));
    else if (f.number === 25 && f.wire === 2) {
      const made = readFunction(source, body(f, root));
      functions.set(`${made.domain}:${made.name}`, made);
    } else if (f.number === 8 && f.wire === 2) readOpset(source, body(f, root), opsets);
  });
  if (graph === null) {
    throw new VlmError('PROGRAM_INVALID', {
      what: 'A program file holds no ONNX graph',
      expected: 'an ONNX model',
      received: `${source.size} bytes of something else`,
      where: source.name,
    });
  }
  return { path: source.name, size: source.size, graph, functions, opsets };
}

function readOpset(source: ByteSource, range: Range, into: Record<string, number>): void {
  let domain = '';
  let version = 0;
  fields(source, range, (f) => {
    if (f.number === 1 && f.wire === 2) domain = string(source, f);
    else if (f.number === 2) version = number(source, f);
  });
  into[domain] = version;
}

function readGraph(source: ByteSource, range: Range): OnnxGraph {
  const inputs: OnnxValue[] = [];
  const outputs: OnnxValue[] = [];
  const initializers: OnnxTensor[] = [];
  const nodes: OnnxNode[] = [];
  fields(source, range, (f) => {
    if (f.wire !== 2) return;
    if (f.number === 1) nodes.push(readNode(source, body(f, range)));
    else if (f.number === 5) initializers.push(readTensor(source, body(f, range)));
    else if (f.number === 11) inputs.push(readValue(source, body(f, range)));
    else if (f.number === 12) outputs.push(readValue(source, body(f, range)));
  });
  // Files of IR version 3 list initializers among the inputs as well: those are not fed.
  const constants = new Set(initializers.map((t) => t.name));
  return { inputs: inputs.filter((v) => !constants.has(v.name)), outputs, initializers, nodes };
}

function readFunction(source: ByteSource, range: Range): OnnxFunction {
  let name = '';
  let domain = '';
  const inputs: string[] = [];
  const outputs: string[] = [];
  const nodes: OnnxNode[] = [];
  fields(source, range, (f) => {
    if (f.wire !== 2) return;
    if (f.number === 1) name = string(source, f);
    else if (f.number === 4) inputs.push(string(source, f));
    else if (f.number === 5) outputs.push(string(source, f));
    else if (f.number === 7) nodes.push(readNode(source, body(f, range)));
    else if (f.number === 10) domain = string(source, f);
  });
  return { domain, name, inputs, outputs, nodes };
}

function readNode(source: ByteSource, range: Range): OnnxNode {
  const inputs: string[] = [];
  const outputs: string[] = [];
  const attributes: Range[] = [];
  let op = '';
  let domain = '';
  fields(source, range, (f) => {
    if (f.wire !== 2) return;
    if (f.number === 1) inputs.push(string(source, f));
    else if (f.number === 2) outputs.push(string(source, f));
    else if (f.number === 4) op = string(source, f);
    else if (f.number === 5) attributes.push(body(f, range));
    else if (f.number === 7) domain = string(source, f);
  });
  const tensors: OnnxTensor[] = [];
  const ints: OnnxInts[] = [];
  const graphs: OnnxGraph[] = [];
  for (const attribute of attributes) {
    fields(source, attribute, (f) => {
      if (f.number === 5 && f.wire === 2) tensors.push(readTensor(source, body(f, attribute)));
      else if (f.number === 6 || f.number === 11) graphs.push(readGraph(source, body(f, attribute)));
      else if (op === 'Constant' && (f.number === 3 || f.number === 8)) ints.push(readInts(source, f));
    });
  }
  return { op, domain, inputs, outputs, tensors, ints, graphs };
}

function readInts(source: ByteSource, field: Field): OnnxInts {
  const values: number[] = [];
  numbers(source, field, values);
  return { start: field.start, end: field.end, values };
}

function readTensor(source: ByteSource, message: Range): OnnxTensor {
  const dims: number[] = [];
  const entries: Range[] = [];
  let name = '';
  let elementType = 0;
  let payload: OnnxTensor['payload'] = null;
  let isExternal = false;
  fields(source, message, (f) => {
    const { start, end } = f;
    if (f.number === 1) numbers(source, f, dims);
    else if (f.number === 2) elementType = number(source, f);
    else if (f.number === 8) name = string(source, f);
    else if (f.number === 9) payload = { field: 'raw', start, end };
    else if (f.number === 5) payload = { field: 'int32', start, end };
    else if (f.number === 7) payload = { field: 'int64', start, end };
    else if (f.number === 13) entries.push(body(f, message));
    else if (f.number === 14) isExternal = number(source, f) === 1;
  });
  const bytes = Math.ceil(dims.reduce((n, d) => n * d, 1) * (ONNX_BYTES[elementType] ?? 1));
  const external = isExternal ? readExternal(source, entries, bytes) : null;
  return { name, elementType, dims, bytes, message, payload, external };
}

function readExternal(source: ByteSource, entries: readonly Range[], bytes: number): OnnxTensor['external'] {
  const pairs = new Map<string, string>();
  for (const entry of entries) {
    let key = '';
    let value = '';
    fields(source, entry, (f) => {
      if (f.number === 1) key = string(source, f);
      else if (f.number === 2) value = string(source, f);
    });
    pairs.set(key, value);
  }
  return {
    location: pairs.get('location') ?? '',
    offset: Number(pairs.get('offset') ?? 0),
    length: Number(pairs.get('length') ?? bytes),
  };
}

function readValue(source: ByteSource, range: Range): OnnxValue {
  let name = '';
  let elementType = 0;
  const dims: (number | string)[] = [];
  fields(source, range, (f) => {
    if (f.number === 1) name = string(source, f);
    if (f.number !== 2 || f.wire !== 2) return;
    const type = body(f, range);
    fields(source, type, (t) => {
      if (t.number !== 1) return;
      const tensorType = body(t, type);
      fields(source, tensorType, (p) => {
        if (p.number === 1) elementType = number(source, p);
        else if (p.number === 2) readShape(source, body(p, tensorType), dims);
      });
    });
  });
  return { name, elementType, dims };
}

function readShape(source: ByteSource, range: Range, dims: (number | string)[]): void {
  fields(source, range, (f) => {
    if (f.number !== 1) return;
    let dim: number | string = '';
    fields(source, body(f, range), (d) => {
      if (d.number === 1) dim = number(source, d);
      else if (d.number === 2) dim = string(source, d);
    });
    dims.push(dim);
  });
}
