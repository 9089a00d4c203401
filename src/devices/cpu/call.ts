/**
 * The inputs of one program call: checked against the ports, converted where the program wants another dtype, and kept
 * as ONNX Runtime tensors from call to call. A caller that passes the same tensor again (its data changed in place)
 * costs one comparison; that is what a decode step does.
 */
import type { Tensor as OrtTensor } from 'onnxruntime-node';
import { VlmError } from '../../contracts/errors.js';
import { type DType, elementCount, type Tensor, tensorLabel } from '../../contracts/tensor.js';
import { floatsToHalves, halvesToFloats } from '../../util/float16.js';
import { allocate, type DTypeArray, ortTensor } from './ort.js';
import type { BoundPort } from './ports.js';

interface Slot {
  readonly port: BoundPort;
  source: Tensor | null;
  tensor: OrtTensor | null;
  /** Own memory for a converted or supplied value. */
  data: DTypeArray | null;
}

export class Call {
  /** Every input of the program by its graph name: what ONNX Runtime is called with. */
  readonly feeds: Record<string, OrtTensor> = {};
  readonly #slots: readonly Slot[];
  readonly #names: ReadonlySet<string>;
  readonly #fixed: ReadonlyMap<string, number>;
  readonly #symbols = new Map<string, number>();
  readonly #where: string;
  readonly #ctxLen: number;
  readonly #positions: Slot | undefined;
  #state: Record<string, OrtTensor> | null = null;
  /** False after inputs that were refused: the slots may then hold parts of two calls. */
  #whole = false;

  /** `fixed`: symbolic axes that the state decides (batch, context). `ctxLen` 0: no state. */
  constructor(ports: readonly BoundPort[], fixed: ReadonlyMap<string, number>, ctxLen: number, where: string) {
    this.#slots = ports.map((port) => ({ port, source: null, tensor: null, data: null }));
    this.#names = new Set(ports.map((p) => p.name));
    this.#fixed = fixed;
    this.#ctxLen = ctxLen;
    this.#where = where;
    this.#positions = this.#slots.find((s) => s.port.name === 'position_ids');
  }

  /** The state's own feeds; they change only when a cache has changed places. */
  setState(feeds: Record<string, OrtTensor>): void {
    if (this.#state === feeds) return;
    this.#state = feeds;
    Object.assign(this.feeds, feeds);
  }

  /** Takes the inputs of a call. Throws TENSOR_INVALID before anything was changed on the device. */
  bind(inputs: Readonly<Record<string, Tensor>>): void {
    let changed = false;
    let left = 0;
    for (const _ in inputs) left++;
    for (const slot of this.#slots) {
      const given = inputs[slot.port.name];
      if (given !== undefined) left--;
      if (slot.tensor === null || slot.source !== (given ?? null)) changed = true;
      else if (given !== undefined && given.dtype !== slot.port.dtype) convert(given, slot.port.dtype, slot.data);
    }
    if (changed || left !== 0 || !this.#whole) this.#rebind(inputs);
    const positions = this.#positions?.source;
    if (positions !== undefined && positions !== null && this.#ctxLen > 0) this.#checkPositions(positions);
  }

  #rebind(inputs: Readonly<Record<string, Tensor>>): void {
    this.#whole = false;
    for (const name of Object.keys(inputs)) {
      if (!this.#names.has(name)) throw this.#unknown(name);
    }
    this.#symbols.clear();
    for (const [name, value] of this.#fixed) this.#symbols.set(name, value);
    for (const { port } of this.#slots) {
      const given = inputs[port.name];
      if (given !== undefined) this.#check(port, given);
    }
    for (const slot of this.#slots) {
      const given = inputs[slot.port.name];
      if (given === undefined) this.#supply(slot);
      else if (slot.source !== given || slot.tensor === null) this.#take(slot, given);
      this.feeds[slot.port.graphName] = slot.tensor as OrtTensor;
    }
    this.#whole = true;
  }

  #check(port: BoundPort, given: Tensor): void {
    const expected = `${port.dtype} [${port.dims.join(', ')}]`;
    const fits =
      given.dtype === port.dtype || (isFloat(given.dtype) && isFloat(port.dtype)) || widens(given.dtype, port.dtype);
    if (!fits || given.dims.length !== port.dims.length) throw this.#refuse(port, expected, tensorLabel(given));
    if (given.data.length !== elementCount(given.dims)) {
      throw this.#refuse(
        port,
        `${elementCount(given.dims)} elements`,
        `${given.data.length} elements for ${tensorLabel(given)}`,
      );
    }
    for (const [axis, d] of port.dims.entries()) {
      const size = given.dims[axis] as number;
      const known = typeof d === 'number' ? d : this.#symbols.get(d);
      if (known === undefined) this.#symbols.set(d as string, size);
      else if (known !== size) {
        const why = typeof d === 'string' ? ` (${d} is ${known} in this call)` : '';
        throw this.#refuse(port, `${expected}${why}`, tensorLabel(given));
      }
    }
  }

  #take(slot: Slot, given: Tensor): void {
    const { dtype } = slot.port;
    slot.source = given;
    if (given.dtype === dtype) {
      slot.tensor = ortTensor(dtype, given.data, given.dims);
      slot.data = null;
    } else {
      slot.data = allocate(dtype, given.data.length);
      convert(given, dtype, slot.data);
      slot.tensor = ortTensor(dtype, slot.data, given.dims);
    }
  }

  /** Values of inputs that a caller may leave out; they are made once and made again only when their size changes. */
  #supply(slot: Slot): void {
    const { port } = slot;
    const dims = this.#defaultDims(port);
    if (dims === null) {
      throw this.#refuse(port, `${port.dtype} [${port.dims.join(', ')}]`, 'nothing');
    }
    const same = slot.source === null && slot.tensor?.dims.every((d, i) => d === dims[i]);
    if (same === true) return;
    slot.source = null;
    slot.data = allocate(port.dtype, elementCount(dims));
    if (port.name === 'batch_index') {
      for (let i = 0; i < slot.data.length; i++) setInteger(slot.data, i, i);
    }
    slot.tensor = ortTensor(port.dtype, slot.data, dims);
  }

