/**
 * The protobuf wire format, read by position: messages are ranges of a file, and payloads (weights) are skipped over
 * without being read. A file is looked at through one window, so a model of any size costs the window's memory.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { VlmError } from '../../contracts/errors.js';

const WINDOW = 1 << 16;

/** Random access to the bytes of a model: a file, or bytes in memory. */
export class ByteSource {
  readonly size: number;
  readonly name: string;
  #fd: number | null;
  /** Of a file: one buffer for all its places, of which `#window` is what is filled. */
  #buffer: Buffer;
  #window: Buffer;
  #start = 0;

  private constructor(name: string, size: number, fd: number | null, bytes: Buffer) {
    this.name = name;
    this.size = size;
    this.#fd = fd;
    this.#buffer = bytes;
    this.#window = bytes;
  }

  static fromBytes(bytes: Uint8Array, name: string): ByteSource {
    return new ByteSource(name, bytes.length, null, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
  }

  /** Opens a file; call close() when done. Throws MODEL_MISSING / PROGRAM_INVALID. */
  static open(path: string): ByteSource {
    let fd: number;
    try {
      fd = openSync(path, 'r');
    } catch (cause) {
      throw new VlmError('MODEL_MISSING', {
        what: 'A program file cannot be opened',
        expected: 'a readable ONNX file',
        where: path,
        hint: 'check the path, or export the model to ONNX first',
        cause,
      });
    }
    const stat = fstatSync(fd);
    if (!stat.isFile()) {
      closeSync(fd);
      throw new VlmError('PROGRAM_INVALID', {
        what: 'A program path is not a file',
        expected: 'an ONNX file',
        received: stat.isDirectory() ? 'a folder' : 'something else',
        where: path,
      });
    }
    return new ByteSource(path, stat.size, fd, Buffer.alloc(0));
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }

  byte(at: number): number {
    const i = at - this.#start;
    if (i >= 0 && i < this.#window.length) return this.#window[i] ?? 0;
    this.#load(at, 1);
    return this.#window[at - this.#start] ?? 0;
  }

  /** A view of `length` bytes; valid until the next call. */
  bytes(at: number, length: number): Uint8Array {
    const i = this.#find(at, length);
    // No Buffer: its slice() is a view too, and who keeps bytes would keep what stands there next.
    return new Uint8Array(this.#window.buffer, this.#window.byteOffset + i, length);
  }

  /** `length` bytes as UTF-8. */
  text(at: number, length: number): string {
    const i = this.#find(at, length);
    return this.#window.toString('utf8', i, i + length);
  }

  /** Where in the window these bytes stand, once they do. */
  #find(at: number, length: number): number {
    const i = at - this.#start;
    if (i >= 0 && i + length <= this.#window.length) return i;
    this.#load(at, length);
    return at - this.#start;
  }

  #load(at: number, length: number): void {
    if (at < 0 || length < 0 || at + length > this.size || this.#fd === null) throw this.broken(at);
    const want = Math.min(Math.max(length, WINDOW), this.size - at);
    this.#window = this.#buffer.subarray(0, 0);
    if (this.#buffer.length < want) this.#buffer = Buffer.allocUnsafeSlow(want);
    let got = 0;
    while (got < want) {
      const n = readSync(this.#fd, this.#buffer, got, want - got, at + got);
      if (n === 0) throw this.broken(at + got);
      got += n;
    }
    this.#window = this.#buffer.subarray(0, want);
    this.#start = at;
  }

  broken(at: number): VlmError {
    return new VlmError('PROGRAM_INVALID', {
      what: 'A program file is not a whole ONNX model',
      expected: 'a protobuf message',
      received: `bytes that end or break at offset ${at} of ${this.size}`,
      where: this.name,
      hint: 'the file may be cut short, or be a Git LFS pointer: fetch or export it again',
    });
  }
}

/** A message: the bytes [start, end) of its body, and where the varint of its length stands (-1: the whole file). */
export interface Range {
  readonly start: number;
  readonly end: number;
  readonly lengthAt: number;
  readonly parent: Range | null;
}

/** One field of a message. `at`..`end` covers tag and payload; `value` is the varint, or 0. */
export interface Field {
  number: number;
  wire: number;
  at: number;
  /** Payload of wire type 2, else the bytes of the scalar. */
  start: number;
  end: number;
  lengthAt: number;
}

/** Reads a varint as a safe number (signed 64-bit values come back exact only within ±2^53). */
export function varint(source: ByteSource, at: number, out: { next: number }): number {
  const first = source.byte(at);
  // Most are one byte long, and this runs before it is compiled.
  if (first < 0x80) {
    out.next = at + 1;
    return first;
  }
  let low = first & 0x7f;
  let high = 0;
  let shift = 7;
  for (let i = at + 1; ; i++) {
    const b = source.byte(i);
    if (shift < 28) low |= (b & 0x7f) << shift;
    else if (shift === 28) {
      low |= (b & 0x0f) << 28;
      high |= (b & 0x7f) >> 4;
    } else if (shift <= 63) high |= (b & 0x7f) << (shift - 32);
    else throw source.broken(i);
    if ((b & 0x80) === 0) {
      out.next = i + 1;
      return (high | 0) * 4294967296 + (low >>> 0);
    }
    shift += 7;
  }
}

/** Calls `visit` for every field of a message. The same Field object is reused. */
export function fields(source: ByteSource, range: Range, visit: (field: Field) => void): void {
  const cursor = { next: range.start };
  const field: Field = { number: 0, wire: 0, at: 0, start: 0, end: 0, lengthAt: -1 };
  for (let at = range.start; at < range.end; ) {
    const tag = varint(source, at, cursor);
    field.number = Math.floor(tag / 8);
    field.wire = tag & 7;
    field.at = at;
    field.start = cursor.next;
    field.lengthAt = -1;
    if (field.wire === 0) {
      varint(source, cursor.next, cursor);
      field.end = cursor.next;
    } else if (field.wire === 1) field.end = field.start + 8;
    else if (field.wire === 5) field.end = field.start + 4;
    else if (field.wire === 2) {
      field.lengthAt = cursor.next;
      const length = varint(source, cursor.next, cursor);
      field.start = cursor.next;
      field.end = field.start + length;
    } else throw source.broken(at);
    if (field.number === 0 || field.end < field.start || field.end > range.end) throw source.broken(at);
    at = field.end;
    visit(field);
  }
}

/** The body of a message field. */
export function body(field: Field, parent: Range): Range {
  return { start: field.start, end: field.end, lengthAt: field.lengthAt, parent };
}

export function number(source: ByteSource, field: Field): number {
  return varint(source, field.start, { next: 0 });
}

export function string(source: ByteSource, field: Field): string {
  return source.text(field.start, field.end - field.start);
}

/** Varints of a repeated field, packed or not, appended to `into`. */
export function numbers(source: ByteSource, field: Field, into: number[]): void {
  if (field.wire !== 2) {
    into.push(number(source, field));
    return;
  }
  const cursor = { next: field.start };
  while (cursor.next < field.end) into.push(varint(source, cursor.next, cursor));
}

export function encodeVarint(value: number): Uint8Array {
  const out: number[] = [];
  let rest = value;
  while (rest >= 128) {
    out.push((rest % 128) | 0x80);
    rest = Math.floor(rest / 128);
  }
  out.push(rest);
  return Uint8Array.from(out);
}
