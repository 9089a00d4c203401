/**
 * The I/O descriptor of a compiled program (protobuf `aicapi.IoDesc`): read with bounds checked at every step, since it
 * comes from a file. Fields that are not used are skipped, whatever their type.
 */
import { VlmError } from '../../contracts/errors.js';

export interface IoBinding {
  readonly name: string;
  readonly index: number;
  readonly direction: 'in' | 'out';
  /** Data type number of the runtime (buffers.ts names them). */
  readonly type: number;
  readonly dims: readonly number[];
  /** Bytes of the largest shape. */
  readonly size: number;
  readonly partial: boolean;
  readonly quantScale: number;
  readonly quantOffset: number;
}

export interface IoSet {
  readonly name: string;
  readonly bindings: readonly IoBinding[];
}

export interface IoShape {
  readonly type: number;
  readonly dims: readonly number[];
}

export interface IoDescription {
  readonly programName: string;
  readonly sets: readonly IoSet[];
  readonly selected: string;
  /** Of the selected set, in the order of their index. */
  readonly bindings: readonly IoBinding[];
  /** `allowedShapes[i][j]` belongs to binding j. */
  readonly allowedShapes: readonly (readonly IoShape[])[];
}

/** More than any program has: a descriptor beyond these is broken or hostile. */
const MOST_BINDINGS = 65_536;
const MOST_RANK = 8;
const MOST_SHAPES = 65_536;

const utf8 = new TextDecoder('utf-8', { fatal: true });

