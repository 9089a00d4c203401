/**
 * Lanes whose tasks take turns. Programs of one card whose cores exceed it cannot be active at once: before one lane's
 * task the program of the other is deactivated, which is counted as a swap. It stays loaded, unless the memory of the
 * card does not hold both: then it is closed. Programs on the processor that want more threads than it has cores stay
 * as they are; side by side they would only wait for one another.
 */
import { VlmError } from '../contracts/errors.js';
import type { TaskRunner } from './lanes.js';
import type { LedgerBook } from './ledger.js';
import { monotonicMs, type TaskReply, type WorkerTask } from './protocol.js';

interface Tasks {
  readonly hostThreads: number;
  readonly early?: TaskRunner['early'];
  run(lane: string, task: WorkerTask, transfer: readonly unknown[]): Promise<TaskReply | undefined>;
}

/** Lanes of one card of which one at a time may be active. */
export interface ExclusiveLanes {
  readonly lanes: readonly string[];
  /** The card's memory holds all of the programs: none has to be closed for another. */
  readonly stayLoaded: boolean;
  /** Nothing has to be given up for another lane's turn. */
  readonly stayActive?: boolean;
}

interface Group {
  active: string | null;
  turn: Promise<unknown>;
}

export class SwappingTasks implements Tasks {
  readonly hostThreads: number;
  readonly #inner: Tasks;
  readonly #ledger: LedgerBook;
  readonly #groups = new Map<string, Group>();
  readonly #closing = new Set<string>();
  readonly #staying = new Set<string>();

  /** `exclusive`: lanes of which one at a time may be active. Lists that share a lane become one. */
  constructor(inner: Tasks, exclusive: readonly ExclusiveLanes[], ledger: LedgerBook) {
    this.hostThreads = inner.hostThreads;
    this.#inner = inner;
    this.#ledger = ledger;
    for (const { lanes, stayLoaded, stayActive } of exclusive) {
      if (!stayLoaded) for (const lane of lanes) this.#closing.add(lane);
      if (stayActive === true) for (const lane of lanes) this.#staying.add(lane);
      const joined = new Set(lanes.flatMap((lane) => this.#groups.get(lane) ?? []));
      const group: Group = { active: null, turn: Promise.resolve() };
      for (const [lane, old] of this.#groups) if (joined.has(old)) this.#groups.set(lane, group);
      for (const lane of lanes) this.#groups.set(lane, group);
    }
  }

  get early(): NonNullable<TaskRunner['early']> {
    return this.#inner.early ?? [];
  }

  /** Of a lane that is closed for another one, what its worker kept is gone. */
  forgets(lane: string): boolean {
    return this.#closing.has(lane);
  }

  run(lane: string, task: WorkerTask, transfer: readonly unknown[]): Promise<TaskReply | undefined> {
    const group = this.#groups.get(lane);
    const free = task.type !== 'node' && (task.type !== 'warm' || this.#staying.has(lane));
    if (group === undefined || free) return this.#inner.run(lane, task, transfer);
    const running = group.turn.then(() => this.#inTurn(group, lane, task, transfer));
    group.turn = running.catch(() => undefined);
    return running;
  }

  async #inTurn(
    group: Group,
    lane: string,
    task: WorkerTask,
    transfer: readonly unknown[],
  ): Promise<TaskReply | undefined> {
    const { active } = group;
    if (active !== null && active !== lane && !this.#staying.has(active)) {
      // Opening early what will have to give way gains nothing.
      if (task.type === 'warm') return undefined;
      const type = this.#closing.has(active) ? 'close' : 'deactivate';
      const reply = await this.#inner.run(active, { type, sentAt: monotonicMs() }, []);
      if (reply !== undefined) this.#ledger.add(active, reply.spans, reply.emulated);
      group.active = null;
      this.#ledger.countSwap();
      if (reply?.error !== undefined) throw VlmError.fromData(reply.error);
    }
    group.active = lane;
    // Waiting for its turn is no way of transfer.
    return this.#inner.run(lane, { ...task, sentAt: monotonicMs() }, transfer);
  }
}
