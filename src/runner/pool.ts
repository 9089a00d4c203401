/**
 * Worker threads. The only file that knows piscina.
 *
 * One host pool, sized to the cores, for nodes without a program; one single-worker pool for each device program, so
 * that the session stays in one thread and its calls never overlap. No AbortSignal is ever given to piscina and no
 * pool is destroyed while a task runs: both would terminate a thread that may be inside a native call.
 */
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { FixedQueue, Piscina } from 'piscina';
import { VlmError } from '../contracts/errors.js';
import { entryUrl } from '../util/entries.js';
import { keepFreedMemory } from '../util/native-memory.js';
import { forbidOrtTelemetry } from '../util/ort-telemetry.js';
import { HOST, type LaneKey, type TaskRunner } from './lanes.js';
import { monotonicMs, type TaskReply, type WorkerTask } from './protocol.js';

export interface PoolOptions {
  /** Compiled worker entry; default: the worker beside this file. */
  readonly workerFile?: URL;
  readonly hostThreads?: number;
  /** Heap limit of each worker thread. */
  readonly workerHeapMb?: number;
  /** Environment of the workers; default: that of the process. */
  readonly env?: NodeJS.ProcessEnv;
}

type Transfer = NonNullable<NonNullable<Parameters<Piscina['run']>[1]>['transferList']>;

export class WorkerPools implements TaskRunner {
  readonly hostThreads: number;
  readonly #options: PoolOptions;
  readonly #pools = new Map<LaneKey, Piscina>();
  readonly #running = new Set<Promise<unknown>>();
  /** Device workers that no lane has asked for yet. */
  readonly #spare: Piscina[] = [];
  readonly #early: { readonly lane: LaneKey; readonly running: Promise<TaskReply | undefined> }[] = [];
  /** The host worker that loads what a first task will need. */
  #loading: Promise<unknown> | undefined;
  /** Errors of workers that had no task at the time: told by the next task that fails. */
  #strayError: unknown;

  constructor(options: PoolOptions = {}) {
    forbidOrtTelemetry();
    keepFreedMemory();
    this.#options = options;
    this.hostThreads = options.hostThreads ?? availableParallelism();
  }

  get early(): readonly { readonly lane: LaneKey; readonly running: Promise<TaskReply | undefined> }[] {
    return this.#early;
  }

  /**
   * Starts workers while the recipe is still being read: `devices` of them for whatever programs it will name, and one
   * of the host that loads these node kinds.
   */
  prepare(kinds: readonly string[], devices: number): void {
    const running = this.run(HOST, { type: 'warm', model: {}, program: null, kinds, sentAt: monotonicMs() }, []);
    // A worker that ends is told by the task that needs it.
    this.#loading = running.catch(() => undefined);
    this.#early.push({ lane: HOST, running });
    for (let i = 0; i < devices; i++) this.#spare.push(this.#create(1));
  }

  async run(lane: LaneKey, task: WorkerTask, transfer: readonly unknown[]): Promise<TaskReply | undefined> {
    if (lane === HOST && this.#loading !== undefined) {
      // The first task has a worker, which will have loaded sooner than another one could start; the next ones have not.
      const loading = this.#loading;
      this.#loading = undefined;
      await loading;
    }
    const running: Promise<TaskReply | undefined> = this.#pool(lane).run(task, {
      transferList: transfer as Transfer,
    });
    this.#running.add(running);
    try {
      return await running;
    } catch (error) {
      throw this.#died(lane, task, error);
    } finally {
      this.#running.delete(running);
    }
  }

  /**
   * Waits for what runs, lets workers close their sessions, ends the threads. Spare workers are waited for too: Node
   * ends the whole process when a thread is terminated while its modules are being linked.
   */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#running]);
    const devices = [...this.#pools.keys()].filter((lane) => lane !== HOST);
    const close = (): WorkerTask => ({ type: 'close', sentAt: monotonicMs() });
    const spare = this.#spare.splice(0);
    const closing = [...devices.map((lane) => this.run(lane, close(), [])), ...spare.map((pool) => pool.run(close()))];
    await Promise.allSettled(closing);
    const pools = [...this.#pools.values(), ...spare];
    this.#pools.clear();
    await Promise.all(pools.map((pool) => pool.destroy()));
  }

  #pool(lane: LaneKey): Piscina {
    let pool = this.#pools.get(lane);
    if (pool === undefined) {
      pool = lane === HOST ? this.#create(this.hostThreads) : (this.#spare.shift() ?? this.#create(1));
      this.#pools.set(lane, pool);
    }
    return pool;
  }

  #create(maxThreads: number): Piscina {
    const { workerFile = entryUrl('runner/worker'), workerHeapMb, env } = this.#options;
    const pool = new Piscina({
      filename: fileURLToPath(workerFile),
      minThreads: 1,
      maxThreads,
      idleTimeout: Number.POSITIVE_INFINITY,
      concurrentTasksPerWorker: 1,
      taskQueue: new FixedQueue(),
      // A worker meets its tasks in the order they were given: what a handle stands for must have come before it.
      stricterFIFO: true,
      recordTiming: false,
      ...(env === undefined ? {} : { env }),
      ...(workerHeapMb === undefined ? {} : { resourceLimits: { maxOldGenerationSizeMb: workerHeapMb } }),
    });
    pool.on('error', (error: unknown) => {
      this.#strayError = error;
    });
    return pool;
  }

  /** Handlers answer with data and never throw: whatever rejects a task is the end of its worker. */
  #died(lane: LaneKey, task: WorkerTask, error: unknown): VlmError {
    const cause = this.#strayError ?? error;
    this.#strayError = undefined;
    const outOfMemory = errorCode(error) === 'ERR_WORKER_OUT_OF_MEMORY';
    const node = task.type === 'node' ? `node "${task.node}"` : `${task.type} task`;
    return new VlmError('WORKER_DIED', {
      what: outOfMemory ? 'A worker thread ran out of memory' : 'A worker thread ended before its task was done',
      where: `${node} (${lane})`,
      hint: outOfMemory
        ? 'use smaller images, fewer tiles, a smaller batch_size or ctx_len'
        : 'a native library or a plugin ended the thread; run again with VLM_RUN_DEBUG=1 for its own message',
      cause,
    });
  }
}

function errorCode(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
}
