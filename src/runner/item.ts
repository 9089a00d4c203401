/** One item on its way through the plan: its values, who still needs them, and what the record will say of it. */
import { type ErrorData, VlmError } from '../contracts/errors.js';
import type { NodeInputs, NodeOutputs } from '../contracts/node.js';
import type { CompletionValue, ImageInfo, PortValue } from '../contracts/ports.js';
import type { Plan, PlanNode, Reference } from '../contracts/recipe.js';
import type { ItemRecord, RunMetrics } from '../contracts/record.js';
import { copyValue } from './values.js';

/** Values of the recipe's inputs. The executor may hand their buffers over: give it copies of what you keep. */
export type RunItem = Readonly<Record<string, PortValue | readonly PortValue[]>>;

type Value = PortValue | readonly PortValue[];

export function refKey(ref: Reference): string {
  return ref.from === 'input' ? `$${ref.name}` : `${ref.node}.${ref.port}`;
}

/** How many consumers each value has, the recipe's outputs included. */
export function countConsumers(plan: Plan): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  const add = (ref: Reference): void => {
    counts.set(refKey(ref), (counts.get(refKey(ref)) ?? 0) + 1);
  };
  for (const node of plan.nodes) for (const ref of Object.values(node.inputs)) add(ref);
  for (const output of Object.values(plan.outputs)) add(output.ref);
  return counts;
}

/** What turns a worker's times into times of the run. */
export interface ReplyClock {
  readonly timeOrigin: number;
  readonly threadOrigin: number;
  readonly runOrigin: number;
}

export class ItemState {
  readonly index: number;
  error: ErrorData | undefined;
  readonly #values = new Map<string, Value>();
  readonly #remaining: Map<string, number>;
  #images: readonly ImageInfo[] = [];
  #prompt: { readonly text: string; readonly ids: readonly number[]; readonly visionTokens: number } | undefined;
  #completion: { readonly order: number; readonly value: CompletionValue; readonly ttftMs: number } | undefined;

  constructor(index: number, inputs: RunItem, consumers: ReadonlyMap<string, number>) {
    this.index = index;
    this.#remaining = new Map(consumers);
    for (const [name, value] of Object.entries(inputs)) this.#values.set(`$${name}`, value);
  }

  fail(error: ErrorData): void {
    this.error ??= error;
  }

  /** The inputs of a node; the last consumer of a value takes the original, earlier ones a copy. */
  take(node: PlanNode): NodeInputs {
    const inputs: Record<string, Value> = {};
    for (const [port, ref] of Object.entries(node.inputs)) {
      const key = refKey(ref);
      const value = this.#values.get(key);
      if (value === undefined) continue;
      const remaining = (this.#remaining.get(key) ?? 1) - 1;
      this.#remaining.set(key, remaining);
      if (remaining > 0) {
        inputs[port] = copyValue(value);
      } else {
        inputs[port] = value;
        this.#values.delete(key);
      }
    }
    return inputs;
  }

  /** Keeps what a node gave, as far as anybody wants it. `order`: the node's place in the plan. */
  store(node: PlanNode, order: number, outputs: NodeOutputs, clock: ReplyClock): void {
    for (const [port, value] of Object.entries(outputs)) {
      const key = `${node.name}.${port}`;
      if ((this.#remaining.get(key) ?? 0) > 0) this.#values.set(key, value);
      this.#note(order, value, clock);
    }
  }

  #note(order: number, value: PortValue, clock: ReplyClock): void {
    if (value.kind === 'pixels') this.#images = value.images;
    if (value.kind === 'tokens') {
      this.#prompt = { text: value.text, ids: Array.from(value.ids), visionTokens: value.visionTokens };
    }
    if (value.kind === 'completion' && order >= (this.#completion?.order ?? 0)) {
      const ttftMs = value.firstTokenAt - clock.timeOrigin + clock.threadOrigin - clock.runOrigin;
      // The next consumer may take the buffer of the ids away.
      this.#completion = { order, value: { ...value, ids: value.ids.slice() }, ttftMs };
    }
  }

  record(plan: Plan): ItemRecord {
    const outputs: Record<string, PortValue> = {};
    for (const [name, output] of Object.entries(plan.outputs)) {
      const value = this.#values.get(refKey(output.ref));
      if (value === undefined) continue;
      outputs[name] = isList(value) ? { kind: 'json', value } : value;
    }
    const metrics = this.#metrics();
    const answer = Object.values(outputs).flatMap((o) => ('text' in o ? [o.text] : []));
    const text = answer[0] ?? this.#completion?.value.text;
    return {
      index: this.index,
      ok: this.error === undefined,
      ...(this.error === undefined ? {} : { error: this.error }),
      ...(this.error === undefined ? { outputs } : {}),
      images: this.#images,
      ...(this.#prompt === undefined ? {} : { prompt: this.#prompt.text, promptIds: this.#prompt.ids }),
      ...(this.#completion === undefined ? {} : { generatedIds: Array.from(this.#completion.value.ids) }),
      ...(text === undefined ? {} : { text }),
      ...(metrics === undefined ? {} : { metrics }),
    };
  }

  #metrics(): RunMetrics | undefined {
    if (this.#completion === undefined) return undefined;
    const { value, ttftMs } = this.#completion;
    const generated = value.ids.length;
    const rate = (tokens: number, ms: number): number => (tokens > 0 && ms > 0 ? (tokens / ms) * 1000 : 0);
    return {
      promptTokens: value.promptTokens,
      visionTokens: this.#prompt?.visionTokens ?? 0,
      tiles: this.#images.reduce((n, image) => n + image.tiles, 0),
      generatedTokens: generated,
      finish: value.finish,
      ttftQefficientMs: value.prefillMs,
      ttftMs,
      decodeTokensPerSecond: rate(generated - 1, value.decodeMs),
      totalTokensPerSecond: rate(generated, value.prefillMs + value.decodeMs),
    };
  }
}

function isList(value: Value): value is readonly PortValue[] {
  return Array.isArray(value);
}

export function cancelledError(): ErrorData {
  return new VlmError('CANCELLED', { what: 'The run was cancelled' }).toData();
}
