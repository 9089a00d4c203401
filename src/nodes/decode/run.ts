/** decode: tokens [prompt_len] + vision embeddings [rows, hidden] -> text, through the model's language program. */
import { VlmError } from '../../contracts/errors.js';
import type { ItemResult, ModelContext, NodeContext, NodeInputs } from '../../contracts/node.js';
import type { CompletionValue, EmbeddingsValue, TokensValue } from '../../contracts/ports.js';
import {
  checkRequest,
  type GenerationHooks,
  type GenerationRequest,
  type GenerationResult,
  generate,
} from '../../generation/index.js';
import { type DecodeOptions, decodeOptions, generationOptions } from './options.js';

/** Progress is told at most this often: every message wakes the main thread. */
const PROGRESS_MS = 100;

interface Work {
  readonly index: number;
  readonly request: GenerationRequest;
}

export async function run(items: readonly NodeInputs[], context: NodeContext): Promise<readonly ItemResult[]> {
  const [model, session] = await Promise.all([context.model(), context.program()]);
  const options = decodeOptions(context.options);
  const generation = generationOptions(options, model);
  const program = session.describe();
  const results: (ItemResult | undefined)[] = items.map(() => undefined);
  const work: Work[] = [];
  for (const [index, item] of items.entries()) {
    const request = requestOf(item);
    const problem = checkRequest(request, program, generation);
    if (problem === null) work.push({ index, request });
    else results[index] = { ok: false, error: problem.toData() };
  }
  const progress = progressOf(context, work.length * options.maxNewTokens);
  for (let at = 0; at < work.length; at += options.batchSize) {
    const group = work.slice(at, at + options.batchSize);
    const completions = await decodeGroup(group, model, options, context, progress);
    for (const [i, { index }] of group.entries()) {
      const completion = completions[i];
      if (completion !== undefined) results[index] = { ok: true, outputs: { text: completion } };
    }
  }
  return results.map((r) => r ?? { ok: false, error: unanswered().toData() });
}

function unanswered(): VlmError {
  return new VlmError('INTERNAL', { what: 'An item got no answer' });
}

function requestOf(item: NodeInputs): GenerationRequest {
  const tokens = item.tokens as TokensValue | undefined;
  const vision = item.vision as EmbeddingsValue | undefined;
  if (tokens?.kind !== 'tokens') {
    throw new VlmError('INTERNAL', { what: 'decode was run without tokens', expected: 'a value of kind tokens' });
  }
  return { ids: tokens.ids, imageTokenId: tokens.imageTokenId, vision: vision?.tensor ?? null };
}

/** Prompts of one group share the program's calls; each answer is what it would be alone. */
async function decodeGroup(
  group: readonly Work[],
  model: ModelContext,
  options: DecodeOptions,
  context: NodeContext,
  progress: () => void,
): Promise<readonly CompletionValue[]> {
  const session = await context.program();
  const started = performance.now();
  let prefilled: number | null = null;
  const hooks: GenerationHooks = {
    onToken: progress,
    onText: (row, piece) => context.emitText(group[row]?.index ?? 0, piece),
    checkCancelled: () => context.checkCancelled(),
    onPrefilled: () => {
      prefilled = performance.now();
      context.span('prefill', started, prefilled);
    },
  };
  try {
    const requests = group.map((w) => w.request);
    const results = await generate(session, requests, generationOptions(options, model), hooks);
    return results.map((r, i) => completionOf(r, requests[i]?.ids.length ?? 0));
  } finally {
    if (prefilled === null) context.span('prefill', started);
    else context.span('decode', prefilled);
  }
}

function completionOf(result: GenerationResult, promptTokens: number): CompletionValue {
  const { text, rawText, ids, finish, prefillMs, decodeMs, prefillChunks, margins } = result;
  return {
    kind: 'completion',
    text,
    rawText,
    ids,
    finish,
    promptTokens,
    prefillMs,
    decodeMs,
    firstTokenAt: performance.timeOrigin + result.firstTokenAt,
    prefillChunks,
    ...(margins === undefined ? {} : { margins }),
  };
}

function progressOf(context: NodeContext, total: number): () => void {
  let done = 0;
  let told = performance.now();
  return () => {
    done++;
    const now = performance.now();
    if (now - told < PROGRESS_MS) return;
    told = now;
    context.progress(done, total, 'tokens');
  };
}
