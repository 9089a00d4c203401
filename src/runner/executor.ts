/**
 * Plan + items -> results. A node runs as soon as its inputs are there, so independent branches run side by side.
 * Items go through in chunks as large as the largest batch_size; a few chunks are under way at once, so that one is
 * preprocessed while another is decoded. An item that fails is left out of what follows; the others go on.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { type ErrorData, VlmError } from '../contracts/errors.js';
import type { ItemResult, NodeOutputs } from '../contracts/node.js';
import type { Plan, PlanNode } from '../contracts/recipe.js';
import type { ItemRecord, RunEvent, RunResultRecord } from '../contracts/record.js';
import { cancelledError, consumersOf, ItemState, type ReplyClock, type RunItem } from './item.js';
import { keepOutputs } from './kept.js';
import { HOST, isOneWorker, type LaneKey, laneOf, programOf, type TaskRunner } from './lanes.js';
import type { LedgerBook } from './ledger.js';
import { mayShowPictures } from './pictures.js';
import {
  type EmbeddingSettings,
  monotonicMs,
  type NodeMessage,
  type NodeTask,
  type ProgramRequest,
  type ReleaseTask,
  type TaskReply,
  type WarmTask,
} from './protocol.js';
import { chunksOf, isStream } from './stream.js';
import { ownBuffers, transferList } from './values.js';

export interface ExecuteRequest {
  readonly plan: Plan;
  /** A list, or a stream of any length: items are drawn as there is room for them, and only `onItem` keeps records. */
  readonly items: readonly RunItem[] | AsyncIterable<RunItem>;
  readonly runner: TaskRunner;
  readonly ledger: LedgerBook;
  /** [0] becomes 1 when the run shall stop. Must lie on a SharedArrayBuffer. */
  readonly cancel: Int32Array;
  readonly embeddings?: EmbeddingSettings;
  readonly onEvent?: (event: RunEvent) => void;
  /** Called with each item as soon as it is done. */
  readonly onItem?: (record: ItemRecord) => void;
  /** Looks at what a node gave before anything else uses it; throws VlmError to refuse the item. */
  readonly verify?: (plan: Plan, node: PlanNode, outputs: NodeOutputs) => Promise<void>;
}

export async function execute(request: ExecuteRequest): Promise<RunResultRecord> {
  return new Execution(request).run();
}

class Execution {
  readonly #r: ExecuteRequest;
  readonly #plan: Plan;
  readonly #hostLanes = new Map<number, string>();
  /** Tasks that no node waits for. */
  readonly #aside = new Set<Promise<unknown>>();
  /** What a listener threw: it must not end the process while native calls are under way. */
  readonly #noticed = new Set<string>();
  #listenerError: unknown;

  constructor(request: ExecuteRequest) {
    this.#r = request;
    this.#plan = request.plan;
  }

