/**
 * What crosses between the main thread and a worker. Plain structured-clone data only: nothing here is a class.
 *
 * Clocks: every thread reads `monotonicMs()`, the machine's monotonic clock in milliseconds, which all threads of a
 * process share (performance.now() starts anew in each thread, and wall clocks jump).
 */
import type { MessagePort } from 'node:worker_threads';
import type { DeviceConfig, ProgramRole } from '../contracts/device.js';
import type { ErrorData } from '../contracts/errors.js';
import type { ItemResult, LedgerStage } from '../contracts/node.js';
import type { PortValue } from '../contracts/ports.js';
import type { RecipeModel } from '../contracts/recipe.js';

/** Milliseconds on the clock that all threads share. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** The device program a worker owns. */
export interface ProgramRequest {
  readonly role: ProgramRole;
  readonly device: DeviceConfig;
}

/** Opens what a later node task needs, so that loading overlaps with other work. Failures are kept for that task. */
export interface WarmTask {
  readonly type: 'warm';
  readonly model: RecipeModel;
  readonly program: ProgramRequest | null;
  /** Node kinds whose modules to load; plugins are not warmed. */
  readonly kinds: readonly string[];
  readonly sentAt: number;
}

/**
 * How an input reaches a worker: as a value; as a value that the worker keeps for a later task of its own; or as the id
 * of a value that it kept (`last`: nobody will ask for it again).
 */
export type TaskInput =
  | { readonly way: 'value'; readonly value: PortValue | readonly PortValue[] }
  | { readonly way: 'keep'; readonly id: string; readonly value: PortValue }
  | { readonly way: 'kept'; readonly id: string; readonly last: boolean };
export type TaskInputs = Readonly<Record<string, TaskInput>>;

/** An output port whose value stays in the worker: an id an item, and whether somebody elsewhere reads it too. */
export interface KeepOutput {
  readonly ids: readonly string[];
  readonly send: boolean;
}

/** Where vision embeddings are kept for later items, and how much of them. */
export interface EmbeddingSettings {
  readonly memoryBytes: number;
  /** null: in memory only. */
  readonly folder: string | null;
  readonly diskBytes: number;
}

export interface NodeTask {
  readonly type: 'node';
  readonly node: string;
  readonly kind: string;
  /** Absolute path of a plugin module, when the node is one. */
  readonly plugin?: string;
  readonly stage: LedgerStage;
  readonly options: Readonly<Record<string, unknown>>;
  readonly model: RecipeModel;
  readonly program: ProgramRequest | null;
  readonly items: readonly TaskInputs[];
  /** Output ports and their kinds: what `run` must have given. */
  readonly outputs: Readonly<Record<string, string>>;
  /** Output ports whose values stay in the worker. */
  readonly keep: Readonly<Record<string, KeepOutput>>;
  /** Absent: the run keeps no vision embeddings. */
  readonly embeddings?: EmbeddingSettings;
  /** [0] becomes 1 when the run is cancelled. */
  readonly cancel: Int32Array;
  /** Streams NodeMessage; the last one is `end` and carries the reply. */
  readonly port: MessagePort;
  readonly sentAt: number;
}

/** Drops kept values that nobody will take any more. */
export interface ReleaseTask {
  readonly type: 'release';
  readonly ids: readonly string[];
  readonly sentAt: number;
}

/** Closes the sessions of a worker. */
export interface CloseTask {
  readonly type: 'close';
  readonly sentAt: number;
}

/** Frees the cores of a card for another program; the sessions of the worker stay open. */
export interface DeactivateTask {
  readonly type: 'deactivate';
  readonly sentAt: number;
}

export type WorkerTask = WarmTask | NodeTask | ReleaseTask | CloseTask | DeactivateTask;

export type NodeMessage =
  | { readonly type: 'text'; readonly item: number; readonly piece: string }
  | { readonly type: 'progress'; readonly done: number; readonly total: number; readonly unit: string }
  | { readonly type: 'notice'; readonly message: string }
  | { readonly type: 'end'; readonly reply: TaskReply };

/** A stage of a worker's time, on the shared clock. */
export interface ClockSpan {
  readonly stage: LedgerStage;
  readonly node?: string;
  readonly start: number;
  readonly end: number;
}

export interface TaskReply {
  readonly threadId: number;
  readonly spans: readonly ClockSpan[];
  /** When the worker handed the reply over. */
  readonly repliedAt: number;
  /** The worker's performance.timeOrigin (wall clock) and the same moment on the shared clock. */
  readonly timeOrigin: number;
  readonly threadOrigin: number;
  /** A program of this worker runs on something that is not the real device. */
  readonly emulated: boolean;
  /** Values that the worker keeps after this task. */
  readonly kept: number;
  /** One result an item; absent when the node failed as a whole. */
  readonly results?: readonly ItemResult[];
  readonly error?: ErrorData;
}
