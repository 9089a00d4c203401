/** One exec object and its buffers: laid out by hand, so that wrong sizes can be passed on purpose. */
import { elementCount } from '../../../contracts/tensor.js';
import { contractName, elementBytes } from '../description.js';
import type { IoBinding, IoDescription } from '../io-desc.js';
import type { Opened } from './kit.js';
import { CANARY, type Runtime, SUCCESS, statusText } from './runtime.js';
import { Deviation } from './types.js';

const PAGE = 4096;
const GUARD = 64;
const QBUFFER = 32;
const QDIMENSIONS = 16;

export type Shapes = Readonly<Record<string, readonly number[]>>;

export interface Passed {
  readonly shapes: Shapes;
  /** Passed with size 0 and dims [0]. */
  readonly skipped?: ReadonlySet<string>;
  /** Bytes to claim in place of the shape's. */
  readonly sizes?: Readonly<Record<string, number>>;
}

interface Port {
  readonly name: string;
  readonly binding: IoBinding;
  readonly bytes: number;
  readonly memory: Buffer;
  readonly dims: Buffer;
}

export class Call {
  readonly exec: bigint;
  readonly ports: readonly Port[];
  readonly #runtime: Runtime;
  readonly #opened: Opened;
  readonly #buffers: Buffer;
  readonly #dimensions: Buffer;

  constructor(runtime: Runtime, opened: Opened, exec: bigint, description: IoDescription) {
    this.#runtime = runtime;
    this.#opened = opened;
    this.exec = exec;
    this.ports = description.bindings.map((binding) => {
      const name = contractName(binding.name);
      const width = elementBytes(binding.type);
      const bytes = Math.max(...opened.facts.sets.map((s) => elementCount(s[name] ?? binding.dims) * width));
      return { name, binding, bytes, memory: aligned(runtime, bytes), dims: Buffer.alloc(32) };
    });
    this.#buffers = Buffer.alloc(QBUFFER * this.ports.length);
    this.#dimensions = Buffer.alloc(QDIMENSIONS * this.ports.length);
  }

  /** The memory of a port, at its largest. */
  memory(name: string): Buffer {
    const port = this.ports.find((p) => p.name === name);
    if (port === undefined) throw new Deviation(`a binding ${name}`, this.ports.map((p) => p.name).join(', '));
    return port.memory.subarray(0, port.bytes);
  }

  /** setData alone: its status. */
  setData({ shapes, skipped = this.#retained(), sizes = {} }: Passed): number {
    for (const [i, port] of this.ports.entries()) {
      const { name, binding, memory, dims } = port;
      const skip = skipped.has(name);
      const shape = skip ? [0] : (shapes[name] ?? binding.dims);
      for (const [axis, d] of shape.entries()) dims.writeUInt32LE(d, axis * 4);
      const width = elementBytes(binding.type);
      const at = i * QBUFFER;
      this.#buffers.writeBigUInt64LE(BigInt(sizes[name] ?? (skip ? 0 : elementCount(shape) * width)), at);
      this.#buffers.writeBigUInt64LE(this.#runtime.address(memory), at + 8);
      this.#dimensions.writeUInt32LE(shape.length, i * QDIMENSIONS);
      this.#dimensions.writeUInt32LE(width, i * QDIMENSIONS + 4);
      this.#dimensions.writeBigUInt64LE(this.#runtime.address(dims), i * QDIMENSIONS + 8);
    }
    return this.#runtime.call('qaicExecObjSetDataExt', this.exec, this.ports.length, this.#buffers, this.#dimensions);
  }

  enqueue(): number {
    return this.#runtime.call('qaicEnqueueExecObj', this.#opened.queue, this.exec, null);
  }

  wait(timeoutUs = 10_000_000): number {
    return this.#runtime.call('qaicExecObjWaitForCompletion', this.exec, timeoutUs);
  }

  /** setData, enqueue, wait: the first status that is not success, and whose it is. */
  run(passed: Passed): { readonly call: string; readonly status: number } {
    const steps: readonly (readonly [string, () => number])[] = [
      ['qaicExecObjSetDataExt', () => this.setData(passed)],
      ['qaicEnqueueExecObj', () => this.enqueue()],
      ['qaicExecObjWaitForCompletion', () => this.wait()],
    ];
    for (const [call, step] of steps) {
      const status = step();
      if (status !== SUCCESS) return { call, status };
    }
    return { call: 'qaicExecObjWaitForCompletion', status: SUCCESS };
  }

  /** Throws Deviation unless all went well and no memory past the buffers was written. */
  runs(passed: Passed, what: string): void {
    const { call, status } = this.run(passed);
    if (status !== SUCCESS) throw new Deviation(what, statusText(call, status), status);
    const over = this.ports.find((p) => !p.memory.subarray(p.bytes).every((b) => b === CANARY));
    if (over !== undefined) throw new Deviation(what, `memory past the buffer of ${over.name} was written`, status);
  }

  /** What a language program never takes from the host. */
  #retained(): ReadonlySet<string> {
    const names = this.ports.map((p) => p.name);
    return new Set(names.filter((n) => n.startsWith('past_') || n.endsWith('_RetainedState')));
  }
}

function aligned(runtime: Runtime, bytes: number): Buffer {
  const whole = Buffer.alloc(bytes + GUARD + PAGE);
  const start = Number((BigInt(PAGE) - (runtime.address(whole) % BigInt(PAGE))) % BigInt(PAGE));
  const memory = whole.subarray(start, start + bytes + GUARD);
  memory.fill(CANARY, bytes);
  return memory;
}
