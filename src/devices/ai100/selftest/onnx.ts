/** A few lines of ONNX: enough to write the kit's own graphs, which are too small to be worth a file. */

export type Axis = number | string;
export interface Value {
  readonly name: string;
  readonly type: 'float' | 'int64';
  readonly dims: readonly Axis[];
}
export interface Node {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly output: string;
  /** Whole numbers; a list is written as one. */
  readonly attributes?: Readonly<Record<string, number | readonly number[]>>;
}
export interface Constant {
  readonly name: string;
  readonly type: 'float' | 'int64';
  readonly dims: readonly number[];
  readonly values: readonly number[];
}
export interface Graph {
  readonly name: string;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly nodes: readonly Node[];
  readonly constants: readonly Constant[];
}

const ELEMENT = { float: 1, int64: 7 } as const;
const INT = 2;
const INTS = 7;

function varint(value: number): number[] {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest >= 0x80n; rest >>= 7n) out.push(Number(rest & 0x7fn) | 0x80);
  out.push(Number(rest));
  return out;
}
const number = (id: number, value: number): Buffer => Buffer.from([...varint(id * 8), ...varint(value)]);
const bytes = (id: number, ...parts: readonly Uint8Array[]): Buffer => {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([...varint(id * 8 + 2), ...varint(body.length)]), body]);
};
const text = (id: number, value: string): Buffer => bytes(id, Buffer.from(value));

function valueInfo({ name, type, dims }: Value): Buffer {
  const shape = dims.map((d) => bytes(1, typeof d === 'number' ? number(1, d) : text(2, d)));
  const tensor = bytes(1, number(1, ELEMENT[type]), bytes(2, ...shape));
  return Buffer.concat([text(1, name), bytes(2, tensor)]);
}

function nodeBytes({ op, inputs, output, attributes = {} }: Node): Buffer {
  const written = Object.entries(attributes).map(([name, value]) =>
    typeof value === 'number'
      ? bytes(5, text(1, name), number(3, value), number(20, INT))
      : bytes(5, text(1, name), ...value.map((v) => number(8, v)), number(20, INTS)),
  );
  return Buffer.concat([...inputs.map((i) => text(1, i)), text(2, output), text(3, output), text(4, op), ...written]);
}

function constantBytes({ name, type, dims, values }: Constant): Buffer {
  const raw = type === 'float' ? Float32Array.from(values) : BigInt64Array.from(values, (v) => BigInt(v));
  const data = Buffer.from(raw.buffer);
  return Buffer.concat([...dims.map((d) => number(1, d)), number(2, ELEMENT[type]), text(8, name), bytes(9, data)]);
}

/** A ModelProto of IR version 8 and opset 17, as QEfficient's exports are. */
export function onnxBytes(graph: Graph): Buffer {
  return Buffer.concat([
    number(1, 8),
    text(2, 'vlm-run selftest'),
    bytes(
      7,
      ...graph.nodes.map((n) => bytes(1, nodeBytes(n))),
      text(2, graph.name),
      ...graph.constants.map((c) => bytes(5, constantBytes(c))),
      ...graph.inputs.map((v) => bytes(11, valueInfo(v))),
      ...graph.outputs.map((v) => bytes(12, valueInfo(v))),
    ),
    bytes(8, number(2, 17)),
  ]);
}
