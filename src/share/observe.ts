/**
 * Runs examples and measures what each layer gave. The plan is run as it is, with two additions that change nothing it
 * computes: the ports between the nodes become outputs, and decode nodes hand out margins.
 */

import { type ErrorData, VlmError } from '../contracts/errors.js';
import type { CompletionValue, PortValue, TokensValue } from '../contracts/ports.js';
import type { Plan, PlanNode } from '../contracts/recipe.js';
import type { ItemRecord, RunEvent } from '../contracts/record.js';
import { canonicalJson, sha256Of } from './canonical.js';
import type { Example } from './examples.js';
import type { LockedAnswer, LockedCompletion, Measured } from './format.js';
import { measureEmbeddings, measurePixels, runLengths } from './measure.js';

const LAYERS: ReadonlySet<string> = new Set(['pixels', 'embeddings', 'tokens', 'completion']);
/** No recipe can have such an output: names begin with a letter. */
const MARK = '@';
/** Tensors of this many examples are held at once. */
const CHUNK = 8;

export interface ObserveOptions {
  readonly onEvent?: (event: RunEvent) => void;
  readonly signal?: AbortSignal;
  readonly recipeArguments?: readonly string[];
  /** Called before each group of examples. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** What an example gave, or why it gave nothing. */
export type Observed = { readonly measured: Measured } | { readonly error: ErrorData };

/** Throws the error of the first example that fails, saying which. */
export async function observe(
  plan: Plan,
  examples: readonly Example[],
  options: ObserveOptions = {},
): Promise<readonly Measured[]> {
  return (await observeEach(plan, examples, options)).map((one, i) => {
    if ('error' in one) throw VlmError.fromData(one.error).at(`example ${i + 1}`);
    return one.measured;
  });
}

/** Throws what is no example's doing. */
export async function observeEach(
  plan: Plan,
  examples: readonly Example[],
  options: ObserveOptions = {},
): Promise<readonly Observed[]> {
  const { composedRun } = await import('../compose/run.js');
  const watched = withLayers(plan);
  const observed: Observed[] = [];
  const size = Math.max(CHUNK, ...plan.nodes.map((node) => Number(node.options['batch_size'] ?? 1)));
  for (let at = 0; at < examples.length; at += size) {
    options.onProgress?.(at, examples.length);
    const { result } = await composedRun(watched, {
      items: examples.slice(at, at + size).map((example) => example.loaded),
      lock: false,
      ...(options.onEvent === undefined ? {} : { onEvent: options.onEvent }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      ...(options.recipeArguments === undefined ? {} : { recipeArguments: options.recipeArguments }),
    });
    for (const item of result.items) {
      observed.push(item.error === undefined ? { measured: measureItem(watched, item) } : { error: item.error });
    }
  }
  return observed;
}

/** The layer that a failed example did not get past. */
export function layerOfFailure(plan: Plan, { where = '' }: ErrorData): 'pixels' | 'embeddings' | 'tokens' | 'answer' {
  const [, name] = /node "([^"]+)"/.exec(where) ?? [];
  const node = plan.nodes.find((one) => one.name === name);
  const kinds = new Set(Object.values(node?.manifest.outputs ?? {}).map(({ kind }) => kind));
  if (kinds.has('pixels')) return 'pixels';
  if (kinds.has('embeddings')) return 'embeddings';
  return kinds.has('tokens') || kinds.has('completion') ? 'tokens' : 'answer';
}

function withLayers(plan: Plan): Plan {
  const outputs = plan.nodes.flatMap((node) =>
    Object.entries(node.manifest.outputs)
      .filter(([, { kind }]) => LAYERS.has(kind))
      .map(([port, { kind }]) => {
        const ref = { from: 'node', node: node.name, port } as const;
        return [`${MARK}${node.name}.${port}`, { ref, kind }] as const;
      }),
  );
  const nodes = plan.nodes.map((node) =>
    'record_margins' in node.manifest.options ? { ...node, options: { ...node.options, record_margins: true } } : node,
  );
  return { ...plan, nodes, outputs: { ...plan.outputs, ...Object.fromEntries(outputs) } };
}

function measureItem(plan: Plan, item: ItemRecord): Measured {
  const pixels: Record<string, Measured['pixels'][string]> = {};
  const embeddings: Record<string, Measured['embeddings'][string]> = {};
  const prompts: Record<string, Measured['prompts'][string]> = {};
  const completions: Record<string, LockedCompletion> = {};
  const answers: Record<string, LockedAnswer> = {};
  for (const [name, value] of Object.entries(item.outputs ?? {})) {
    if (!name.startsWith(MARK)) {
      answers[name] = answerOf(value);
      continue;
    }
    const port = name.slice(MARK.length);
    if (value.kind === 'pixels') pixels[port] = measurePixels(value);
    else if (value.kind === 'embeddings') embeddings[port] = measureEmbeddings(value);
    else if (value.kind === 'tokens') prompts[port] = { prompt: runLengths((value as TokensValue).ids) };
    else if (value.kind === 'completion') completions[port] = completionOf(value, nodeOf(plan, port));
  }
  return { pixels, embeddings, prompts, completions, answers };
}

function nodeOf(plan: Plan, port: string): PlanNode | undefined {
  return plan.nodes.find((node) => port.startsWith(`${node.name}.`));
}

/** Four decimals tell every near-tie; more would be noise in a file that people compare. */
const rounded = (value: number): number => Number(value.toFixed(4));

function completionOf(value: CompletionValue, node: PlanNode | undefined): LockedCompletion {
  const { temperature = 0, repetition_penalty: penalty = 1 } = node?.options ?? {};
  const { margins } = value;
  return {
    ids: Array.from(value.ids),
    margins: margins === undefined ? [] : Array.from(margins, rounded),
    greedy: margins !== undefined && temperature === 0 && penalty === 1,
    finish: value.finish,
  };
}

/** What an output says, without times and pictures. */
function answerOf(value: PortValue): LockedAnswer {
  const content = contentOf(value);
  const sha256 = sha256Of(canonicalJson(content));
  return 'text' in value ? { sha256, text: value.text } : { sha256 };
}

function contentOf(value: PortValue): unknown {
  switch (value.kind) {
    case 'completion':
      return { text: value.text, rawText: value.rawText, finish: value.finish };
    case 'answer':
      return { text: value.text, boxes: value.boxes, json: value.json, finish: value.finish };
    case 'text':
      return { text: value.text };
    case 'json':
      return { value: value.value };
    case 'messages':
      return { messages: value.messages };
    case 'tokens':
      return { ids: Array.from(value.ids) };
    case 'image':
      return { sha256: sha256Of(value.bytes) };
    case 'pixels':
      return { sha256: measurePixels(value)?.sha256 };
    case 'embeddings':
      // Compared as a layer, within its tolerance.
      return { dims: value.tensor?.dims };
  }
}