  #defaultDims(port: BoundPort): number[] | null {
    const axis = (name: string | number, otherwise: number): number =>
      typeof name === 'number' ? name : (this.#symbols.get(name) ?? otherwise);
    switch (port.name) {
      // Retained vision rows are not read while no image token comes: one zero row stands for them.
      case 'vision_embeds':
      case 'image_idx':
        return port.dims.map((d) =>
          typeof d === 'number' ? d : port.name === 'image_idx' ? 1 : this.#loneRow(port, d),
        );
      case 'batch_index':
        return port.dims.map((d) => axis(d, 1));
      case 'comp_ctx_lengths':
        return port.dims.map((d) => axis(d, this.#ctxLen));
      case 'mm_token_type_ids':
        return port.dims.map((d) => axis(d, 1));
      default:
        return null;
    }
  }

  /**
   * The batch axis of vision_embeds follows the batch, whatever an export calls it: graphs look rows up by the row of the
   * batch even where no image token comes. The axis of rows and all others are 1.
   */
  #loneRow(port: BoundPort, axis: string): number {
    if (axis !== port.dims[0] || port.dims.length !== 3) return 1;
    const batch = this.#slots.find((s) => s.port.name === 'input_ids')?.port.dims[0] ?? 1;
    return this.#symbols.get(axis) ?? (typeof batch === 'number' ? batch : (this.#symbols.get(batch) ?? 1));
  }

  #checkPositions(positions: Tensor): void {
    const { data } = positions;
    const low = data instanceof BigInt64Array ? new Int32Array(data.buffer, data.byteOffset, data.length * 2) : data;
    const step = data instanceof BigInt64Array ? 2 : 1;
    for (let i = 0; i < low.length; i += step) {
      const p = low[i] as number;
      const high = step === 2 ? (low[i + 1] as number) : p < 0 ? -1 : 0;
      if (p >= 0 && high === 0 && p < this.#ctxLen) continue;
      if (high < 0) {
        throw new VlmError('TENSOR_INVALID', {
          what: 'A padded position (-1) was passed to ONNX Runtime',
          expected: `positions from 0 to ${this.#ctxLen - 1}: calls on cpu hold exactly the tokens there are`,
          received: `${String(data[i / step])} at element ${i / step}`,
          where: `${this.#where}: position_ids`,
          hint: 'prefill row by row with an exact last chunk; a padded row would overwrite slot 0 of its cache',
        });
      }
      throw this.#refuse(
        { name: 'position_ids' },
        `positions below the context length ${this.#ctxLen}`,
        String(data[i / step]),
      );
    }
  }

  #unknown(name: string): VlmError {
    const state = name.startsWith('past_')
      ? 'retained state is supplied by the session'
      : `one of ${[...this.#names].join(', ')}`;
    return this.#refuse({ name }, state, `an input named ${name}`);
  }

  #refuse(port: { readonly name: string }, expected: string, received: string): VlmError {
    return new VlmError('TENSOR_INVALID', {
      what: 'An input does not fit the program',
      expected,
      received,
      where: `${this.#where}: ${port.name}`,
    });
  }
}

function isFloat(dtype: DType): boolean {
  return dtype === 'float32' || dtype === 'float16';
}

function widens(from: DType, to: DType): boolean {
  return from === 'int32' && to === 'int64';
}

function setInteger(data: DTypeArray, i: number, value: number): void {
  if (data instanceof BigInt64Array) data[i] = BigInt(value);
  else data[i] = value;
}

function convert(from: Tensor, to: DType, into: DTypeArray | null): void {
  const { data } = from;
  if (into instanceof Uint16Array && data instanceof Float32Array) floatsToHalves(data, into);
  else if (into instanceof Float32Array && data instanceof Uint16Array) halvesToFloats(data, into);
  else if (into instanceof BigInt64Array && data instanceof Int32Array) {
    for (let i = 0; i < data.length; i++) into[i] = BigInt(data[i] as number);
  } else {
    throw new VlmError('INTERNAL', { what: `No conversion from ${from.dtype} to ${to}` });
  }
}
