/**
 * Whether a prompt fits the context of the nodes that decode it, and which values would make it fit. Planning and
 * running ask the same: planning before anything opens, running with what preprocess has made.
 */
import { VlmError } from '../contracts/errors.js';
import type { ImageLayout } from '../contracts/family.js';
import type { ModelContext, NodeOutputs } from '../contracts/node.js';
import type { ImageInfo } from '../contracts/ports.js';
import type { Plan, PlanNode } from '../contracts/recipe.js';
import { geometryOptions } from '../prompt/prepare.js';
import { chunkLengths, type PromptIds } from '../util/prefill-chunks.js';

export interface SizedPrompt extends PromptIds {
  readonly images: readonly ImageInfo[];
}

export interface PlannedDecode {
  readonly node: string;
  readonly ctxLen: number;
  /** Positions of the model, where they are fewer than `ctxLen`: the answer ends there. */
  readonly positions?: number;
  readonly maxNewTokens: number;
  readonly batchSize: number;
  readonly prefillChunks: readonly number[];
  /** Slots left for the answer. */
  readonly roomForAnswer: number;
}

/** The node that made a prompt, and its model: with them, values that fit are tried and not guessed. */
export interface PromptMaker {
  readonly node: PlanNode;
  readonly model: Pick<ModelContext, 'family' | 'text'>;
}

export function numberOf(node: PlanNode, option: string, otherwise: number): number {
  const value = node.options[option];
  return typeof value === 'number' ? value : otherwise;
}

/**
 * Throws PLAN_DOES_NOT_FIT when the prompt leaves no slot for an answer, or no position of the model, and when the node
 * does not get the pictures of its prompt. `positions`: those of the model where no maker tells them.
 */
export function checkFit(
  decode: PlanNode,
  prompt: SizedPrompt,
  maker?: PromptMaker,
  positions = maker?.model.family.maxPositions ?? Number.POSITIVE_INFINITY,
): PlannedDecode {
  const ctxLen = numberOf(decode, 'ctx_len', 1024);
  const slots = Math.min(ctxLen, positions);
  const promptTokens = prompt.ids.length;
  if (visionOf(prompt) > 0 && isBlind(decode)) throw seesNothing(decode, prompt);
  if (promptTokens + 1 > slots) throw doesNotFit(decode, { ctxLen, positions }, prompt, maker);
  return {
    node: decode.name,
    ctxLen,
    ...(slots < ctxLen ? { positions } : {}),
    maxNewTokens: numberOf(decode, 'max_new_tokens', 64),
    batchSize: numberOf(decode, 'batch_size', 1),
    prefillChunks: chunkLengths(prompt, numberOf(decode, 'prefill_seq_len', promptTokens)),
    roomForAnswer: slots - promptTokens,
  };
}

/** Most tokens of an answer: its last one needs no slot. */
export function longestAnswer(d: PlannedDecode): number {
  return Math.min(d.maxNewTokens, d.roomForAnswer + 1);
}

/** What a decode node says of an answer that may be cut off; null when there is room enough. */
export function shortRoom(d: PlannedDecode): string | null {
  const most = longestAnswer(d);
  return most < d.maxNewTokens
    ? `node "${d.node}": the answer ends after ${most} tokens, before max_new_tokens ${d.maxNewTokens}`
    : null;
}

/** Nodes that decode what `node` gives at `port`. */
function decodesOf(plan: Plan, node: PlanNode, port: string): readonly PlanNode[] {
  return plan.nodes.filter(
    (n) =>
      n.manifest.program === 'language' &&
      Object.values(n.inputs).some((ref) => ref.from === 'node' && ref.node === node.name && ref.port === port),
  );
}

/** The executor's hook: looks at prompts as soon as preprocess has made them. Returns warnings. */
export function verifyFit(
  plan: Plan,
  node: PlanNode,
  outputs: NodeOutputs,
  model?: PromptMaker['model'],
  positions = model?.family.maxPositions,
): readonly string[] {
  const warnings: string[] = [];
  const values = Object.entries(outputs);
  const images = values.flatMap(([, value]) => (value.kind === 'pixels' ? value.images : []));
  const maker = model === undefined ? undefined : { node, model };
  for (const [port, value] of values) {
    if (value.kind !== 'tokens') continue;
    for (const decode of decodesOf(plan, node, port)) {
      warnings.push(shortRoom(checkFit(decode, { ...value, images }, maker, positions)) ?? '');
    }
  }
  return warnings.filter((warning) => warning !== '');
}

const visionOf = ({ images }: SizedPrompt): number => images.reduce((n, image) => n + image.visionTokens, 0);

/** Whether a node could be given vision embeddings, and is not. */
function isBlind({ manifest, inputs }: PlanNode): boolean {
  const ports = Object.entries(manifest.inputs).filter(([, { kind }]) => [kind].flat().includes('embeddings'));
  return ports.length > 0 && ports.every(([port]) => inputs[port] === undefined);
}

