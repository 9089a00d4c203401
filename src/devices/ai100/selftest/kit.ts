/** What a check works with: one card, its programs, and the release of all that was made, in reverse. */

import type { IoDescription } from '../io-desc.js';
import type { Addon } from '../library.js';
import { Call } from './call.js';
import { readDescription } from './description.js';
import { Out, Runtime } from './runtime.js';
import { Deviation, type Order, type ProgramFacts, type ProgramName, Undecided } from './types.js';

export const ACTIVATE = 0;
export const DEACTIVATE = 1;

/** A program in the runtime, with handles as the runtime gave them. */
export interface Opened {
  readonly facts: ProgramFacts;
  readonly context: bigint;
  readonly queue: bigint;
  readonly qpc: bigint;
  readonly program: bigint;
}

type Undo = () => void;

export class Kit {
  readonly addon: Addon;
  readonly runtime: Runtime;
  readonly order: Order;
  readonly #undo: Undo[] = [];

  constructor(addon: Addon, library: object, order: Order) {
    this.addon = addon;
    this.runtime = new Runtime(addon, library);
    this.order = order;
  }

  get device(): number {
    return this.order.device;
  }

  facts(name: ProgramName | 'any'): ProgramFacts {
    const { programs } = this.order;
    const facts = name === 'any' ? (programs.echo ?? programs.given) : programs[name];
    if (facts === undefined) throw new Undecided('no program to run');
    return facts;
  }

  /** Called at the end, last first, with failures left aside. */
  later(undo: Undo): void {
    this.#undo.push(undo);
  }

  make(name: string, words: (out: Buffer) => readonly (number | bigint | string | Buffer | null)[]): bigint {
    const out = new Out();
    this.runtime.ok(name, ...words(out.bytes));
    if (out.value === 0n) throw new Deviation(`${name} gives a handle`, 'success with a null handle', 0);
    if (!out.whole) throw new Deviation(`${name} writes one pointer`, 'more than 8 bytes were written', 0);
    return out.value;
  }

  context(): bigint {
    const ids = Buffer.alloc(4);
    ids.writeInt32LE(this.device);
    const context = this.make('qaicCreateContext', (out) => [out, null, 1, ids, null, null, null, null]);
    this.later(() => this.runtime.call('qaicReleaseContext', context));
    return context;
  }

  queue(context: bigint): bigint {
    const queue = this.make('qaicCreateQueue', (out) => [context, out, null, this.device]);
    this.later(() => this.runtime.call('qaicReleaseQueue', queue));
    return queue;
  }

  qpc(file: string): bigint {
    const qpc = this.make('qaicOpenQpcFile', (out) => [out, file]);
    this.later(() => this.runtime.call('qaicCloseQpc', qpc));
    return qpc;
  }

  /** Context, queue, QPC, program: created, not loaded. */
  create(facts: ProgramFacts): Opened {
    const context = this.context();
    const queue = this.queue(context);
    const qpc = this.qpc(facts.file);
    const properties = Buffer.alloc(4096);
    this.runtime.ok('qaicProgramPropertiesInitDefault', properties);
    const program = this.make('qaicCreateProgram', (out) => [
      context,
      out,
      properties,
      this.device,
      'vlm-run-selftest',
      qpc,
    ]);
    this.later(() => {
      this.runtime.call('qaicRunActivationCmd', program, DEACTIVATE);
      this.runtime.call('qaicUnloadProgram', program);
      this.runtime.call('qaicReleaseProgram', program);
    });
    return { facts, context, queue, qpc, program };
  }

  open(facts: ProgramFacts): Opened {
    const opened = this.create(facts);
    this.runtime.ok('qaicLoadProgram', opened.program);
    this.runtime.ok('qaicRunActivationCmd', opened.program, ACTIVATE);
    return opened;
  }

  describe(opened: Opened): IoDescription {
    return readDescription(this.runtime, opened.program).description;
  }

  /** An exec object with buffers of the largest shapes. */
  exec(opened: Opened): Call {
    const { data, description } = readDescription(this.runtime, opened.program);
    const properties = Buffer.alloc(4);
    const exec = this.make('qaicCreateExecObj', (out) => [
      opened.context,
      out,
      properties,
      opened.program,
      data,
      null,
      null,
    ]);
    this.later(() => this.runtime.call('qaicReleaseExecObj', exec));
    return new Call(this.runtime, opened, exec, description);
  }

  /** Makes an execution take `ms`; false for a card, which takes what it takes. */
  async slow(ms: number): Promise<boolean> {
    if (!this.order.emulated) return false;
    const { loadControl } = await import('../emulator/addon.js');
    return loadControl(this.order.library).latency(`${ms * 1000}`);
  }

  /** What was made has been released by the check itself. */
  forget(): void {
    this.#undo.length = 0;
  }

  end(): void {
    for (let undo = this.#undo.pop(); undo !== undefined; undo = this.#undo.pop()) undo();
  }
}
