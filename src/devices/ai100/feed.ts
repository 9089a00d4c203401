/** The inputs of one call: checked, matched with a compiled shape, and written into the buffers that the card reads. */
import type { ShapeSet } from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';
import { BYTES_PER_ELEMENT, type DType, elementCount, type Tensor, tensorLabel } from '../../contracts/tensor.js';
import type { CardPort, CardProgram } from './description.js';
import type { Addon, NativeSlot } from './library.js';

/** Words of one binding in a control block (native/ai100/program.h): bytes, count of dims, element size, dims. */
export const CONTROL_WORDS = 11;

export type Inputs = Readonly<Record<string, Tensor>>;

export function checkInputs(program: CardProgram, inputs: Inputs): void {
  for (const [name, given] of Object.entries(inputs)) {
    const port = program.ports.find((p) => p.name === name && p.binding.direction === 'in');
    if (port === undefined || port.retained) {
      const known = program.ports.filter((p) => p.binding.direction === 'in' && !p.retained).map((p) => p.name);
      throw refuse(program, name, `one of ${known.join(', ')}; retained state stays on the card`, `an input ${name}`);
    }
    if (!converts(given.dtype, port.dtype) || given.dims.length !== port.dims.length) {
      throw refuse(program, name, `${port.dtype} of rank ${port.dims.length}`, tensorLabel(given));
    }
    if (given.data.length !== elementCount(given.dims)) {
      throw refuse(
        program,
        name,
        `${elementCount(given.dims)} elements for ${tensorLabel(given)}`,
        `${given.data.length}`,
      );
    }
  }
  for (const port of program.ports) {
    if (port.binding.direction !== 'in' || port.retained || inputs[port.name] !== undefined) continue;
    if (port.binding.partial || port.name === 'vision_embeds' || port.name === 'image_idx') continue;
    throw refuse(program, port.name, `${port.dtype} [${port.dims.join(', ')}]`, 'nothing');
  }
}

/** The compiled shape of a call on a cache of `rows` rows. Throws SHAPE_NOT_ALLOWED with all sets and the nearest. */
export function matchSet(program: CardProgram, inputs: Inputs, rows: number | null): ShapeSet {
  let nearest: ShapeSet | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const set of program.sets) {
    const off = distance(set, inputs) + (rows === null || rowsOf(set) === rows ? 0 : 1e9);
    if (off === 0) return set;
    if (off < least) {
      least = off;
      nearest = set;
    }
  }
  const shown = (s: ShapeSet): string =>
    `${s.name}: ${Object.keys(inputs)
      .map((n) => `${n} [${(s.shapes[n] ?? []).join(', ')}]`)
      .join(', ')}`;
  const odd = Object.keys(inputs).find((n) => nearest?.shapes[n]?.join() !== inputs[n]?.dims.join());
  throw new VlmError('SHAPE_NOT_ALLOWED', {
    what: 'A call has a shape that was not compiled',
    expected: program.sets.map(shown).join('; '),
    received: Object.entries(inputs)
      .map(([n, t]) => `${n} [${t.dims.join(', ')}]`)
      .join(', '),
    where: `${program.path}: ${odd ?? 'batch_size'}`,
    hint:
      nearest === undefined ? 'compile the program' : `nearest is ${shown(nearest)}; pad to it, or compile this shape`,
  });
}

/**
 * Another set that a card could take for this one: they differ only in what stays on the card, which no call passes.
 */
export function twinOf(program: CardProgram, set: ShapeSet): ShapeSet | undefined {
  const seen = program.ports.filter((p) => !p.retained);
  const same = (a: ShapeSet, name: string): boolean => a.shapes[name]?.join() === set.shapes[name]?.join();
  return program.sets.find(
    (other) => seen.every((p) => same(other, p.name)) && program.ports.some((p) => p.retained && !same(other, p.name)),
  );
}

function distance(set: ShapeSet, inputs: Inputs): number {
  let off = 0;
  for (const name in inputs) {
    const dims = (inputs[name] as Tensor).dims;
    const allowed = set.shapes[name];
    if (allowed === undefined) return Number.MAX_SAFE_INTEGER;
    for (let i = 0; i < dims.length; i++) off += Math.abs((dims[i] as number) - (allowed[i] ?? 0));
  }
  return off;
}

/** Asked in every step, of sets that never change. */
const cacheRows = new WeakMap<ShapeSet, number>();

