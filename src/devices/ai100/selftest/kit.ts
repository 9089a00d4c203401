/** What a check works with: one card, its programs, and the release of all that was made, in reverse. */

import { contractName } from '../description.js';
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
  readonly order: Order;
  readonly #undo: Undo[] = [];
  #runtime: Runtime | null = null;
  #given: ProgramFacts | null = null;

  constructor(addon: Addon, order: Order) {
    this.addon = addon;
    this.order = order;
  }

  /** Opened when it is needed: opening it is a check of its own. */
  get runtime(): Runtime {
    if (this.#runtime === null) {
      const { library, error, symbol } = this.addon.openLibrary(this.order.library);
      if (library === undefined) throw new Deviation('a library that opens', error ?? `no ${symbol}`);
      this.#runtime = new Runtime(this.addon, library);
    }
    return this.#runtime;
  }

  get device(): number {
    return this.order.device;
  }

  facts(name: ProgramName | 'any'): ProgramFacts {
    const { programs } = this.order;
    const own = name === 'any' ? programs.echo : programs[name];
    if (own !== undefined) return own;
    if (name !== 'any' || programs.given === undefined) throw new Undecided('no program to run');
    this.#given ??= this.#learn(programs.given);
    return this.#given;
  }

  /** What a program of the user says of itself. */
  #learn(given: ProgramFacts): ProgramFacts {
    const { program } = this.create(given);
    this.runtime.ok('qaicLoadProgram', program);
    const { bindings, allowedShapes } = readDescription(this.runtime, program).description;
    this.end();
    const lists = allowedShapes.length > 0 ? allowedShapes : [bindings];
    return {
      ...given,
      ports: bindings.map((b) => ({ name: contractName(b.name), direction: b.direction, type: b.type })),
      sets: lists.map((list) =>
        Object.fromEntries(bindings.map((b, j) => [contractName(b.name), list[j]?.dims ?? b.dims])),
      ),
    };
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
