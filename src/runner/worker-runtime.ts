/**
 * What a worker thread does with its tasks. The registries are injected: worker.ts gives the real ones, tests give
 * fakes. Everything opened is kept for later tasks of the same worker; everything native is awaited before a task ends.
 */
import { threadId } from 'node:worker_threads';
import type { DeviceDriver, ProgramRole, ProgramSession } from '../contracts/device.js';
import { type ErrorData, VlmError } from '../contracts/errors.js';
import {
  type EmbeddingCache,
  type ItemResult,
  LEDGER_STAGES,
  type LedgerStage,
  type ModelContext,
  type NodeContext,
  type NodeInputs,
  type NodeModule,
} from '../contracts/node.js';
import type { RecipeModel } from '../contracts/recipe.js';
import type { EmbeddingStore } from './embedding-store.js';
import { KeptValues } from './kept.js';
import {
  type ClockSpan,
  type EmbeddingSettings,
  monotonicMs,
  type NodeMessage,
  type NodeTask,
  type ProgramRequest,
  type TaskInputs,
  type TaskReply,
  type WarmTask,
  type WorkerTask,
} from './protocol.js';
import { checkResults, nodeError } from './results.js';
import { TextPieces } from './text-pieces.js';
import { ownBuffers, transferList } from './values.js';

/** Where a worker finds things; each call may load modules. */
export interface WorkerRegistries {
  loadNode(kind: string): Promise<NodeModule>;
  loadPlugin(path: string): Promise<NodeModule>;
  loadDriver(kind: string): Promise<DeviceDriver>;
  openModel(model: RecipeModel): Promise<ModelContext>;
  programPath(model: RecipeModel, role: ProgramRole): Promise<string>;
  /** What tells one compiled program from another: a digest of its files. */
  programDigest?(path: string): Promise<string>;
}

export type WorkerHandler = (task: WorkerTask) => Promise<TaskReply | undefined>;

export function createWorkerHandler(registries: WorkerRegistries): WorkerHandler {
  const worker = new Worker(registries);
  return (task) => worker.handle(task);
}

interface Outcome {
  readonly results?: readonly ItemResult[];
  readonly error?: ErrorData;
}
type Record_ = (stage: LedgerStage, start: number, end?: number) => void;

class Worker {
  readonly #registries: WorkerRegistries;
  readonly #threadOrigin = monotonicMs() - performance.now();
  readonly #booted = monotonicMs();
  readonly #models = new Map<string, Promise<ModelContext>>();
  readonly #modules = new Map<string, Promise<NodeModule>>();
  readonly #sessions = new Map<string, Promise<ProgramSession>>();
  readonly #kept = new KeptValues();
  readonly #embeddings = new Map<string, Promise<EmbeddingStore>>();
  /** Sessions that gave their card up for a while. */
  readonly #dormant = new Set<ProgramSession>();
  #lastEnd = 0;
  #emulated = false;

  constructor(registries: WorkerRegistries) {
    this.#registries = registries;
  }

