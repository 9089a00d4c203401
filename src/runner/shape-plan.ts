/**
 * The shapes of a run before any session opens: image size -> tiles -> vision tokens -> prompt tokens -> prefill chunks
 * -> the shapes of each program call -> memory. A run checks its prompts with the same `checkFit`, on what preprocess
 * made, so nothing is worked out twice.
 */
import type { ProgramDescription, ProgramRole } from '../contracts/device.js';
import { VlmError } from '../contracts/errors.js';
import type { ModelContext, NodeOutputs } from '../contracts/node.js';
import type { ImageInfo, PortValue } from '../contracts/ports.js';
import type { Plan, PlanNode, Reference } from '../contracts/recipe.js';
import { BYTES_PER_ELEMENT } from '../contracts/tensor.js';
import { preparePromptSize } from '../prompt/prepare.js';
import type { RunItem } from './item.js';

/** How one image is cut. */
export interface PlannedImage extends ImageInfo {
  readonly tileSize: readonly [number, number];
}

/** A call of a program: how often, with which shapes of its inputs (those that the plan knows). */
export interface PlannedCall {
  readonly node: string;
  readonly program: ProgramRole;
  readonly what: string;
  readonly times: number;
  readonly shapes: Readonly<Record<string, readonly number[]>>;
}

export interface PlannedProgram {
  readonly node: string;
  readonly program: ProgramRole;
  readonly device: string;
  /** Bytes, or null when the program file could not be inspected. */
  readonly weightBytes: number | null;
  readonly stateBytes: number | null;
  /** There is no program to ask: `stateBytes` is what the configuration gives for float32 caches. */
  readonly stateAssumed?: true;
}

export interface ShapePlan {
  readonly recipe: string;
  readonly model: string;
  readonly images: readonly PlannedImage[];
  readonly tiles: number;
  readonly visionTokens: number;
  readonly promptTokens: number;
  /** False when the model has no tokenizer here: `promptTokens` is then an upper bound. */
  readonly promptExact: boolean;
  readonly prompt: string;
  /** For each decode node. */
  readonly decodes: readonly PlannedDecode[];
  readonly calls: readonly PlannedCall[];
  readonly programs: readonly PlannedProgram[];
  /** Weights and retained state of all programs; null when one is unknown. */
  readonly memoryBytes: number | null;
  readonly warnings: readonly string[];
}

export interface PlannedDecode {
  readonly node: string;
  readonly ctxLen: number;
  readonly maxNewTokens: number;
  readonly batchSize: number;
  readonly prefillChunks: readonly number[];
  /** Slots left for the answer. */
  readonly roomForAnswer: number;
}

/** What planning needs beyond the recipe; injected, because the runner knows no devices and no image formats. */
export interface PlanSources {
  readonly model: ModelContext;
  readonly modelName: string;
  imageSize(
    bytes: Uint8Array,
    name: string,
    options: Readonly<Record<string, unknown>>,
  ): { width: number; height: number };
  /** null when there is no such program file or no driver to ask. */
  inspect(role: ProgramRole, device: string): Promise<ProgramDescription | null>;
}

const number = (node: PlanNode, option: string, otherwise: number): number => {
  const value = node.options[option];
  return typeof value === 'number' ? value : otherwise;
};

/** Exact-length chunks of `size`: 300 at 128 -> 128, 128, 44. */
export function prefillChunks(tokens: number, size: number): readonly number[] {
  const chunks: number[] = [];
  for (let left = tokens; left > 0; left -= size) chunks.push(Math.min(left, size));
  return chunks;
}

/** Nodes that decode what `node` gives at `port`. */
function decodesOf(plan: Plan, node: PlanNode, port: string): readonly PlanNode[] {
  return plan.nodes.filter(
    (n) =>
      n.manifest.program === 'language' &&
      Object.values(n.inputs).some((ref) => ref.from === 'node' && ref.node === node.name && ref.port === port),
  );
}

export interface PromptSize {
  readonly promptTokens: number;
  readonly images: readonly ImageInfo[];
}

/** Throws PLAN_DOES_NOT_FIT when the prompt leaves no slot for an answer. */
export function checkFit(plan: Plan, decode: PlanNode, prompt: PromptSize): PlannedDecode {
  const ctxLen = number(decode, 'ctx_len', 1024);
  const { promptTokens } = prompt;
  if (promptTokens + 1 > ctxLen) throw doesNotFit(plan, decode, ctxLen, prompt);
  return {
    node: decode.name,
    ctxLen,
    maxNewTokens: number(decode, 'max_new_tokens', 64),
    batchSize: number(decode, 'batch_size', 1),
    prefillChunks: prefillChunks(promptTokens, number(decode, 'prefill_seq_len', promptTokens)),
    roomForAnswer: ctxLen - promptTokens,
  };
}

