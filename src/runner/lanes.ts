/** Lanes: where tasks run. The host pool, or the one worker that owns a device program. */
import { VlmError } from '../contracts/errors.js';
import type { Plan, PlanNode } from '../contracts/recipe.js';
import type { ProgramRequest, TaskReply, WorkerTask } from './protocol.js';

/** `host`, or the name of a device program's lane. */
export type LaneKey = string;
export const HOST: LaneKey = 'host';

/** What the executor needs of the pools. */
export interface TaskRunner {
  readonly hostThreads: number;
  /** Whether a lane's worker may be closed between two tasks of one run: nothing can be kept in it. */
  forgets?(lane: LaneKey): boolean;
  /** Work that workers began before there was a plan: its times belong to the ledger. */
  readonly early?: readonly { readonly lane: LaneKey; readonly running: Promise<TaskReply | undefined> }[];
  /** Resolves with what the worker's handler returned; rejects with WORKER_DIED when the worker is gone. */
  run(lane: LaneKey, task: WorkerTask, transfer: readonly unknown[]): Promise<TaskReply | undefined>;
}

/** The lane of a node: the host pool, or the worker that owns the program. */
export function laneOf(node: PlanNode): LaneKey {
  return node.manifest.program === undefined || node.device === null ? HOST : `${node.device} ${node.manifest.program}`;
}

/** Whether all tasks of a lane run in one thread, in the order they were submitted: only there do handles hold. */
export function isOneWorker(lane: LaneKey, hostThreads: number): boolean {
  return lane !== HOST || hostThreads === 1;
}

export function programOf(plan: Plan, node: PlanNode): ProgramRequest | null {
  const { program } = node.manifest;
  if (program === undefined) return null;
  const device = node.device === null ? undefined : plan.devices[node.device];
  if (device === undefined) {
    throw new VlmError('DEVICE_UNKNOWN', {
      what: `Node "${node.name}" runs a program and names no device of the recipe`,
      where: `nodes.${node.name}.device`,
      ...(node.location === undefined ? {} : { location: node.location }),
    });
  }
  return { role: program, device };
}