  async handle(task: WorkerTask): Promise<TaskReply | undefined> {
    const received = monotonicMs();
    const spans = this.#arrival(task.sentAt, received);
    const record: Record_ = (stage, start, end = monotonicMs()) => {
      spans.push({ stage, start, end, ...(task.type === 'node' ? { node: task.node } : {}) });
    };
    if (task.type === 'node') {
      await this.#node(task, received, spans, record);
      return undefined;
    }
    let error: ErrorData | undefined;
    if (task.type === 'release') this.#kept.release(task.ids);
    else if (task.type === 'warm') error = await this.#warm(task, record);
    else error = await (task.type === 'deactivate' ? this.#deactivate(record) : this.#close(record));
    return this.#reply(spans, error === undefined ? {} : { error });
  }

  /** The thread's own start (once), and the way of the task from the main thread if this thread was waiting for it. */
  #arrival(sentAt: number, received: number): ClockSpan[] {
    const spans: ClockSpan[] = [];
    if (this.#lastEnd === 0) {
      spans.push({ stage: 'start', start: this.#threadOrigin, end: this.#booted });
      this.#lastEnd = this.#booted;
    }
    const start = Math.max(sentAt, this.#lastEnd);
    if (received > start) spans.push({ stage: 'transfer', start, end: received });
    return spans;
  }

  #reply(spans: readonly ClockSpan[], rest: Outcome): TaskReply {
    this.#lastEnd = monotonicMs();
    return {
      threadId,
      spans,
      repliedAt: this.#lastEnd,
      timeOrigin: performance.timeOrigin,
      threadOrigin: this.#threadOrigin,
      emulated: this.#emulated,
      kept: this.#kept.size,
      ...rest,
    };
  }

  async #warm(task: WarmTask, record: Record_): Promise<ErrorData | undefined> {
    // Errors stay in the caches: the node task that needs the thing reports them with its name and place.
    const work: Promise<unknown>[] = task.kinds.map((kind) => this.#module(kind, undefined, record));
    // Whoever runs a program also asks for the model: while the first item is on its way nothing waits for either.
    if (task.program !== null) {
      work.push(this.#session(task.model, task.program, record), this.#model(task.model, record));
    }
    const settled = await Promise.allSettled(work);
    const failed = settled.find((s) => s.status === 'rejected');
    return failed === undefined ? undefined : nodeError(failed.reason, 'warm-up').toData();
  }

  async #close(record: Record_): Promise<ErrorData | undefined> {
    let error: ErrorData | undefined;
    this.#kept.clear();
    for (const opening of this.#sessions.values()) {
      const session = await opening.catch(() => null);
      if (session === null) continue;
      const start = monotonicMs();
      try {
        await session.deactivate();
        await session.close();
      } catch (cause) {
        error ??= VlmError.wrap(cause, 'DEVICE_FAILED', { what: 'A session could not be closed' }).toData();
      }
      record('activate', start);
    }
    this.#sessions.clear();
    this.#dormant.clear();
    return error;
  }

  /** A session that cannot be deactivated is closed, and opened again when it is wanted. */
  async #deactivate(record: Record_): Promise<ErrorData | undefined> {
    let error: ErrorData | undefined;
    for (const [key, opening] of this.#sessions) {
      const session = await opening.catch(() => null);
      if (session === null) continue;
      const start = monotonicMs();
      try {
        await session.deactivate();
        this.#dormant.add(session);
      } catch (cause) {
        error ??= VlmError.wrap(cause, 'DEVICE_FAILED', { what: 'A program could not be deactivated' }).toData();
        this.#sessions.delete(key);
        await session.close().catch(() => undefined);
      }
      record('activate', start);
    }
    return error;
  }

  async #node(task: NodeTask, received: number, spans: ClockSpan[], record: Record_): Promise<void> {
    let outcome: Outcome;
    const text = new TextPieces((item, piece) => task.port.postMessage({ type: 'text', item, piece }));
    try {
      // First of all: what this task was the last to want must not outlive it, whatever happens.
      const items = resolveAll(this.#kept, task.items);
      const module = await this.#module(task.kind, task.plugin, record);
      const embeddings = task.embeddings === undefined ? undefined : await this.#cache(task.embeddings, task);
      const context = this.#context(task, received, record, text, embeddings);
      const results = checkResults(task, await module.run(items, context));
      outcome = { results: results.map((result, item) => this.#keep(task, result, item)) };
    } catch (error) {
      outcome = { error: nodeError(error, task.node).at(`node "${task.node}"`).toData() };
    }
    text.flush();
    spans.push({ stage: task.stage, node: task.node, start: received, end: monotonicMs() });
    try {
      this.#end(task, spans, outcome);
    } catch (error) {
      // Memory that a native library or a plugin keeps for itself cannot be moved.
      this.#end(task, spans, { error: nodeError(error, task.node).at(`node "${task.node}"`).toData() });
    }
  }

  /** The result as it goes back: own buffers for what is transferred, handles for what stays. */
  #keep(task: NodeTask, result: ItemResult, item: number): ItemResult {
    if (!result.ok) return result;
    return { ok: true, outputs: this.#kept.keep(ownBuffers(result.outputs), task.keep, item) };
  }

  #end(task: NodeTask, spans: readonly ClockSpan[], outcome: Outcome): void {
    const end: NodeMessage = { type: 'end', reply: this.#reply(spans, outcome) };
    task.port.postMessage(end, transferList(outcome.results));
  }

  #context(
    task: NodeTask,
    received: number,
    record: Record_,
    text: TextPieces,
    embeddings: EmbeddingCache | undefined,
  ): NodeContext {
    // What was generated before comes before.
    const post = (message: NodeMessage): void => {
      text.flush();
      task.port.postMessage(message);
    };
    return {
      node: task.node,
      options: task.options,
      model: () => this.#model(task.model, record),
      program: async () => {
        if (task.program === null) {
          throw new VlmError('INTERNAL', {
            what: 'A node without a program asked for one',
            hint: 'give its manifest a `program`',
          });
        }
        return this.#session(task.model, task.program, record);
      },
      // Times and stages of a node are its own: none outside of its task, and none that a ledger does not know.
      span: (stage, start, end = performance.now()) =>
        record(
          LEDGER_STAGES.includes(stage) ? stage : task.stage,
          Math.max(received, start + this.#threadOrigin),
          Math.min(monotonicMs(), end + this.#threadOrigin),
        ),
      emitText: (item, piece) => {
        if (item in task.items) text.add(item, String(piece));
      },
      progress: (done, total, unit) => post({ type: 'progress', done, total, unit }),
      notice: (message) => post({ type: 'notice', message }),
      ...(embeddings === undefined ? {} : { embeddings }),
      checkCancelled: () => {
        text.flushDue();
        if (Atomics.load(task.cancel, 0) !== 0) throw new VlmError('CANCELLED', { what: 'The run was cancelled' });
      },
    };
  }

  /** Its modules load where embeddings are kept: a thread that starts waits for none that it can do without. */
  #cache(settings: EmbeddingSettings, { model, program }: NodeTask): Promise<EmbeddingCache> {
    return cached(this.#embeddings, JSON.stringify([settings, model, program]), async () => {
      const { EmbeddingStore } = await import('./embedding-store.js');
      return new EmbeddingStore(settings, () => this.#encoder(model, program));
    });
  }

  /** Which program on which kind of device makes the rows: an emulated card is not a card, and neither is a CPU. */
  async #encoder(model: RecipeModel, program: ProgramRequest | null): Promise<string> {
    const { programPath, programDigest } = this.#registries;
    if (program === null || programDigest === undefined) {
      throw new VlmError('INTERNAL', { what: 'Embeddings were asked for where no program makes them' });
    }
    const digest = await programDigest(await programPath(model, program.role));
    return `${digest} ${program.device.kind}${program.device['emulated'] === true ? ' emulated' : ''}`;
  }

  #model(model: RecipeModel, record: Record_): Promise<ModelContext> {
    return cached(this.#models, JSON.stringify(model), async () => {
      const start = monotonicMs();
      const context = await this.#registries.openModel(model);
      record('load', start);
      return context;
    });
  }

