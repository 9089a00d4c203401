/**
 * Lanes that cannot be active at once: programs of one card whose cores exceed it. Their tasks take turns, and before
 * one lane's task the program of the other is deactivated and closed, which is counted as a swap.
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

interface Group {
  active: string | null;
  turn: Promise<unknown>;
}

export class SwappingTasks implements Tasks {
  readonly hostThreads: number;
  readonly #inner: Tasks;
  readonly #ledger: LedgerBook;
  readonly #groups = new Map<string, Group>();

  /** `exclusive`: lanes of which one at a time may be active. Lists that share a lane become one. */
  constructor(inner: Tasks, exclusive: readonly (readonly string[])[], ledger: LedgerBook) {
    this.hostThreads = inner.hostThreads;
    this.#inner = inner;
    this.#ledger = ledger;
    for (const lanes of exclusive) {
      const joined = new Set(lanes.flatMap((lane) => this.#groups.get(lane) ?? []));
      const group: Group = { active: null, turn: Promise.resolve() };
      for (const [lane, old] of this.#groups) if (joined.has(old)) this.#groups.set(lane, group);
      for (const lane of lanes) this.#groups.set(lane, group);
    }
  }

  get early(): NonNullable<TaskRunner['early']> {
    return this.#inner.early ?? [];
  }

  /** A lane that gives its card up is closed, and what its worker kept is gone. */
  forgets(lane: string): boolean {
    return this.#groups.has(lane);
  }

  run(lane: string, task: WorkerTask, transfer: readonly unknown[]): Promise<TaskReply | undefined> {
    const group = this.#groups.get(lane);
    if (group === undefined || (task.type !== 'node' && task.type !== 'warm')) {
      return this.#inner.run(lane, task, transfer);
    }
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
    if (active !== null && active !== lane) {
      // Opening early what will have to give way gains nothing.
      if (task.type === 'warm') return undefined;
      const reply = await this.#inner.run(active, { type: 'close', sentAt: monotonicMs() }, []);
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