  async run(): Promise<RunResultRecord> {
    const { ledger } = this.#r;
    const items = isStream(this.#r.items) ? null : this.#r.items;
    this.#emit({ type: 'run-start', items: items?.length ?? null, nodes: this.#plan.nodes.map((n) => n.name) });
    this.#warmUp(items);
    const consumers = consumersOf(this.#plan);
    const { runner } = this.#r;
    const staysIn = (lane: LaneKey): boolean =>
      isOneWorker(lane, runner.hostThreads) && runner.forgets?.(lane) !== true;
    const records: ItemRecord[] = [];
    const size = this.#chunkSize();
    const next = chunksOf(this.#r.items, size, (inputs, index) => {
      const from = items === null ? monotonicMs() : ledger.origin;
      return new ItemState(index, inputs, consumers, staysIn, from);
    });
    let error: ErrorData | undefined;
    // Two device stages can be busy at once; one more chunk is being preprocessed for them.
    const inFlight = Math.min(items === null ? Infinity : Math.ceil(items.length / size), 2 + runner.hostThreads);
    const lines = Array.from({ length: inFlight }, async () => {
      for (let chunk = await next(); chunk.length > 0 && !this.#over; chunk = await next()) {
        await this.#runChunk(chunk);
        for (const state of chunk) {
          const record = this.#finish(state);
          error ??= record.error;
          if (items !== null) records[state.index] = record;
        }
      }
    });
    const settled = await Promise.allSettled(lines);
    await Promise.allSettled([...this.#aside]);
    this.#emit({ type: 'run-end', ok: error === undefined });
    const broken = settled.find((s) => s.status === 'rejected');
    if (broken !== undefined) throw VlmError.wrap(broken.reason, 'INTERNAL', { what: 'The items could not be read' });
    if (this.#listenerError !== undefined) {
      throw VlmError.wrap(this.#listenerError, 'INTERNAL', { what: 'A listener of the run failed' });
    }
    return {
      ok: error === undefined,
      items: records,
      ledger: ledger.close(),
      ...(error === undefined ? {} : { error }),
    };
  }

  /** Device workers open their programs while the host is still busy with the first images. */
  #warmUp(items: readonly RunItem[] | null): void {
    for (const { lane, running } of this.#r.runner.early ?? []) this.#keepAside(lane, running);
    const lanes = new Map<LaneKey, { program: ProgramRequest; kinds: Set<string> }>();
    for (const node of this.#plan.nodes) {
      const program = programOf(this.#plan, node);
      if (program === null || (items !== null && !mayShowPictures(this.#plan, node, items))) continue;
      const lane = lanes.get(laneOf(node)) ?? { program, kinds: new Set() };
      if (node.plugin === undefined) lane.kinds.add(node.manifest.kind);
      lanes.set(laneOf(node), lane);
    }
    for (const [lane, { program, kinds }] of lanes) {
      const task = {
        type: 'warm',
        model: this.#plan.model,
        program,
        kinds: [...kinds],
        sentAt: monotonicMs(),
      } as const;
      this.#runAside(lane, task);
    }
  }

  /** A failure comes again, with the node's name, when a node's own task finds it. */
  #runAside(lane: LaneKey, task: WarmTask | ReleaseTask): void {
    this.#keepAside(lane, this.#r.runner.run(lane, task, []));
  }

  #keepAside(lane: LaneKey, task: Promise<TaskReply | undefined>): void {
    const running = task
      .then(
        (reply) => reply && this.#r.ledger.add(this.#laneName(lane, reply), reply.spans, reply.emulated),
        () => undefined,
      )
      .finally(() => this.#aside.delete(running));
    this.#aside.add(running);
  }

  #chunkSize(): number {
    const sizes = this.#plan.nodes.map((node) =>
      node.manifest.program === undefined ? 1 : Number(node.options['batch_size'] ?? 1),
    );
    return Math.max(1, ...sizes.filter((n) => Number.isInteger(n)));
  }

  async #runChunk(chunk: readonly ItemState[]): Promise<void> {
    const done = new Map<string, Promise<void>>();
    for (const node of this.#plan.nodes) {
      const before = node.after.map((name) => done.get(name));
      done.set(
        node.name,
        Promise.all(before).then(() => this.#runNode(node, chunk)),
      );
    }
    await Promise.all(done.values());
  }

  async #runNode(node: PlanNode, chunk: readonly ItemState[]): Promise<void> {
    if (this.#cancelled) for (const item of chunk) item.fail(cancelledError());
    const alive = chunk.filter((item) => item.error === undefined);
    if (alive.length === 0) return;
    this.#emit({ type: 'stage', node: node.name, state: 'start', at: this.#now() });
    // Host workers take one item each, side by side; a program takes the chunk as a batch.
    const groups = laneOf(node) === HOST ? alive.map((item) => [item]) : [alive];
    const went = await Promise.all(groups.map((group) => this.#runGroup(node, group)));
    const outcome = went.includes(false) ? ({ outcome: this.#cancelled ? 'cancelled' : 'failed' } as const) : {};
    this.#emit({ type: 'stage', node: node.name, state: 'end', at: this.#now(), ...outcome });
  }

  /** False when the node failed: an item may meanwhile have failed in another branch, which says nothing of this one. */
  async #runGroup(node: PlanNode, group: readonly ItemState[]): Promise<boolean> {
    let went = true;
    try {
      const reply = await this.#submit(node, group);
      if (reply.error !== undefined) throw VlmError.fromData(reply.error);
      for (const [i, item] of group.entries()) {
        went = (await this.#settle(node, item, reply.results?.[i], reply)) && went;
      }
      return went;
    } catch (error) {
      const data = this.#locate(node, error);
      for (const item of group) item.fail(data);
      return false;
    }
  }

  async #settle(node: PlanNode, item: ItemState, result: ItemResult | undefined, clock: ReplyClock): Promise<boolean> {
    try {
      if (result === undefined) {
        throw new VlmError('INTERNAL', { what: `Node "${node.name}" answered without a result` });
      }
      if (!result.ok) throw VlmError.fromData(result.error);
      item.store(node, result.outputs, clock);
      await this.#r.verify?.(this.#plan, node, result.outputs);
      return true;
    } catch (error) {
      item.fail(this.#locate(node, error));
      return false;
    }
  }

  /** Adds where the node stands in the recipe, or the model that it misses. Whatever is no VlmError here is a defect of the runner. */
  #locate(node: PlanNode, error: unknown): ErrorData {
    const data = VlmError.wrap(error, 'INTERNAL', { what: 'The runner failed', where: `node "${node.name}"` }).toData();
    const location = data.code.startsWith('MODEL_') ? (this.#plan.modelLocation ?? node.location) : node.location;
    return data.location !== undefined || location === undefined ? data : { ...data, location };
  }

  async #submit(node: PlanNode, group: readonly ItemState[]): Promise<TaskReply> {
    const { runner, ledger, cancel, embeddings } = this.#r;
    const lane = laneOf(node);
    const { port1, port2 } = new MessageChannel();
    const ended = this.#listen(port1, node, group);
    try {
      const running = ledger.main(
        'transfer',
        () => {
          const items = group.map((item) => ownBuffers(item.take(node)));
          const keep = keepOutputs(group.map((item) => item.keeps(node)));
          const task: NodeTask = {
            type: 'node',
            node: node.name,
            kind: node.manifest.kind,
            ...(node.plugin === undefined ? {} : { plugin: node.plugin }),
            stage: node.manifest.stage,
            options: node.options,
            model: this.#plan.model,
            program: programOf(this.#plan, node),
            items,
            outputs: Object.fromEntries(Object.entries(node.manifest.outputs).map(([k, v]) => [k, v.kind])),
            keep,
            ...(embeddings === undefined ? {} : { embeddings }),
            cancel,
            port: port2,
            sentAt: monotonicMs(),
          };
          return runner.run(lane, task, [port2, ...transferList(items)]);
        },
        node.name,
      );
      await running;
      const reply = await ended;
      ledger.add(this.#laneName(lane, reply), reply.spans, reply.emulated);
      ledger.add('main', [{ stage: 'transfer', node: node.name, start: reply.repliedAt, end: monotonicMs() }]);
      return reply;
    } finally {
      port1.close();
    }
  }

  #listen(port: MessagePort, node: PlanNode, group: readonly ItemState[]): Promise<TaskReply> {
    return new Promise((resolve) => {
      port.on('message', (message: NodeMessage) => {
        if (message.type === 'end') resolve(message.reply);
        else if (message.type === 'progress') this.#emit({ ...message, node: node.name });
        else if (message.type === 'notice') this.#notice(message.message);
        else {
          const item = group[message.item]?.index ?? 0;
          this.#emit({ type: 'text', node: node.name, item, piece: message.piece });
        }
      });
    });
  }

  /** Several workers may find the same thing: it is said once a run. */
  #notice(message: string): void {
    if (this.#noticed.has(message)) return;
    this.#noticed.add(message);
    this.#emit({ type: 'notice', message });
  }

  /** One lane a thread: host threads are numbered as they first appear. */
  #laneName(lane: LaneKey, reply: TaskReply): string {
    if (lane !== HOST) return lane;
    const known = this.#hostLanes.get(reply.threadId);
    if (known !== undefined) return known;
    const name = `host ${this.#hostLanes.size + 1}`;
    this.#hostLanes.set(reply.threadId, name);
    return name;
  }

  #finish(state: ItemState): ItemRecord {
    // An item that failed on its way leaves values in workers that nobody will ask for.
    for (const [lane, ids] of state.leftBehind()) {
      this.#runAside(lane, { type: 'release', ids, sentAt: monotonicMs() });
    }
    const record = state.record(this.#plan);
    this.#tell(() => this.#r.onItem?.(record));
    return record;
  }

  /** A stream of items is not drawn any further; a list is walked through, so that each of its items has a record. */
  get #over(): boolean {
    return this.#cancelled && isStream(this.#r.items);
  }

  get #cancelled(): boolean {
    return Atomics.load(this.#r.cancel, 0) !== 0;
  }

  #now(): number {
    return monotonicMs() - this.#r.ledger.origin;
  }

  #emit(event: RunEvent): void {
    const { onEvent, ledger } = this.#r;
    if (onEvent !== undefined) ledger.main('record', () => this.#tell(() => onEvent(event)));
  }

  #tell(listener: () => void): void {
    if (this.#listenerError !== undefined) return;
    try {
      listener();
    } catch (error) {
      this.#listenerError = error ?? new VlmError('INTERNAL', { what: 'A listener of the run failed' });
      Atomics.store(this.#r.cancel, 0, 1);
    }
  }
}
