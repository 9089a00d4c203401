/**
 * Runs a dataset in a forked child under a watchdog. A child that crashes or hangs costs no finished item: those that
 * were under way run again, each alone in a child of its own, and the one that ends its child again is recorded as
 * failed. Items are handed out one by one, as the child asks for them.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { VlmError } from '../contracts/errors.js';
import type { Ledger } from '../contracts/record.js';
import { LONGEST_TIMER_MS } from '../util/timers.js';
import type { ChildMessage, ParentMessage, StartMessage } from './protocol.js';
import { failedRow } from './rows.js';
import type { DatasetItem } from './source.js';
import type { ResultRow } from './store.js';

export interface SuperviseOptions {
  /** Module that the child runs. */
  readonly entry: URL;
  readonly start: StartMessage;
  readonly items: AsyncIterator<DatasetItem>;
  /** Keeps a row; the item counts as done when it resolves. What it throws ends the run. */
  readonly onRow: (row: ResultRow, item: DatasetItem) => Promise<void>;
  readonly onNotice?: (message: string) => void;
  /** Longest time without a sign of life from the child. */
  readonly quietMs: number;
  readonly signal?: AbortSignal;
  /** Gets what ends the child at once: for the last moments of this process. */
  readonly onChild?: (kill: () => void) => void;
  readonly env?: NodeJS.ProcessEnv;
}

export interface SuperviseResult {
  readonly cancelled: boolean;
  /** Children that ended before their time. */
  readonly crashes: number;
  /** One a child that ended well. */
  readonly ledgers: readonly Ledger[];
}

/** Throws what the source and `onRow` throw, and the child's own error when nothing can run. */
export async function supervise(options: SuperviseOptions): Promise<SuperviseResult> {
  return new Supervisor(options).run();
}

type Ending =
  | { readonly type: 'done' }
  | { readonly type: 'crashed'; readonly reason: string }
  | { readonly type: 'failed'; readonly error: unknown };

class Supervisor {
  readonly #o: SuperviseOptions;
  readonly #underWay = new Map<number, { readonly item: DatasetItem; readonly since: number }>();
  readonly #suspects: DatasetItem[] = [];
  /** Items that came when the child that had asked for them was gone. */
  readonly #returned: DatasetItem[] = [];
  readonly #ledgers: Ledger[] = [];
  #sourceEnded = false;
  #sourceError: unknown;
  #crashes = 0;
  #seq = 0;

  constructor(options: SuperviseOptions) {
    this.#o = options;
  }

  async run(): Promise<SuperviseResult> {
    let barren = 0;
    while (!this.#cancelled && this.#hasMore) {
      const suspect = this.#suspects.shift();
      const before = this.#seq;
      const ending = await this.#session(suspect);
      if (ending.type === 'failed') throw ending.error;
      if (ending.type === 'done') continue;
      this.#crashes++;
      // A child that never gets as far as an item will not do so the next time either.
      barren = this.#seq === before ? barren + 1 : 0;
      if (barren >= 2) throw died(ending.reason);
      await this.#blame(suspect, ending.reason);
    }
    // What was under way has its rows by now.
    if (this.#sourceError !== undefined) throw this.#sourceError;
    return { cancelled: this.#cancelled, crashes: this.#crashes, ledgers: this.#ledgers };
  }

  get #hasMore(): boolean {
    return !this.#sourceEnded || this.#suspects.length > 0 || this.#returned.length > 0;
  }

  get #cancelled(): boolean {
    return this.#o.signal?.aborted === true;
  }

  /** Items that were under way when the child ended: tried alone, or, if they were alone already, at fault. */
  async #blame(suspect: DatasetItem | undefined, reason: string): Promise<void> {
    const lost = [...this.#underWay.values()];
    this.#underWay.clear();
    if (suspect === undefined) {
      this.#suspects.push(...lost.map(({ item }) => item));
      this.#o.onNotice?.(`${reason}; the ${lost.length} items that were under way run again, one by one`);
      return;
    }
    for (const { item, since } of lost) {
      await this.#o.onRow(failedRow(item.id, died(reason).toData(), performance.now() - since), item);
    }
  }

  /** One child: all that the source has, or one suspect. */
  async #session(suspect: DatasetItem | undefined): Promise<Ending> {
    const child = fork(fileURLToPath(this.#o.entry), [], {
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      ...(this.#o.env === undefined ? {} : { env: this.#o.env }),
    });
    this.#o.onChild?.(() => void child.kill('SIGKILL'));
    const stop = (): void => send(child, { type: 'stop' });
    this.#o.signal?.addEventListener('abort', stop, { once: true });
    try {
      return await this.#talk(child, suspect);
    } finally {
      this.#o.signal?.removeEventListener('abort', stop);
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    }
  }

