/** A compiled program on a card: buffers made once at their largest, retained state skipped, one recovery. */
import type {
  DeviceState,
  ProgramDescription,
  ProgramSession,
  RunOptions,
  RunResult,
  ShapeSet,
} from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';
import { type CardProgram, largestBytes } from './description.js';
import { checkInputs, control, type Inputs, matchSet, rowsOf, twinOf, writeInput } from './feed.js';
import type { CardLibrary, Failure, NativeProgram, NativeSlot } from './library.js';
import { CardOutputs } from './outputs.js';
import { CardState, ownState, stateInvalid } from './state.js';
import { failed, failureLabel } from './status.js';

export interface SessionOptions {
  readonly timeoutMs: number;
  readonly queueDepth: number;
  /** A loaded program, made anew after a device error. */
  make(): NativeProgram;
  /** Called once, after the program was released. */
  closed(): Promise<void>;
}

export class CardSession implements ProgramSession {
  readonly #library: CardLibrary;
  readonly #program: CardProgram;
  readonly #options: SessionOptions;
  readonly #busy = new Set<number>();
  /** Programs that timed out: the card may still write into their buffers, so these live as long as the session. */
  readonly #hung: NativeProgram[] = [];
  #native: NativeProgram;
  #slots: readonly NativeSlot[] = [];
  #active = false;
  #closed = false;
  #running = false;
  /** Counts the programs made: a state of an earlier one is lost. */
  #life = 0;
  /** Why the program could not be made anew after a failure; each later call tries again. */
  #broken: string | null = null;
  readonly #outputs: CardOutputs;

  constructor(library: CardLibrary, program: CardProgram, native: NativeProgram, options: SessionOptions) {
    this.#library = library;
    this.#program = program;
    this.#native = native;
    this.#options = options;
    this.#outputs = new CardOutputs(library.addon, program);
    this.#allocate();
  }

  describe(): ProgramDescription {
    return this.#program.description;
  }