/** What a decode node says of an answer that may be cut off; null when there is room enough. */
export function shortRoom(d: PlannedDecode): string | null {
  return d.roomForAnswer < d.maxNewTokens
    ? `node "${d.node}": the answer ends after ${d.roomForAnswer} tokens, before max_new_tokens ${d.maxNewTokens}`
    : null;
}

/** The executor's hook: looks at prompts as soon as preprocess has made them. Returns warnings. */
export function verifyFit(plan: Plan, node: PlanNode, outputs: NodeOutputs): readonly string[] {
  const warnings: string[] = [];
  const values = Object.entries(outputs);
  const images = values.flatMap(([, value]) => (value.kind === 'pixels' ? value.images : []));
  for (const [port, value] of values) {
    if (value.kind !== 'tokens') continue;
    for (const decode of decodesOf(plan, node, port)) {
      warnings.push(shortRoom(checkFit(plan, decode, { promptTokens: value.ids.length, images })) ?? '');
    }
  }
  return warnings.filter((warning) => warning !== '');
}

function doesNotFit(plan: Plan, decode: PlanNode, ctxLen: number, { promptTokens, images }: PromptSize): VlmError {
  const given = decode.given.includes('ctx_len');
  const location = decode.optionLocations['ctx_len'] ?? decode.location;
  const vision = images.reduce((n, image) => n + image.visionTokens, 0);
  const tiles = images.reduce((n, image) => n + image.tiles, 0);
  const remedies = [`ctx_len of at least ${promptTokens + 1}`];
  const wanted = promptTokens + number(decode, 'max_new_tokens', 64);
  remedies[0] += ` (${wanted} for a whole answer)`;
  const fewer = fittingTiles(images, promptTokens, ctxLen);
  if (fewer !== null) remedies.push(`max_tiles of at most ${fewer}`);
  const max = plan.nodes.flatMap((n) => n.optionLocations['max_tiles'] ?? []);
  const [maxAt] = max;
  return new VlmError('PLAN_DOES_NOT_FIT', {
    what: `The prompt does not fit ctx_len of node "${decode.name}"`,
    expected: `at most ${ctxLen - 1} prompt tokens: ctx_len is ${ctxLen}${given ? '' : ' (the default)'} and the answer needs a slot`,
    received: `${promptTokens} tokens${vision > 0 ? `, ${vision} of them for ${tiles} tiles of ${images.length} image${images.length === 1 ? '' : 's'}` : ''}`,
    where: `nodes.${decode.name}.with.ctx_len`,
    hint: `nearest values that fit: ${remedies.join(', or ')}${maxAt === undefined || fewer === null ? '' : ` (line ${maxAt.line})`}`,
    ...(location === undefined ? {} : { location }),
  });
}

/**
 * The largest max_tiles at which the prompt fits, counting a thumbnail beside several tiles; null when no number of
 * tiles helps. An estimate where a family adds separators between tiles.
 */
function fittingTiles(images: readonly ImageInfo[], promptTokens: number, ctxLen: number): number | null {
  const tiles = images.reduce((n, image) => n + image.tiles, 0);
  if (tiles === 0) return null;
  const vision = images.reduce((n, image) => n + image.visionTokens, 0);
  const perTile = vision / tiles;
  const room = Math.floor((ctxLen - 1 - (promptTokens - vision)) / perTile / images.length);
  if (room < 1) return null;
  // n tiles of one image take n + 1 with the thumbnail, a single tile takes 1.
  const cut = Math.max(1, room - 1);
  const largest = Math.max(...images.map((image) => image.tiles));
  return cut >= largest ? null : cut;
}

/** Works the whole plan out. Throws PLAN_DOES_NOT_FIT and what the family and the template throw. */
export async function planShapes(plan: Plan, item: RunItem, sources: PlanSources): Promise<ShapePlan> {
  const prompts = plan.nodes.filter((n) => Object.values(n.manifest.outputs).some((port) => port.kind === 'tokens'));
  const [source] = prompts;
  if (source === undefined) {
    throw new VlmError('OPTION_INVALID', {
      what: 'The recipe has no node that makes a prompt, so there are no shapes to plan',
      expected: 'a node with a "tokens" output, such as preprocess',
    });
  }
  const prompt = planPromptOf(source, item, sources);
  const decodes = plan.nodes
    .filter((n) => n.manifest.program === 'language')
    .map((n) => checkFit(plan, n, { promptTokens: prompt.promptTokens, images: prompt.images }));
  const programs = await planPrograms(plan, sources);
  const known = programs.every((p) => p.weightBytes !== null && p.stateBytes !== null);
  return {
    recipe: plan.name,
    model: sources.modelName,
    ...prompt,
    decodes,
    calls: [...visionCalls(plan, prompt), ...decodes.flatMap((d) => languageCalls(d, prompt, sources))],
    programs,
    memoryBytes: known ? programs.reduce((n, p) => n + (p.weightBytes ?? 0) + (p.stateBytes ?? 0), 0) : null,
    warnings: [
      ...(prompt.promptExact
        ? []
        : ['the tokenizer is not on this machine: prompt tokens are counted as at most one a byte']),
      ...decodes.flatMap((d) => shortRoom(d) ?? []),
    ],
  };
}