  #talk(child: ChildProcess, suspect: DatasetItem | undefined): Promise<Ending> {
    return new Promise((resolve) => {
      let finished: Ending | undefined;
      let work: Promise<void> = Promise.resolve();
      let drawing: Promise<void> = Promise.resolve();
      let over = false;
      let given = false;
      let asking = 0;
      const quiet = new Watchdog(this.#o.quietMs, () => void child.kill('SIGKILL'));
      const end = (ending: Ending): void => {
        finished ??= ending;
        if (finished.type !== 'done') child.kill('SIGKILL');
      };
      const supply = async (): Promise<void> => {
        // A source may have nothing for a long time: a child without an item is not expected to give signs of life.
        asking++;
        if (this.#underWay.size === 0) quiet.pause();
        const item = given && suspect !== undefined ? undefined : (suspect ?? (await this.#next()));
        asking--;
        given = true;
        if (over && item !== undefined) return void this.#returned.push(item);
        if (over) return;
        quiet.start();
        if (item === undefined) return send(child, { type: 'end' });
        const seq = this.#seq++;
        this.#underWay.set(seq, { item, since: performance.now() });
        send(child, { type: 'item', seq, item });
      };
      const handle = async (message: Exclude<ChildMessage, { type: 'want' }>): Promise<void> => {
        if (message.type === 'row') {
          const taken = this.#underWay.get(message.seq);
          if (taken === undefined) return;
          await this.#o.onRow(message.row, taken.item);
          this.#underWay.delete(message.seq);
          if (this.#underWay.size === 0 && asking > 0) quiet.pause();
        } else if (message.type === 'notice') this.#o.onNotice?.(message.message);
        else if (message.type === 'fatal') end({ type: 'failed', error: VlmError.fromData(message.error) });
        else if (message.type === 'done') {
          this.#ledgers.push(message.ledger);
          end({ type: 'done' });
        }
      };
      const failed = (error: unknown): void => end({ type: 'failed', error });
      child.on('message', (message: ChildMessage) => {
        quiet.feed();
        // Rows are kept one after the other, and those that came before it ere the next item is drawn; rows that come
        // later do not wait for a source that has nothing yet.
        if (message.type === 'want') drawing = Promise.all([drawing, work]).then(supply).catch(failed);
        else work = work.then(() => handle(message)).catch(failed);
      });
      child.once('error', (error) => end({ type: 'crashed', reason: `The child could not be run: ${error.message}` }));
      child.once('close', (code, signal) => {
        over = true;
        quiet.pause();
        void work.then(() => {
          const how = quiet.bit
            ? `The run showed no sign of life for ${Math.round(this.#o.quietMs / 1000)} s and was ended`
            : `The run's process ended by ${signal ?? `itself with code ${code ?? '?'}`}`;
          resolve(finished ?? { type: 'crashed', reason: how });
        });
      });
      quiet.start();
      send(child, this.#o.start);
      if (this.#cancelled) send(child, { type: 'stop' });
    });
  }

  /** A source that fails is one that has ended: what is under way is not lost for it. */
  async #next(): Promise<DatasetItem | undefined> {
    const back = this.#returned.shift();
    if (back !== undefined) return back;
    if (this.#sourceEnded || this.#cancelled) return undefined;
    try {
      const step = await this.#o.items.next();
      if (step.done !== true) return step.value;
    } catch (error) {
      this.#sourceError ??= error;
    }
    this.#sourceEnded = true;
    return this.#returned.shift();
  }
}

/** Acts when it was not fed for too long. */
class Watchdog {
  readonly #ms: number;
  readonly #act: () => void;
  #timer: NodeJS.Timeout | undefined;
  bit = false;

  constructor(ms: number, act: () => void) {
    this.#ms = Math.min(ms, LONGEST_TIMER_MS);
    this.#act = act;
  }

  start(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.bit = true;
      this.#act();
    }, this.#ms);
  }

  feed(): void {
    if (this.#timer !== undefined) this.start();
  }

  pause(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/** A child that is gone gets nothing; that it is gone is told by its end. */
function send(child: ChildProcess, message: ParentMessage): void {
  if (child.connected) child.send(message, () => undefined);
}

function died(reason: string): VlmError {
  return new VlmError('WORKER_DIED', {
    what: reason,
    hint: 'VLM_RUN_DEBUG=1 shows what its own libraries say; a smaller batch_size or ctx_len needs less memory',
  });
}
