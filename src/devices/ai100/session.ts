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
import type { CardProgram } from './description.js';
import { checkInputs, type Inputs, matchSet, rowsOf, twinOf } from './feed.js';
import type { CardLibrary, Failure, NativeProgram } from './library.js';
import { type CardMemory, type LifeOptions, ProgramLife } from './life.js';
import { CardOutputs } from './outputs.js';
import { CardState, ownState, stateInvalid } from './state.js';
import { failed, failureLabel } from './status.js';

const NOTHING = { kind: 'none' } as const;

export interface SessionOptions extends LifeOptions {
  /** Called once, after the program was released. */
  closed(): Promise<void>;
}

export class CardSession implements ProgramSession {
  readonly callsInFlight: number;
  readonly #program: CardProgram;
  readonly #options: SessionOptions;
  readonly #life: ProgramLife;
  readonly #outputs: CardOutputs;
  /** Slots that live states own. */
  readonly #busy = new Set<number>();
  /** Slots whose call is under way. */
  readonly #running = new Set<number>();
  #closed = false;

  constructor(library: CardLibrary, program: CardProgram, native: NativeProgram, options: SessionOptions) {
    this.callsInFlight = options.queueDepth;
    this.#program = program;
    this.#options = options;
    this.#life = new ProgramLife(library.addon, program, native, options);
    this.#outputs = new CardOutputs(library.addon, program);
  }

  describe(): ProgramDescription {
    return this.#program.description;
  }

  async activate(): Promise<void> {
    this.#checkOpen();
    this.#life.activate();
  }

  /** Frees the cores of the card; what the program kept on it is lost. */
  async deactivate(): Promise<void> {
    this.#checkOpen();
    this.#checkIdle('deactivated');
    this.#life.deactivate();
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
    const slot = this.#life.memory.slots.findIndex((_, i) => !this.#busy.has(i));
    if (slot < 0) {
      throw stateInvalid(
        'A compiled program keeps one state for each exec object',
        `at most ${this.callsInFlight} live states (queue_depth)`,
        'one more',
      );
    }
    this.#busy.add(slot);
    return new CardState(this, batch, ctxLen, slot, this.#life.number);
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
    const own = ownState(this, this.describe().role, this.#life.number, state);
    checkInputs(this.#program, inputs);
    for (const name of wanted) this.#outputs.port(name);
    const set = matchSet(this.#program, inputs, own?.batch ?? null);
    const slot = own?.slot ?? this.#life.memory.slots.findIndex((_, i) => !this.#running.has(i));
    if (slot < 0 || this.#running.has(slot)) {
      throw stateInvalid(
        'A program was called while it ran',
        own === null ? `${this.callsInFlight} at a time (queue_depth)` : 'one call at a time for each state',
        'one call more',
      );
    }
    this.#running.add(slot);
    try {
      const { native, slots } = await this.#call(slot, inputs, set, own);
      return this.#outputs.collect(native, slot, slots[slot], set, wanted, options.reduce ?? NOTHING);
    } finally {
      this.#running.delete(slot);
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#checkIdle('closed');
    this.#closed = true;
    const failure = this.#life.release();
    await this.#options.closed();
    if (failure !== null) throw failed(failure, this.#program.path);
  }

  async #call(slot: number, inputs: Inputs, set: ShapeSet, state: CardState | null): Promise<CardMemory> {
    const life = this.#life;
    const settled = life.settled();
    if (settled !== null) await settled;
    if (!life.active)
      throw stateInvalid('A program was called before its activation', 'an active program', 'an inactive one');
    // A recovery that another call began may have taken the state away.
    if (state !== null) ownState(this, this.describe().role, life.number, state);
    const { number, memory } = life;
    const first = await this.#enqueue(slot, inputs, set);
    if (first === null) return memory;
    const story = await life.recover(number, first);
    if (state === null && story === null) {
      // A vision program keeps nothing: the same call may be made again.
      const { number: again, memory: anew } = life;
      const second = await this.#enqueue(slot, inputs, set);
      if (second === null) {
        // The result is right and the run goes on; whoever keeps the card should know all the same.
        const story = `The card failed during a call: ${failureLabel(first)}; the program was made anew and the call made again`;
        process.emitWarning(story, { type: 'CardWarning', code: 'CARD_RECOVERED', detail: this.#program.path });
        return anew;
      }
      // Left as a program that can be called: the next image may fare better.
      const end = await life.recover(again, second);
      throw this.#story(
        first,
        `the program was made anew, then again ${failureLabel(second)}${end === null ? '' : `; ${end}`}`,
      );
    }
    throw this.#story(first, story ?? 'the program was made anew; the state that it kept is lost');
  }

  #enqueue(slot: number, inputs: Inputs, set: ShapeSet): Failure | null | Promise<Failure | null> {
    this.#life.feed(slot).fill(inputs, set);
    // A step of a few hundred microseconds is waited for; encoding images leaves the event loop free, and so does
    // everything where several calls may be in flight.
    const apart = this.describe().role === 'vision' || this.callsInFlight > 1;
    return apart ? this.#life.call(slot) : this.#life.callSync(slot);
  }

  #story(first: Failure, rest: string): VlmError {
    const error = failed(first, this.#program.path);
    return new VlmError('DEVICE_FAILED', {
      ...error.details,
      what: 'The card failed during a call',
      received: `${failureLabel(first)}; ${rest}`,
    });
  }

  #checkIdle(done: string): void {
    if (this.#running.size === 0) return;
    throw stateInvalid(`A program was ${done} while it ran`, 'a finished call', 'one under way');
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
}
