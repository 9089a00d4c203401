/**
 * A program from its first activation to its release, through device errors: after one it is deactivated, released and
 * made anew, once. Calls that are under way at that time end first, as the runtime may still write for them.
 */
import { VlmError } from '../../contracts/errors.js';
import { type CardProgram, largestBytes } from './description.js';
import { SlotFeed } from './feed.js';
import type { Addon, Failure, NativeProgram, NativeSlot } from './library.js';
import { failed, failureLabel } from './status.js';

export interface LifeOptions {
  readonly timeoutMs: number;
  readonly queueDepth: number;
  /** A loaded program, made anew after a device error. */
  make(): NativeProgram;
}

/** A program in the runtime and the buffers of its slots. */
export interface CardMemory {
  readonly native: NativeProgram;
  readonly slots: readonly NativeSlot[];
}

export class ProgramLife {
  readonly #addon: Addon;
  readonly #program: CardProgram;
  readonly #options: LifeOptions;
  readonly #timeoutUs: number;
  /** Programs that timed out: the card may still write into their buffers, so these live as long as the session. */
  readonly #hung: NativeProgram[] = [];
  readonly #underWay = new Set<Promise<unknown>>();
  #native: NativeProgram;
  #memory: CardMemory;
  #feeds: readonly SlotFeed[] = [];
  #active = false;
  #number = 0;
  #recovery: Promise<string | null> | null = null;
  /** Why the program could not be made anew after a failure; each later call tries again. */
  #broken: string | null = null;

  constructor(addon: Addon, program: CardProgram, native: NativeProgram, options: LifeOptions) {
    this.#addon = addon;
    this.#program = program;
    this.#native = native;
    this.#options = options;
    this.#timeoutUs = Math.min(0xffffffff, options.timeoutMs * 1000);
    this.#memory = this.#allocate();
  }

  /** What calls from now on write into: a recovery brings another one, and this one keeps its results. */
  get memory(): CardMemory {
    return this.#memory;
  }
  get active(): boolean {
    return this.#active;
  }
  /** Counts activations that ended: a state of an earlier one is lost. */
  get number(): number {
    return this.#number;
  }

  feed(slot: number): SlotFeed {
    const feed = this.#feeds[slot];
    if (feed !== undefined) return feed;
    throw new VlmError('INTERNAL', { what: `A program has no slot ${slot}` });
  }

  activate(): void {
    if (this.#active) return;
    if (this.#broken !== null) {
      this.#revive(this.#broken);
      return;
    }
    this.#check(this.#native.activate());
    this.#active = true;
  }

  deactivate(): void {
    if (!this.#active) return;
    this.#active = false;
    this.#number++;
    this.#check(this.#native.deactivate());
  }

  release(): Failure | null {
    return this.#native.release();
  }

  /** Before a call: null when the program can be called at once. */
  settled(): Promise<unknown> | null {
    if (this.#recovery !== null) return this.#recovery;
    if (this.#broken !== null) this.#revive(this.#broken);
    return null;
  }

  /** Waits on this thread: for steps of a few hundred microseconds. */
  callSync(slot: number): Failure | null {
    return this.#native.runSync(slot, this.#timeoutUs);
  }

  /** Waits elsewhere: the event loop and other slots go on. */
  async call(slot: number): Promise<Failure | null> {
    const call = this.#native.run(slot, this.#timeoutUs);
    this.#underWay.add(call);
    try {
      return await call;
    } finally {
      this.#underWay.delete(call);
    }
  }

  /**
   * Makes the program anew after a call of its life `number` failed. Calls that fail together share one recovery. The
   * reason when it failed, else null.
   */
  recover(number: number, first: Failure): Promise<string | null> {
    if (this.#recovery !== null) return this.#recovery;
    if (number !== this.#number) return Promise.resolve(this.#broken);
    this.#recovery = this.#recover(first).finally(() => {
      this.#recovery = null;
    });
    return this.#recovery;
  }

  async #recover(first: Failure): Promise<string | null> {
    await Promise.allSettled([...this.#underWay]);
    this.#number++;
    this.#active = false;
    if (first.status === 9) this.#hung.push(this.#native);
    this.#native.release();
    try {
      this.#remake();
      return null;
    } catch (error) {
      if (!(error instanceof VlmError)) throw error;
      this.#broken = `making the program anew after ${failureLabel(first)} failed: ${error.details.received ?? error.details.what}`;
      return this.#broken;
    }
  }

  #remake(): void {
    this.#native = this.#options.make();
    this.#memory = this.#allocate();
    this.#check(this.#native.activate());
    this.#active = true;
    this.#broken = null;
  }

  /** A card may come back. Throws the story of a program that still cannot be made. */
  #revive(story: string): void {
    try {
      this.#native.release();
      this.#remake();
    } catch (error) {
      if (!(error instanceof VlmError)) throw error;
      throw new VlmError(error.code, {
        ...error.details,
        what: 'The card failed earlier and is not back',
        received: `${error.details.received ?? error.details.what}; ${story}`,
      });
    }
  }

  #allocate(): CardMemory {
    const { ports, sets, path } = this.#program;
    const { queueDepth } = this.#options;
    const sizes = Uint32Array.from(ports, (p) => (p.retained ? 0 : largestBytes(p, sets)));
    const slots = this.#native.allocate(sizes, queueDepth);
    if (slots === null) {
      throw new VlmError('DEVICE_FAILED', {
        what: 'There is not enough memory for the buffers of a program',
        expected: `${sizes.reduce((n, s) => n + s, 0) * queueDepth} bytes`,
        where: path,
        hint: 'lower queue_depth, or compile smaller shapes',
      });
    }
    this.#feeds = slots.map((slot) => new SlotFeed(this.#addon, this.#program, slot));
    return { native: this.#native, slots };
  }

  #check(failure: Failure | null): void {
    if (failure !== null) throw failed(failure, this.#program.path);
  }
}
