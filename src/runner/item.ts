/** One item on its way through the plan: its values, who still needs them, and what the record will say of it. */
import { type ErrorData, VlmError } from '../contracts/errors.js';
import type { NodeOutputs } from '../contracts/node.js';
import type { CompletionValue, ImageInfo, PortValue } from '../contracts/ports.js';
import type { Plan, PlanNode, Reference } from '../contracts/recipe.js';
import type { CompletionRecord, ItemRecord, RunMetrics } from '../contracts/record.js';
import { type Chain, chainsOf, refKey } from './chains.js';
import { holdsTensor, type KeptPorts } from './kept.js';
import { type LaneKey, laneOf } from './lanes.js';
import type { TaskInput, TaskInputs } from './protocol.js';
import { copyValue } from './values.js';

/** Values of the recipe's inputs. The executor may hand their buffers over: give it copies of what you keep. */
export type RunItem = Readonly<Record<string, PortValue | readonly PortValue[]>>;

type Value = PortValue | readonly PortValue[];

/** Reads a value, but in no worker: an output of the recipe. */
const OUTSIDE: LaneKey = 'main';

/** The lanes of each value's consumers, one entry a reference, the recipe's outputs included. */
export function consumersOf(plan: Plan): ReadonlyMap<string, readonly LaneKey[]> {
  const lanes = new Map<string, LaneKey[]>();
  const add = (ref: Reference, lane: LaneKey): void => {
    const key = refKey(ref);
    const list = lanes.get(key);
    if (list === undefined) lanes.set(key, [lane]);
    else list.push(lane);
  };
  for (const node of plan.nodes) for (const ref of Object.values(node.inputs)) add(ref, laneOf(node));
  for (const output of Object.values(plan.outputs)) add(output.ref, OUTSIDE);
  return lanes;
}

/** What turns a worker's times into times of the shared clock. */
export interface ReplyClock {
  readonly timeOrigin: number;
  readonly threadOrigin: number;
}

interface Prompt {
  readonly text: string;
  readonly ids: readonly number[];
  readonly visionTokens: number;
}

interface Completion {
  readonly value: CompletionValue;
  readonly ttftMs: number;
}

export class ItemState {
  readonly index: number;
  error: ErrorData | undefined;
  readonly #values = new Map<string, Value>();
  /** Consumers that have not taken the value yet. */
  readonly #remaining: Map<string, LaneKey[]>;
  readonly #staysIn: (lane: LaneKey) => boolean;
  readonly #startedAt: number;
  /** Ids of values that workers keep for this item, and the lanes of those workers. */
  readonly #kept = new Map<string, LaneKey>();
  /** What the record will say, by the key of the value it was seen in: values themselves go on to their consumers. */
  readonly #images = new Map<string, readonly ImageInfo[]>();
  readonly #prompts = new Map<string, Prompt>();
  readonly #embeddings = new Map<string, 'hit' | 'miss'>();
  readonly #completions = new Map<string, Completion>();

  /**
   * `staysIn`: whether a worker of that lane meets its own values again. `startedAt`: since when the item's first token
   * is waited for, on the shared clock.
   */
  constructor(
    index: number,
    inputs: RunItem,
    consumers: ReadonlyMap<string, readonly LaneKey[]>,
    staysIn: (lane: LaneKey) => boolean,
    startedAt: number,
  ) {
    this.index = index;
    this.#startedAt = startedAt;
    this.#staysIn = staysIn;
    this.#remaining = new Map(Array.from(consumers, ([key, lanes]) => [key, [...lanes]]));
    for (const [name, value] of Object.entries(inputs)) this.#values.set(`$${name}`, value);
  }

  fail(error: ErrorData): void {
    this.error ??= error;
  }

  /**
   * The inputs of a node. The last consumer of a value takes the original, earlier ones a copy; a tensor that the same
   * worker reads again goes there once, and later tasks get its id.
   */
  take(node: PlanNode): TaskInputs {
    const inputs: Record<string, TaskInput> = {};
    for (const [port, ref] of Object.entries(node.inputs)) {
      const input = this.#takeOne(refKey(ref), laneOf(node));
      if (input !== undefined) inputs[port] = input;
    }
    return inputs;
  }

  #takeOne(key: string, lane: LaneKey): TaskInput | undefined {
    const remaining = this.#remaining.get(key) ?? [];
    const at = remaining.indexOf(lane);
    if (at >= 0) remaining.splice(at, 1);
    const again = remaining.includes(lane);
    const id = keptId(this.index, key, lane);
    if (this.#kept.has(id)) {
      if (!again) this.#kept.delete(id);
      return { way: 'kept', id, last: !again };
    }
    const value = this.#values.get(key);
    if (value === undefined) return undefined;
    const keeps = again && !isList(value) && holdsTensor(value.kind) && this.#staysIn(lane);
    if (keeps) this.#kept.set(id, lane);
    // Consumers in a worker that keeps the value need none from here.
    const wanted = remaining.some((other) => !this.#kept.has(keptId(this.index, key, other)));
    if (!wanted) this.#values.delete(key);
    const given = wanted ? copyValue(value) : value;
    return keeps ? { way: 'keep', id, value: given as PortValue } : { way: 'value', value: given };
  }