class Reader {
  readonly #bytes: Uint8Array;
  #at: number;
  readonly #end: number;

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = at;
    this.#end = end;
  }

  get done(): boolean {
    return this.#at >= this.#end;
  }

  /** Exact below 2^53; the low 32 bits of larger (negative) values are kept in `low`. */
  varint(): { readonly low: number; readonly value: number } {
    let value = 0;
    let low = 0;
    for (let i = 0; i < 10; i++) {
      if (this.#at >= this.#end) throw broken('a number is cut short');
      const byte = this.#bytes[this.#at++] as number;
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (i < 5) low |= (byte & 0x7f) << (7 * i);
      if (byte < 0x80) return { low: low >>> 0, value };
    }
    throw broken('a number is longer than ten bytes');
  }

  tag(): { readonly field: number; readonly wire: number } {
    const { value } = this.varint();
    if (value > 0xffffffff || value < 8) throw broken(`tag ${value}`);
    return { field: Math.floor(value / 8), wire: value % 8 };
  }

  sub(): Reader {
    const { value } = this.varint();
    const start = this.#at;
    if (value > this.#end - start) throw broken(`a field of ${value} bytes where ${this.#end - start} are left`);
    this.#at = start + value;
    return new Reader(this.#bytes, start, start + value);
  }

  text(): string {
    const { value } = this.varint();
    if (value > this.#end - this.#at) throw broken(`a name of ${value} bytes where ${this.#end - this.#at} are left`);
    const part = this.#bytes.subarray(this.#at, this.#at + value);
    this.#at += value;
    try {
      return utf8.decode(part);
    } catch {
      throw broken('a name that is not UTF-8');
    }
  }

  float(): number {
    if (this.#end - this.#at < 4) throw broken('a float is cut short');
    const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset + this.#at, 4);
    this.#at += 4;
    return view.getFloat32(0, true);
  }

  skip(wire: number): void {
    if (wire === 0) this.varint();
    else if (wire === 1) this.#advance(8);
    else if (wire === 2) this.sub();
    else if (wire === 5) this.#advance(4);
    else throw broken(`wire type ${wire}`);
  }

  #advance(bytes: number): void {
    if (this.#end - this.#at < bytes) throw broken('a field is cut short');
    this.#at += bytes;
  }
}

/** Throws PROGRAM_INVALID for anything that is not a whole, consistent descriptor. */
export function decodeIoDesc(bytes: Uint8Array, where?: string): IoDescription {
  try {
    return readDescription(new Reader(bytes));
  } catch (error) {
    throw error instanceof VlmError && where !== undefined ? error.at(where) : error;
  }
}

function readDescription(reader: Reader): IoDescription {
  const sets: IoSet[] = [];
  const allowedShapes: IoShape[][] = [];
  let selected: IoSet | null = null;
  let programName = '';
  while (!reader.done) {
    const { field, wire } = reader.tag();
    if (field === 1) sets.push(readSet(message(reader, wire)));
    else if (field === 2) selected = readSet(message(reader, wire));
    else if (field === 3) programName = text(reader, wire);
    else if (field === 8) allowedShapes.push(readShapes(message(reader, wire)));
    else reader.skip(wire);
    if (sets.length > 64 || allowedShapes.length > MOST_SHAPES) throw broken('more sets than a program can have');
  }
  const chosen =
    selected !== null && selected.bindings.length > 0
      ? selected
      : (sets.find((s) => s.name === selected?.name) ?? sets.find((s) => s.name === 'default') ?? sets[0]);
  if (chosen === undefined || chosen.bindings.length === 0) throw broken('no bindings');
  const bindings = [...chosen.bindings].sort((a, b) => a.index - b.index);
  for (const [i, b] of bindings.entries()) {
    if (b.index !== i) throw broken(`binding index ${b.index} where ${i} was due`);
  }
  for (const [i, shapes] of allowedShapes.entries()) {
    if (shapes.length !== bindings.length) {
      throw broken(`allowed set ${i} has ${shapes.length} shapes for ${bindings.length} bindings`);
    }
  }
  return { programName, sets, selected: chosen.name, bindings, allowedShapes };
}

function readSet(reader: Reader): IoSet {
  const bindings: IoBinding[] = [];
  let name = '';
  while (!reader.done) {
    const { field, wire } = reader.tag();
    if (field === 1) name = text(reader, wire);
    else if (field === 2) bindings.push(readBinding(message(reader, wire)));
    else reader.skip(wire);
    if (bindings.length > MOST_BINDINGS) throw broken('more bindings than a program can have');
  }
  return { name, bindings };
}

function readBinding(reader: Reader): IoBinding {
  const dims: number[] = [];
  const made = { name: '', index: 0, type: 0, dir: 0, size: 0, scale: 0, offset: 0, partial: false };
  while (!reader.done) {
    const { field, wire } = reader.tag();
    if (field === 1) made.name = text(reader, wire);
    else if (field === 2) made.index = whole(reader, wire);
    else if (field === 3) made.type = whole(reader, wire);
    else if (field === 4) made.dir = whole(reader, wire);
    else if (field === 5) made.scale = wire === 5 ? reader.float() : wrong(wire);
    else if (field === 6) made.offset = whole(reader, wire) | 0;
    else if (field === 7) readDims(reader, wire, dims);
    else if (field === 8) made.size = whole(reader, wire);
    else if (field === 10) made.partial = whole(reader, wire) !== 0;
    else reader.skip(wire);
  }
  if (made.name === '') throw broken('a binding without a name');
  if (made.dir > 1) throw broken(`direction ${made.dir} of ${made.name}`);
  return {
    name: made.name,
    index: made.index,
    direction: made.dir === 0 ? 'in' : 'out',
    type: made.type,
    dims,
    size: made.size,
    partial: made.partial,
    quantScale: made.scale,
    quantOffset: made.offset,
  };
}

function readShapes(reader: Reader): IoShape[] {
  const shapes: IoShape[] = [];
  while (!reader.done) {
    const { field, wire } = reader.tag();
    if (field === 1) shapes.push(readShape(message(reader, wire)));
    else reader.skip(wire);
    if (shapes.length > MOST_BINDINGS) throw broken('more shapes than a program can have');
  }
  return shapes;
}

function readShape(reader: Reader): IoShape {
  const dims: number[] = [];
  let type = 0;
  while (!reader.done) {
    const { field, wire } = reader.tag();
    if (field === 1) type = whole(reader, wire);
    else if (field === 2) readDims(reader, wire, dims);
    else reader.skip(wire);
  }
  return { type, dims };
}

/** Packed or one by one: both are valid protobuf. */
function readDims(reader: Reader, wire: number, into: number[]): void {
  const packed = wire === 2 ? reader.sub() : null;
  const one = (from: Reader): void => {
    const { value } = from.varint();
    if (value > 0x7fffffff) throw broken('a dim that is negative or too large');
    into.push(value);
    if (into.length > MOST_RANK) throw broken(`more than ${MOST_RANK} dims`);
  };
  if (packed === null) {
    if (wire !== 0) wrong(wire);
    one(reader);
  } else while (!packed.done) one(packed);
}

function message(reader: Reader, wire: number): Reader {
  return wire === 2 ? reader.sub() : wrong(wire);
}

function text(reader: Reader, wire: number): string {
  return wire === 2 ? reader.text() : wrong(wire);
}

function whole(reader: Reader, wire: number): number {
  return wire === 0 ? reader.varint().low : wrong(wire);
}

function wrong(wire: number): never {
  throw broken(`a field with wire type ${wire}`);
}

function broken(received: string): VlmError {
  return new VlmError('PROGRAM_INVALID', {
    what: 'The I/O descriptor of a compiled program cannot be read',
    expected: 'a protobuf aicapi.IoDesc',
    received,
    hint: 'compile the program again; if it comes from another tool, check that the file is whole',
  });
}

// --- writing, for emulated programs and tests

function varint(out: number[], value: number): void {
  let rest = value < 0 ? value + 2 ** 32 : value;
  while (rest >= 0x80) {
    out.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  out.push(rest);
}

function field(out: number[], id: number, bytes: ArrayLike<number>): void {
  varint(out, id * 8 + 2);
  varint(out, bytes.length);
  for (let i = 0; i < bytes.length; i++) out.push(bytes[i] as number);
}

function number(out: number[], id: number, value: number): void {
  if (value === 0) return;
  varint(out, id * 8);
  varint(out, value);
}

function dimsOf(dims: readonly number[]): number[] {
  const out: number[] = [];
  for (const d of dims) varint(out, d);
  return out;
}

function bindingBytes(b: IoBinding): number[] {
  const out: number[] = [];
  field(out, 1, new TextEncoder().encode(b.name));
  number(out, 2, b.index);
  number(out, 3, b.type);
  number(out, 4, b.direction === 'in' ? 0 : 1);
  if (b.quantScale !== 0) {
    varint(out, 5 * 8 + 5);
    out.push(...new Uint8Array(new Float32Array([b.quantScale]).buffer));
  }
  number(out, 6, b.quantOffset);
  if (b.dims.length > 0) field(out, 7, dimsOf(b.dims));
  number(out, 8, b.size);
  number(out, 10, b.partial ? 1 : 0);
  number(out, 20, 1);
  return out;
}

function setBytes(name: string, bindings: readonly IoBinding[]): number[] {
  const out: number[] = [];
  field(out, 1, new TextEncoder().encode(name));
  for (const b of bindings) field(out, 2, bindingBytes(b));
  return out;
}

export function encodeIoDesc(description: IoDescription): Uint8Array {
  const out: number[] = [];
  for (const set of description.sets) field(out, 1, setBytes(set.name, set.bindings));
  field(out, 2, setBytes(description.selected, description.bindings));
  field(out, 3, new TextEncoder().encode(description.programName));
  for (const shapes of description.allowedShapes) {
    const set: number[] = [];
    for (const shape of shapes) {
      const one: number[] = [];
      number(one, 1, shape.type);
      if (shape.dims.length > 0) field(one, 2, dimsOf(shape.dims));
      field(set, 1, one);
    }
    field(out, 8, set);
  }
  return Uint8Array.from(out);
}