  #module(kind: string, plugin: string | undefined, record: Record_): Promise<NodeModule> {
    return cached(this.#modules, plugin ?? kind, async () => {
      const start = monotonicMs();
      const module = await (plugin === undefined
        ? this.#registries.loadNode(kind)
        : this.#registries.loadPlugin(plugin));
      record('load', start);
      return module;
    });
  }

  async #session(model: RecipeModel, program: ProgramRequest, record: Record_): Promise<ProgramSession> {
    const session = await this.#opened(model, program, record);
    if (!this.#dormant.has(session)) return session;
    const start = monotonicMs();
    await session.activate();
    this.#dormant.delete(session);
    record('activate', start);
    return session;
  }

  #opened(model: RecipeModel, program: ProgramRequest, record: Record_): Promise<ProgramSession> {
    return cached(this.#sessions, JSON.stringify([model, program]), async () => {
      const start = monotonicMs();
      const { device, role } = program;
      const [driver, path] = await Promise.all([
        this.#registries.loadDriver(device.kind),
        this.#registries.programPath(model, role),
      ]);
      const session = await driver.open({ role, path }, device);
      this.#emulated ||= session.describe().emulated;
      record('load', start);
      const activating = monotonicMs();
      await session.activate();
      record('activate', activating);
      return session;
    });
  }
}

/** One attempt a key: an error is as lasting as a value. */
function cached<T>(map: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}

/** Inputs of every item. All are worked through before the first problem is thrown. */
function resolveAll(kept: KeptValues, items: readonly TaskInputs[]): readonly NodeInputs[] {
  let problem: unknown;
  const resolved = items.map((inputs) => {
    try {
      return kept.resolve(inputs);
    } catch (error) {
      problem ??= error;
      return {};
    }
  });
  if (problem !== undefined) throw problem;
  return resolved;
}
