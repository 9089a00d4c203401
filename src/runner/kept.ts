/**
 * Handles: a tensor that the same worker uses again stays in that worker, and its id crosses in its place. The main
 * thread decides (it knows who reads what and where), gives the ids, and asks for the release of what nobody took.
 */
import { VlmError } from '../contracts/errors.js';
import type { NodeInputs, NodeOutputs } from '../contracts/node.js';
import type { PortValue } from '../contracts/ports.js';
import type { KeepOutput, TaskInputs } from './protocol.js';
import { copyValue } from './values.js';

/** Kinds that carry a tensor. The others are small, or read by the main thread itself. */
const TENSOR_KINDS: ReadonlySet<string> = new Set(['pixels', 'embeddings']);

export function holdsTensor(kind: string): boolean {
  return TENSOR_KINDS.has(kind);
}

/** The value without its numbers: what the main thread sees of a kept tensor (dtype and dims are true, data is empty). */
export function shellOf(value: PortValue): PortValue {
  if ((value.kind !== 'pixels' && value.kind !== 'embeddings') || value.tensor === null) return value;
  const { tensor } = value;
  return { ...value, tensor: { ...tensor, data: tensor.data.slice(0, 0) } } as PortValue;
}

/** Output ports of one item whose values stay with the worker: the id, and whether somebody elsewhere reads it too. */
export type KeptPorts = Readonly<Record<string, { readonly id: string; readonly send: boolean }>>;

/** Ids of all items of a task, a list a port. */
export function keepOutputs(items: readonly KeptPorts[]): Readonly<Record<string, KeepOutput>> {
  const ports: Record<string, { ids: string[]; send: boolean }> = {};
  for (const item of items) {
    for (const [port, { id, send }] of Object.entries(item)) {
      ports[port] = { ids: [...(ports[port]?.ids ?? []), id], send };
    }
  }
  return ports;
}

/** The kept values of one worker. */
export class KeptValues {
  readonly #values = new Map<string, PortValue>();

  get size(): number {
    return this.#values.size;
  }

  /**
   * Inputs of one item as the node gets them. The last reader takes a kept value, earlier ones get a copy, so that no
   * two nodes share memory. Works through all of them before it throws: what was to be taken is gone either way.
   */
  resolve(inputs: TaskInputs): NodeInputs {
    const resolved: Record<string, NodeInputs[string]> = {};
    let missing: string | undefined;
    for (const [port, input] of Object.entries(inputs)) {
      if (input.way === 'value') {
        resolved[port] = input.value;
      } else if (input.way === 'keep') {
        this.#values.set(input.id, input.value);
        resolved[port] = copyValue(input.value);
      } else {
        const value = this.#values.get(input.id);
        if (value === undefined) missing ??= port;
        else resolved[port] = input.last ? value : copyValue(value);
        if (input.last) this.#values.delete(input.id);
      }
    }
    if (missing !== undefined) {
      throw new VlmError('WORKER_DIED', {
        what: `The worker that kept the value of input "${missing}" ended before it was used`,
        hint: 'run again; a native library or a plugin may have ended the thread',
      });
    }
    return resolved;
  }

  /** Keeps outputs under their ids; what goes back in their place is a shell, or the value where others read it too. */
  keep(outputs: NodeOutputs, ids: Readonly<Record<string, KeepOutput>>, item: number): NodeOutputs {
    const sent: Record<string, PortValue> = { ...outputs };
    for (const [port, { ids: byItem, send }] of Object.entries(ids)) {
      const value = outputs[port];
      const id = byItem[item];
      if (value === undefined || id === undefined) continue;
      this.#values.set(id, send ? copyValue(value) : value);
      if (!send) sent[port] = shellOf(value);
    }
    return sent;
  }

  release(ids: readonly string[]): void {
    for (const id of ids) this.#values.delete(id);
  }

  clear(): void {
    this.#values.clear();
  }
}
