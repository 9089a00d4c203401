/** The outputs of a call: views of the card's buffers, logits as float32, the best ids where they are asked for. */
import type { Reduce, RunResult, ShapeSet } from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';
import { elementCount, type Tensor } from '../../contracts/tensor.js';
import { checkLogits } from '../shared/halves.js';
import type { CardPort, CardProgram } from './description.js';
import { viewOf } from './feed.js';
import type { Addon, NativeProgram, NativeSlot } from './library.js';

/** Memory of the best ids of a slot, and what the binding is asked for. */
interface Best {
  readonly top: NonNullable<RunResult['top']>;
  readonly what: Uint32Array;
}

export class CardOutputs {
  readonly #addon: Addon;
  readonly #program: CardProgram;
  /** What a call hands back besides views, one of each kind a slot: calls of other slots may be under way. */
  readonly #wide: Float32Array<ArrayBuffer>[] = [];
  readonly #best: Best[] = [];

  constructor(addon: Addon, program: CardProgram) {
    this.#addon = addon;
    this.#program = program;
  }

  /** What a finished call left in the buffers of its slot. Views: the next call of the slot writes over them. */
  collect(
    native: NativeProgram,
    slot: number,
    buffers: NativeSlot | undefined,
    set: ShapeSet,
    wanted: readonly string[],
    reduce: Reduce,
  ): RunResult {
    const outputs: Record<string, Tensor> = {};
    for (const name of wanted) {
      const port = this.port(name);
      const dims = set.shapes[name] ?? port.dims;
      const data = viewOf(port.dtype, bufferOf(buffers, port), elementCount(dims));
      outputs[name] =
        name === 'logits' ? this.#logits(slot, data, dims) : ({ dtype: port.dtype, dims, data } as Tensor);
    }
    if (reduce.kind === 'none') return { outputs };
    return { outputs, top: this.#reduce(native, slot, set, reduce.kind === 'argmax' ? 1 : reduce.k) };
  }

  /** Logits are handed back as float32 whatever the program computes in. */
  #logits(slot: number, data: Tensor['data'], dims: readonly number[]): Tensor<'float32'> {
    checkLogits(dims, this.#program.path);
    if (!(data instanceof Uint16Array)) return { dtype: 'float32', dims, data: data as Float32Array };
    let wide = this.#wide[slot];
    if (wide?.length !== data.length) {
      wide = new Float32Array(data.length);
      this.#wide[slot] = wide;
    }
    this.#addon.toFloats(data, wide);
    return { dtype: 'float32', dims, data: wide };
  }

  #reduce(native: NativeProgram, slot: number, set: ShapeSet, k: number): NonNullable<RunResult['top']> {
    const port = this.port('logits');
    const dims = set.shapes.logits ?? port.dims;
    checkLogits(dims, this.#program.path);
    const width = dims.at(-1) ?? 0;
    const rows = width === 0 ? 0 : elementCount(dims) / width;
    if (!Number.isInteger(k) || k < 1 || k > width) {
      throw new VlmError('TENSOR_INVALID', {
        what: 'A top-k reduction does not fit the logits',
        expected: `k from 1 to ${width}`,
        received: `k = ${k}`,
        where: `${this.#program.path}: logits`,
      });
    }
    let best = this.#best[slot];
    if (best === undefined || best.what[2] !== rows || best.what[3] !== width || best.what[4] !== k) {
      best = {
        top: { k, ids: new Int32Array(rows * k), values: new Float32Array(rows * k) },
        what: Uint32Array.of(port.binding.index, port.dtype === 'float16' ? 1 : 0, rows, width, k),
      };
      this.#best[slot] = best;
    }
    native.best(slot, best.what, best.top.ids, best.top.values);
    return best.top;
  }

  /** Throws TENSOR_INVALID. */
  port(name: string): CardPort {
    const ports = this.#program.ports.filter((p) => p.binding.direction === 'out' && !p.retained);
    const port = ports.find((p) => p.name === name);
    if (port !== undefined) return port;
    throw new VlmError('TENSOR_INVALID', {
      what: 'An output was asked for that the program does not hand back',
      expected: `one of ${ports.map((p) => p.name).join(', ')} (retained state stays on the card)`,
      received: name,
      where: this.#program.path,
    });
  }
}

function bufferOf(slot: NativeSlot | undefined, port: CardPort): ArrayBuffer {
  const buffer = slot?.buffers[port.binding.index];
  if (buffer !== undefined && buffer !== null) return buffer;
  throw new VlmError('INTERNAL', { what: `No buffer for ${port.name}` });
}