interface PlannedPrompt {
  readonly images: readonly PlannedImage[];
  readonly tiles: number;
  readonly visionTokens: number;
  readonly promptTokens: number;
  readonly promptExact: boolean;
  readonly prompt: string;
}

function planPromptOf(node: PlanNode, item: RunItem, { model, imageSize }: PlanSources): PlannedPrompt {
  const values = Object.values(node.inputs).flatMap((ref) => inputValues(item, ref));
  const messages = values.find((v) => v.kind === 'messages');
  const prompt = values.find((v) => v.kind === 'text');
  const own = messages?.kind === 'messages' ? messages.images : [];
  const images = [...own, ...values.flatMap((v) => (v.kind === 'image' ? [v] : []))];
  const prepared = preparePromptSize(model, {
    ...(messages?.kind === 'messages' ? { messages: messages.messages, conversationImages: own.length } : {}),
    ...(messages === undefined && prompt?.kind === 'text' ? { prompt: prompt.text } : {}),
    sizes: images.map((image) => imageSize(image.bytes, image.name, node.options)),
    options: node.options,
  });
  const planned = prepared.layouts.map((layout, place): PlannedImage => {
    const { width, height, grid, tiles, visionTokens, tileSize } = layout;
    const name = images[prepared.order[place] ?? 0]?.name ?? '';
    return { name, width, height, grid, tiles, visionTokens, tileSize: [tileSize.width, tileSize.height] };
  });
  return {
    images: planned,
    tiles: planned.reduce((n, image) => n + image.tiles, 0),
    visionTokens: prepared.prompt.visionTokens,
    promptTokens: prepared.prompt.promptTokens,
    promptExact: prepared.prompt.exact,
    prompt: prepared.prompt.text,
  };
}

function inputValues(item: RunItem, ref: Reference): readonly PortValue[] {
  const value = ref.from === 'input' ? item[ref.name] : undefined;
  if (value === undefined) return [];
  return Array.isArray(value) ? value : [value as PortValue];
}

function visionCalls(plan: Plan, prompt: PlannedPrompt): readonly PlannedCall[] {
  const [image] = prompt.images;
  if (image === undefined) return [];
  const [width, height] = image.tileSize;
  return plan.nodes
    .filter((n) => n.manifest.program === 'vision')
    .map((n) => ({
      node: n.name,
      program: 'vision',
      what: 'encode',
      times: 1,
      shapes: { pixel_values: [prompt.tiles, 3, height, width] },
    }));
}

function languageCalls(decode: PlannedDecode, prompt: PlannedPrompt, { model }: PlanSources): readonly PlannedCall[] {
  const { node, prefillChunks: chunks, batchSize } = decode;
  const vision: readonly number[] = [1, Math.max(1, prompt.visionTokens), model.family.hiddenSize];
  const sizes = new Map<number, number>();
  for (const size of chunks) sizes.set(size, (sizes.get(size) ?? 0) + 1);
  const call = (what: string, times: number, rows: number, length: number): PlannedCall => ({
    node,
    program: 'language',
    what,
    times,
    shapes: { input_ids: [rows, length], position_ids: [rows, length], vision_embeds: vision },
  });
  const steps = Math.min(decode.maxNewTokens, decode.roomForAnswer) - 1;
  return [
    ...[...sizes].map(([size, times]) => call('prefill', times, 1, size)),
    ...(steps > 0 ? [call('decode, at most', steps, batchSize, 1)] : []),
  ];
}

async function planPrograms(plan: Plan, sources: PlanSources): Promise<readonly PlannedProgram[]> {
  const nodes = plan.nodes.filter((n) => n.manifest.program !== undefined);
  return Promise.all(
    nodes.map(async (n): Promise<PlannedProgram> => {
      const program = n.manifest.program ?? 'language';
      const device = n.device ?? '';
      const description = await sources.inspect(program, device);
      const slots = program === 'language' ? number(n, 'batch_size', 1) * number(n, 'ctx_len', 1024) : 0;
      return {
        node: n.name,
        program,
        device,
        weightBytes: description === null ? null : description.weightBytes,
        ...stateOf(description, slots, sources.model.family.cacheElements),
      };
    }),
  );
}

function stateOf(
  description: ProgramDescription | null,
  slots: number,
  elements: number | undefined,
): Pick<PlannedProgram, 'stateBytes' | 'stateAssumed'> {
  if (description !== null) return { stateBytes: description.stateBytesPerToken * slots };
  if (slots === 0 || elements === undefined) return { stateBytes: null };
  return { stateBytes: elements * BYTES_PER_ELEMENT.float32 * slots, stateAssumed: true };
}