  /** Output ports of a node whose values stay with its worker: the id, and whether somebody elsewhere reads it too. */
  keeps(node: PlanNode): KeptPorts {
    const lane = laneOf(node);
    const ports: Record<string, { id: string; send: boolean }> = {};
    if (!this.#staysIn(lane)) return ports;
    for (const [port, { kind }] of Object.entries(node.manifest.outputs)) {
      const key = `${node.name}.${port}`;
      const consumers = this.#remaining.get(key) ?? [];
      if (!holdsTensor(kind) || !consumers.includes(lane)) continue;
      const id = keptId(this.index, key, lane);
      this.#kept.set(id, lane);
      ports[port] = { id, send: consumers.some((other) => other !== lane) };
    }
    return ports;
  }

  /** What workers still keep for this item, a list of ids a lane; forgotten here. */
  leftBehind(): ReadonlyMap<LaneKey, readonly string[]> {
    const lanes = new Map<LaneKey, string[]>();
    for (const [id, lane] of this.#kept) lanes.set(lane, [...(lanes.get(lane) ?? []), id]);
    this.#kept.clear();
    return lanes;
  }

  /** Keeps what a node gave, as far as anybody wants it. */
  store(node: PlanNode, outputs: NodeOutputs, clock: ReplyClock): void {
    for (const [port, value] of Object.entries(outputs)) {
      const key = `${node.name}.${port}`;
      const stays = this.#kept.get(keptId(this.index, key, laneOf(node)));
      const wanted = (this.#remaining.get(key) ?? []).some((lane) => lane !== stays);
      if (wanted) this.#values.set(key, value);
      this.#note(key, value, clock);
    }
  }

  #note(key: string, value: PortValue, clock: ReplyClock): void {
    if (value.kind === 'pixels') this.#images.set(key, value.images);
    if (value.kind === 'embeddings' && value.cache !== undefined) this.#embeddings.set(key, value.cache);
    if (value.kind === 'tokens') {
      this.#prompts.set(key, { text: value.text, ids: Array.from(value.ids), visionTokens: value.visionTokens });
    }
    if (value.kind === 'completion') {
      const ttftMs = value.firstTokenAt - clock.timeOrigin + clock.threadOrigin - this.#startedAt;
      // The next consumer may take the buffer of the ids away.
      this.#completions.set(key, { value: { ...value, ids: value.ids.slice() }, ttftMs });
    }
  }

  record(plan: Plan): ItemRecord {
    const outputs: Record<string, PortValue> = {};
    for (const [name, output] of Object.entries(plan.outputs)) {
      const value = this.#values.get(refKey(output.ref));
      if (value === undefined) continue;
      outputs[name] = isList(value) ? { kind: 'json', value } : value;
    }
    const { answer, main } = chainsOf(plan);
    const shown = outputs[answer ?? ''];
    const completion = this.#completions.get(main.completion ?? '');
    const text = shown !== undefined && 'text' in shown ? shown.text : completion?.value.text;
    const embeddings = this.#embeddings.get(main.embeddings ?? '');
    const completions = this.#everyCompletion(plan);
    return {
      index: this.index,
      ok: this.error === undefined,
      ...(this.error === undefined ? {} : { error: this.error }),
      ...(this.error === undefined ? { outputs } : {}),
      images: this.#images.get(main.pixels ?? '') ?? [],
      ...this.#promptOf(main),
      ...(completion === undefined ? {} : { generatedIds: Array.from(completion.value.ids) }),
      ...(text === undefined ? {} : { text }),
      ...(completion === undefined ? {} : { metrics: this.#metrics(main, completion) }),
      ...(completions === undefined ? {} : { completions }),
      ...(embeddings === undefined ? {} : { embeddings }),
    };
  }

  /** Every completion with its own prompt, where the plan has several. */
  #everyCompletion(plan: Plan): Readonly<Record<string, CompletionRecord>> | undefined {
    const { all } = chainsOf(plan);
    if (all.length < 2) return undefined;
    const entries = all.flatMap((chain): [string, CompletionRecord][] => {
      const completion = this.#completions.get(chain.completion);
      if (completion === undefined) return [];
      const { text, ids } = completion.value;
      const record = {
        text,
        images: this.#images.get(chain.pixels ?? '') ?? [],
        ...this.#promptOf(chain),
        generatedIds: Array.from(ids),
        metrics: this.#metrics(chain, completion),
      };
      return [[chain.completion, record]];
    });
    return Object.fromEntries(entries);
  }

  #promptOf(chain: Chain): { readonly prompt?: string; readonly promptIds?: readonly number[] } {
    const prompt = this.#prompts.get(chain.tokens ?? '');
    return prompt === undefined ? {} : { prompt: prompt.text, promptIds: prompt.ids };
  }

  #metrics(chain: Chain, { value, ttftMs }: Completion): RunMetrics {
    const generated = value.ids.length;
    const rate = (tokens: number, ms: number): number => (tokens > 0 && ms > 0 ? (tokens / ms) * 1000 : 0);
    return {
      promptTokens: value.promptTokens,
      visionTokens: this.#prompts.get(chain.tokens ?? '')?.visionTokens ?? 0,
      tiles: (this.#images.get(chain.pixels ?? '') ?? []).reduce((n, image) => n + image.tiles, 0),
      generatedTokens: generated,
      finish: value.finish,
      ttftQefficientMs: value.prefillMs,
      ttftMs,
      decodeTokensPerSecond: rate(generated - 1, value.decodeMs),
      totalTokensPerSecond: rate(generated, value.prefillMs + value.decodeMs),
    };
  }
}

function keptId(item: number, key: string, lane: LaneKey): string {
  return `${item} ${key} ${lane}`;
}

function isList(value: Value): value is readonly PortValue[] {
  return Array.isArray(value);
}

export function cancelledError(): ErrorData {
  return new VlmError('CANCELLED', { what: 'The run was cancelled' }).toData();
}