function seesNothing(decode: PlanNode, prompt: SizedPrompt): VlmError {
  const { length } = prompt.images;
  return new VlmError('PLAN_DOES_NOT_FIT', {
    what: `The prompt of node "${decode.name}" shows ${length === 1 ? 'an image' : `${length} images`}, and the node gets no vision embeddings`,
    expected: `embeddings for ${visionOf(prompt)} image tokens`,
    received: 'none',
    where: `nodes.${decode.name}.inputs`,
    hint: 'connect them, such as `vision: $encode.embeddings`, or leave the images out of the prompt',
    ...(decode.location === undefined ? {} : { location: decode.location }),
  });
}

interface Limits {
  readonly ctxLen: number;
  /** Of the model; Infinity when they are not known. */
  readonly positions: number;
}

function doesNotFit(decode: PlanNode, limits: Limits, prompt: SizedPrompt, maker?: PromptMaker): VlmError {
  const { ids, images } = prompt;
  const { ctxLen, positions } = limits;
  const given = decode.given.includes('ctx_len');
  const location = decode.optionLocations['ctx_len'] ?? decode.location;
  const vision = visionOf(prompt);
  const tiles = images.reduce((n, image) => n + image.tiles, 0);
  const [what, limit] =
    positions < ctxLen
      ? [
          `The prompt of node "${decode.name}" is longer than the model can take`,
          `the model knows ${positions} positions`,
        ]
      : [
          `The prompt does not fit ctx_len of node "${decode.name}"`,
          `ctx_len is ${ctxLen}${given ? '' : ' (the default)'}`,
        ];
  return new VlmError('PLAN_DOES_NOT_FIT', {
    what,
    expected: `at most ${Math.min(ctxLen, positions) - 1} prompt tokens: ${limit} and the answer needs ${positions < ctxLen ? 'one' : 'a slot'}`,
    received: `${ids.length} tokens${vision > 0 ? `, ${vision} of them for ${tiles} tiles of ${images.length} image${images.length === 1 ? '' : 's'}` : ''}`,
    where: `nodes.${decode.name}.with.ctx_len`,
    hint: remedies(decode, limits, prompt, maker),
    ...(location === undefined ? {} : { location }),
  });
}

function remedies(decode: PlanNode, limits: Limits, prompt: SizedPrompt, maker?: PromptMaker): string {
  const promptTokens = prompt.ids.length;
  const { ctxLen, positions: most } = limits;
  const whole = promptTokens + numberOf(decode, 'max_new_tokens', 64);
  const found: string[] = [];
  if (promptTokens < most) {
    found.push(`ctx_len of at least ${promptTokens + 1}${whole <= most ? ` (${whole} for a whole answer)` : ''}`);
  }
  const tiles = maker === undefined ? null : fittingTiles(maker, prompt, Math.min(ctxLen, most) - 1);
  if (maker !== undefined && tiles !== null) found.push(`max_tiles of at most ${tiles}${placeOf(maker.node)}`);
  if (found.length > 0) return `nearest values that fit: ${found.join(', or ')}`;
  return `the model itself takes at most ${most} tokens: give fewer images or a shorter prompt`;
}

function placeOf(node: PlanNode): string {
  const at = node.optionLocations['max_tiles'];
  // What --set gave stands on no line of the recipe.
  return at === undefined || at.file.startsWith('--') ? ` for node "${node.name}"` : ` (line ${at.line})`;
}

/** The largest max_tiles at which the prompt has at most `limit` tokens, found by trying; null when there is none. */
function fittingTiles({ node, model }: PromptMaker, { ids, images }: SizedPrompt, limit: number): number | null {
  if (images.length === 0 || node.manifest.options['max_tiles'] === undefined) return null;
  const geometry = geometryOptions(node.options);
  const words = ids.length - images.reduce((n, image) => n + tokensOf(model, image), 0);
  const largest = Math.max(...images.map(({ grid: [columns, rows] }) => columns * rows));
  for (let most = largest - 1; most >= 1; most--) {
    const layouts = images.flatMap(
      ({ width, height }) => layoutAt(model, width, height, { ...geometry, max_tiles: most }) ?? [],
    );
    // The family, or the recipe's own min_tiles, allows no fewer.
    if (layouts.length < images.length) return null;
    if (words + layouts.reduce((n, layout) => n + tokensOf(model, layout), 0) <= limit) return most;
  }
  return null;
}

function layoutAt(
  { family }: PromptMaker['model'],
  width: number,
  height: number,
  options: ReturnType<typeof geometryOptions>,
): ImageLayout | null {
  try {
    return family.layout(width, height, options);
  } catch (error) {
    if (error instanceof VlmError) return null;
    throw error;
  }
}

/** Tokens that an image takes in a prompt, separators included; without a tokenizer at most so many. */
function tokensOf({ family, text }: PromptMaker['model'], image: ImageLayout | ImageInfo): number {
  const expanded = family.expandImage(image);
  try {
    return text.encode(expanded, { addSpecialTokens: false }).length;
  } catch (error) {
    if (!(error instanceof VlmError) || error.code !== 'MODEL_MISSING') throw error;
    return image.visionTokens + new TextEncoder().encode(expanded.replaceAll(family.imageToken, '')).length;
  }
}