/** Rows of the cache: more than those of a call where a program was compiled for continuous batching. */
export function rowsOf(set: ShapeSet): number {
  let rows = cacheRows.get(set);
  if (rows === undefined) {
    const cache = Object.entries(set.shapes).find(([name]) => name.startsWith('past_key'));
    rows = cache?.[1][0] ?? set.symbols.batch_size ?? 1;
    cacheRows.set(set, rows);
  }
  return rows;
}

/** The memory of one slot, and views of it that are made once: a step makes no typed array anew. */
export class SlotFeed {
  readonly #addon: Addon;
  readonly #words: Uint32Array;
  /** What calls pass; what stays on the card is marked as skipped once. */
  readonly #passed: readonly { readonly port: CardPort; readonly view: Tensor['data'] }[];

  constructor(addon: Addon, program: CardProgram, slot: NativeSlot) {
    this.#addon = addon;
    this.#words = new Uint32Array(slot.control);
    this.#passed = program.ports.flatMap((port) => {
      const { dtype } = port;
      const buffer = slot.buffers[port.binding.index] ?? null;
      control(this.#words, port, null);
      if (buffer === null) return [];
      return { port, view: viewOf(dtype, buffer, Math.floor(buffer.byteLength / BYTES_PER_ELEMENT[dtype])) };
    });
  }

  /** Everything that the card reads of a call: sizes and dims of what is passed, and the inputs. */
  fill(inputs: Inputs, set: ShapeSet): void {
    for (const { port, view } of this.#passed) {
      const given = inputs[port.name];
      const passed = port.binding.direction === 'out' || given !== undefined;
      control(this.#words, port, passed ? (set.shapes[port.name] ?? port.dims) : null);
      if (given !== undefined) writeInput(this.#addon, given, view);
    }
  }
}

/** Copies a tensor into the memory of a binding, converting where the program wants another dtype. */
function writeInput(addon: Addon, { data }: Tensor, into: Tensor['data']): void {
  if (into instanceof BigInt64Array) {
    if (data instanceof BigInt64Array) into.set(data);
    else for (let i = 0; i < data.length; i++) into[i] = BigInt(data[i] as number);
  } else if (data instanceof BigInt64Array) {
    // int64 -> int32: every value of these inputs (ids, positions, lengths) fits.
    for (let i = 0; i < data.length; i++) into[i] = Number(data[i]);
  } else if (data instanceof Float32Array && into instanceof Uint16Array) addon.toHalves(data, into);
  else if (data instanceof Uint16Array && into instanceof Float32Array) addon.toFloats(data, into);
  else into.set(data);
}

/** A typed array over the memory of a binding. */
export function viewOf(dtype: DType, buffer: ArrayBuffer, count: number): Tensor['data'] {
  if (count * BYTES_PER_ELEMENT[dtype] > buffer.byteLength) {
    throw new VlmError('DEVICE_FAILED', {
      what: 'A card gave an output larger than its buffer',
      expected: `at most ${buffer.byteLength} bytes`,
      received: `${count * BYTES_PER_ELEMENT[dtype]} bytes`,
    });
  }
  if (dtype === 'float32') return new Float32Array(buffer, 0, count);
  if (dtype === 'float16') return new Uint16Array(buffer, 0, count);
  if (dtype === 'int64') return new BigInt64Array(buffer, 0, count);
  if (dtype === 'int32') return new Int32Array(buffer, 0, count);
  return dtype === 'int8' ? new Int8Array(buffer, 0, count) : new Uint8Array(buffer, 0, count);
}

/** What is passed of a binding: `dims` null skips it. */
export function control(words: Uint32Array, port: CardPort, dims: readonly number[] | null): void {
  const at = port.binding.index * CONTROL_WORDS;
  words[at] = dims === null ? 0 : elementCount(dims) * port.elementBytes;
  words[at + 1] = dims === null ? 1 : dims.length;
  words[at + 2] = port.elementBytes;
  if (dims === null) words[at + 3] = 0;
  else for (let i = 0; i < dims.length; i++) words[at + 3 + i] = dims[i] as number;
}

function converts(from: DType, to: DType): boolean {
  const float = (d: DType): boolean => d === 'float32' || d === 'float16';
  const int = (d: DType): boolean => d === 'int32' || d === 'int64';
  return from === to || (float(from) && float(to)) || (int(from) && int(to));
}

function refuse(program: CardProgram, name: string, expected: string, received: string): VlmError {
  return new VlmError('TENSOR_INVALID', {
    what: 'An input does not fit the program',
    expected,
    received,
    where: `${program.path}: ${name}`,
  });
}