  async activate(): Promise<void> {
    this.#checkOpen();
    if (this.#active) return;
    if (this.#broken !== null) return this.#revive(this.#broken);
    this.#check(this.#native.activate());
    this.#active = true;
  }

  /** Frees the cores of the card; what the program kept on it is lost. */
  async deactivate(): Promise<void> {
    this.#checkOpen();
    if (!this.#active) return;
    this.#active = false;
    this.#life++;
    this.#check(this.#native.deactivate());
  }

  createState(batch: number, ctxLen: number): DeviceState {
    this.#checkOpen();
    if (this.describe().role === 'vision') {
      throw stateInvalid('A vision program keeps no state', 'a language program', 'a vision program');
    }
    const sets = this.#program.sets;
    const own = sets.filter((s) => rowsOf(s) === batch && (s.symbols.ctx_len ?? ctxLen) === ctxLen);
    if (own.length === 0) {
      const known = sets.map((s) => `batch ${rowsOf(s)}, ctx_len ${s.symbols.ctx_len ?? 'any'}`);
      throw stateInvalid(
        'The program was compiled for another state',
        [...new Set(known)].join('; '),
        `batch ${batch}, ctx_len ${ctxLen}`,
      );
    }
    this.#checkDistinct(own);
    const slot = this.#slots.findIndex((_, i) => !this.#busy.has(i));
    if (slot < 0) {
      throw stateInvalid(
        'A compiled program keeps one state for each exec object',
        `at most ${this.#slots.length} live states (queue_depth)`,
        'one more',
      );
    }
    this.#busy.add(slot);
    return new CardState(this, batch, ctxLen, slot, this.#life);
  }

  #checkDistinct(sets: readonly ShapeSet[]): void {
    for (const set of sets) {
      const twin = twinOf(this.#program, set);
      if (twin === undefined) continue;
      throw new VlmError('SHAPE_NOT_ALLOWED', {
        what: 'Two shapes of a compiled program differ only in the cache, so that a card cannot tell which is meant',
        expected: 'one ctx_len for each program: the cache stays on the card and is in no call',
        received: `ctx_len ${set.symbols.ctx_len} and ${twin.symbols.ctx_len}`,
        where: this.#program.path,
        hint: 'compile for one ctx_len; comp_ctx_lengths makes calls read less of the cache, where the model was exported with it',
      });
    }
  }

  /** @internal */
  freed(slot: number): void {
    this.#busy.delete(slot);
  }

  async run(
    state: DeviceState | null,
    inputs: Inputs,
    wanted: readonly string[],
    options: RunOptions = {},
  ): Promise<RunResult> {
    this.#checkOpen();
    const own = ownState(this, this.describe().role, this.#life, state);
    if (this.#running) throw stateInvalid('A program was called while it ran', 'one call at a time', 'a second call');
    checkInputs(this.#program, inputs);
    for (const name of wanted) this.#outputs.port(name);
    const set = matchSet(this.#program, inputs, own?.batch ?? null);
    const slot = own?.slot ?? 0;
    this.#running = true;
    try {
      await this.#call(slot, inputs, set, own);
    } finally {
      this.#running = false;
    }
    return this.#outputs.collect(
      this.#native,
      slot,
      this.#slots[slot],
      set,
      wanted,
      options.reduce ?? { kind: 'none' },
    );
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    if (this.#running) throw stateInvalid('A program was closed while it ran', 'a finished call', 'one under way');
    this.#closed = true;
    const failure = this.#native.release();
    await this.#options.closed();
    this.#check(failure);
  }

  async #call(slot: number, inputs: Inputs, set: ShapeSet, state: CardState | null): Promise<void> {
    if (this.#broken !== null) this.#revive(this.#broken);
    if (!this.#active)
      throw stateInvalid('A program was called before its activation', 'an active program', 'an inactive one');
    this.#fill(slot, inputs, set);
    const first = await this.#enqueue(slot);
    if (first === null) return;
    const story = this.#recover(first);
    if (state === null && story === null) {
      // A vision program keeps nothing: the same call may be made again.
      this.#fill(slot, inputs, set);
      const second = await this.#enqueue(slot);
      if (second === null) {
        // The result is right and the run goes on; whoever keeps the card should know all the same.
        const story = `The card failed during a call: ${failureLabel(first)}; the program was made anew and the call made again`;
        process.emitWarning(story, { type: 'CardWarning', code: 'CARD_RECOVERED', detail: this.#program.path });
        return;
      }
      // Left as a program that can be called: the next image may fare better.
      const end = this.#recover(second);
      throw this.#story(
        first,
        `the program was made anew, then again ${failureLabel(second)}${end === null ? '' : `; ${end}`}`,
      );
    }
    throw this.#story(first, story ?? 'the program was made anew; the state that it kept is lost');
  }

  #enqueue(slot: number): Failure | null | Promise<Failure | null> {
    const timeout = Math.min(0xffffffff, this.#options.timeoutMs * 1000);
    // A step of a few hundred microseconds is waited for; encoding images leaves the event loop free.
    return this.describe().role === 'vision' ? this.#native.run(slot, timeout) : this.#native.runSync(slot, timeout);
  }

  /** Deactivates, releases and makes the program anew, once. The reason when that failed, else null. */
  #recover(first: Failure): string | null {
    this.#life++;
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
    this.#allocate();
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

  #story(first: Failure, rest: string): VlmError {
    const error = failed(first, this.#program.path);
    return new VlmError('DEVICE_FAILED', {
      ...error.details,
      what: 'The card failed during a call',
      received: `${failureLabel(first)}; ${rest}`,
    });
  }

  #allocate(): void {
    const { ports, sets } = this.#program;
    const sizes = Uint32Array.from(ports, (p) => (p.retained ? 0 : largestBytes(p, sets)));
    const slots = this.#native.allocate(sizes, this.#options.queueDepth);
    if (slots === null) {
      throw new VlmError('DEVICE_FAILED', {
        what: 'There is not enough memory for the buffers of a program',
        expected: `${sizes.reduce((n, s) => n + s, 0) * this.#options.queueDepth} bytes`,
        where: this.#program.path,
        hint: 'lower queue_depth, or compile smaller shapes',
      });
    }
    this.#slots = slots;
  }

  #fill(slot: number, inputs: Inputs, set: ShapeSet): void {
    const native = this.#slots[slot] as NativeSlot;
    const words = new Uint32Array(native.control);
    for (const port of this.#program.ports) {
      const buffer = native.buffers[port.binding.index] ?? null;
      const given = inputs[port.name];
      const passed = buffer !== null && (port.binding.direction === 'out' || given !== undefined);
      control(words, port, passed ? (set.shapes[port.name] ?? port.dims) : null);
      if (given !== undefined && buffer !== null) writeInput(this.#library.addon, given, port.dtype, buffer);
    }
  }

  #checkOpen(): void {
    if (!this.#closed) return;
    throw new VlmError('DEVICE_CLOSED', {
      what: 'A program was used after it was closed',
      expected: 'an open session',
      received: 'a closed one',
      where: this.#program.path,
    });
  }

  #check(failure: Failure | null): void {
    if (failure !== null) throw failed(failure, this.#program.path);
  }
}
