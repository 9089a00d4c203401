/**
 * The shapes of a run before any session opens: image size -> tiles -> vision tokens -> prompt tokens -> prefill chunks
 * -> the shapes of each program call -> memory. A run checks its prompts with the same `checkFit` (fit.ts), on what
 * preprocess made, so nothing is worked out twice. What only a run can know is said, and left out.
 */
import type { ProgramDescription, ProgramRole } from '../contracts/device.js';
import { VlmError } from '../contracts/errors.js';
import type { ModelContext } from '../contracts/node.js';
import type { ImageInfo, PortValue } from '../contracts/ports.js';
import type { Plan, PlanNode, Reference } from '../contracts/recipe.js';
import { BYTES_PER_ELEMENT } from '../contracts/tensor.js';
import { preparePromptSize } from '../prompt/prepare.js';
import type { PromptIds } from '../util/prefill-chunks.js';
import { checkFit, longestAnswer, numberOf, type PlannedDecode, shortRoom } from './fit.js';
import type { RunItem } from './item.js';
import { laneOf } from './lanes.js';
import { mayShowPictures } from './pictures.js';

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

/** A program in its worker: nodes of one device share it, and take turns. */
export interface PlannedProgram {
  /** The first of them. */
  readonly node: string;
  readonly nodes: readonly string[];
  readonly program: ProgramRole;
  readonly device: string;
  /** Bytes, or null when the program file could not be inspected. */
  readonly weightBytes: number | null;
  /** Of a full batch of the node that needs most. */
  readonly stateBytes: number | null;
  /** There is no program to ask: `stateBytes` is what the configuration gives for float32 caches. */
  readonly stateAssumed?: true;
}

/** A prompt as one node makes it. */
export interface PlannedPrompt {
  readonly node: string;
  readonly images: readonly PlannedImage[];
  readonly tiles: number;
  readonly visionTokens: number;
  readonly promptTokens: number;
  /** False when the model has no tokenizer here: `promptTokens` is then an upper bound. */
  readonly promptExact: boolean;
  readonly prompt: string;
}

export interface ShapePlan extends Omit<PlannedPrompt, 'node'> {
  readonly recipe: string;
  readonly model: string;
  /** All that can be planned; the fields beside are those of the first one. */
  readonly prompts: readonly PlannedPrompt[];
  /** For each decode node whose prompt is planned. */
  readonly decodes: readonly PlannedDecode[];
  readonly calls: readonly PlannedCall[];
  /** Those that the item opens: for a prompt of text alone not the vision program. */
  readonly programs: readonly PlannedProgram[];
  /** Weights and retained state of all programs; null when one is unknown. */
  readonly memoryBytes: number | null;
  readonly warnings: readonly string[];
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

/** Works the whole plan out. Throws PLAN_DOES_NOT_FIT and what the family and the template throw. */
export async function planShapes(plan: Plan, item: RunItem, sources: PlanSources): Promise<ShapePlan> {
  const makers = plan.nodes.filter((n) => Object.values(n.manifest.outputs).some((port) => port.kind === 'tokens'));
  if (makers.length === 0) {
    throw new VlmError('OPTION_INVALID', {
      what: 'The recipe has no node that makes a prompt, so there are no shapes to plan',
      expected: 'a node with a "tokens" output, such as preprocess',
    });
  }
  const unknown = makers.flatMap((node) => whyUnknown(node) ?? []);
  const sized = makers.filter((node) => whyUnknown(node) === null).map((node) => planPromptOf(node, item, sources));
  const prompts = sized.map(({ planned }) => planned);
  const devices = plan.nodes.filter((n) => n.manifest.program !== undefined);
  const fed = devices.flatMap((node) => {
    const prompt = promptOf(prompts, node);
    return prompt === undefined ? [] : [{ node, prompt }];
  });
  const decodes = fed
    .filter(({ node }) => node.manifest.program === 'language')
    .map(({ node, prompt }) => {
      const maker = makers.find((n) => n.name === prompt.node);
      const ids = sized.find(({ planned }) => planned === prompt)?.ids ?? NO_IDS;
      return checkFit(
        node,
        { ...ids, images: prompt.images },
        maker === undefined ? undefined : { node: maker, model: sources.model },
      );
    });
  const opened = devices.filter((node) => mayShowPictures(plan, node, [item]));
  const programs = await planPrograms(opened, sources);
  const known = programs.every((p) => p.weightBytes !== null && p.stateBytes !== null);
  const { node: _, ...first } = prompts[0] ?? NO_PROMPT;
  return {
    recipe: plan.name,
    model: sources.modelName,
    ...first,
    prompts,
    decodes,
    calls: [
      ...fed.flatMap(({ node, prompt }) => visionCalls(node, prompt)),
      ...fed.flatMap(({ node, prompt }) => languageCalls(decodes, node, prompt, sources)),
    ],
    programs,
    memoryBytes: known ? programs.reduce((n, p) => n + (p.weightBytes ?? 0) + (p.stateBytes ?? 0), 0) : null,
    warnings: [
      ...unknown,
      ...devices
        .filter((node) => prompts.length > 0 && promptOf(prompts, node) === undefined)
        .map((node) => `calls of node "${node.name}" are not planned: what it gets is known only when it runs`),
      ...(prompts.every((prompt) => prompt.promptExact)
        ? []
        : ['the tokenizer is not on this machine: prompt tokens are counted as at most one a byte']),
      ...decodes.flatMap((d) => shortRoom(d) ?? []),
    ],
  };
}

const NO_IDS: PromptIds = { ids: new Int32Array(), imageTokenId: -1 };
const NO_PROMPT: PlannedPrompt = {
  node: '',
  images: [],
  tiles: 0,
  visionTokens: 0,
  promptTokens: 0,
  promptExact: true,
  prompt: '',
};

/** A prompt is planned from what the recipe is given: whatever another node makes of it comes with the run. */
function whyUnknown(node: PlanNode): string | null {
  const made = Object.values(node.inputs).find((ref) => ref.from === 'node');
  if (made?.from === 'node') {
    return `the prompt of node "${node.name}" is not planned: what $${made.node}.${made.port} gives is known only when it runs`;
  }
  return node.plugin === undefined
    ? null
    : `the prompt of node "${node.name}" is not planned: it is made by a module of the recipe's own`;
}

/** The prompt whose tokens or pixels a program's node reads as they were made. */
export function promptOf(prompts: readonly PlannedPrompt[], node: PlanNode): PlannedPrompt | undefined {
  const wanted = node.manifest.program === 'vision' ? 'pixels' : 'tokens';
  const ports = Object.entries(node.manifest.inputs).filter(([, { kind }]) => [kind].flat().includes(wanted));
  for (const [port] of ports) {
    const ref = node.inputs[port];
    if (ref?.from === 'node') return prompts.find((prompt) => prompt.node === ref.node);
  }
  return undefined;
}

interface SizedPrompt {
  readonly planned: PlannedPrompt;
  readonly ids: PromptIds;
}

function planPromptOf(node: PlanNode, item: RunItem, { model, imageSize }: PlanSources): SizedPrompt {
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
  const layouts = prepared.layouts.map((layout, place): PlannedImage => {
    const { width, height, grid, tiles, visionTokens, tileSize } = layout;
    const name = images[prepared.order[place] ?? 0]?.name ?? '';
    return { name, width, height, grid, tiles, visionTokens, tileSize: [tileSize.width, tileSize.height] };
  });
  const { ids, imageTokenId, visionTokens, exact, text } = prepared.prompt;
  const planned: PlannedPrompt = {
    node: node.name,
    images: layouts,
    tiles: layouts.reduce((n, image) => n + image.tiles, 0),
    visionTokens,
    promptTokens: ids.length,
    promptExact: exact,
    prompt: text,
  };
  return { planned, ids: { ids, imageTokenId } };
}

function inputValues(item: RunItem, ref: Reference): readonly PortValue[] {
  const value = ref.from === 'input' ? item[ref.name] : undefined;
  if (value === undefined) return [];
  return Array.isArray(value) ? value : [value as PortValue];
}

function visionCalls(node: PlanNode, prompt: PlannedPrompt): readonly PlannedCall[] {
  const [image] = prompt.images;
  if (node.manifest.program !== 'vision' || image === undefined) return [];
  const [width, height] = image.tileSize;
  const shapes = { pixel_values: [prompt.tiles, 3, height, width] };
  return [{ node: node.name, program: 'vision', what: 'encode', times: 1, shapes }];
}

function languageCalls(
  decodes: readonly PlannedDecode[],
  { name }: PlanNode,
  prompt: PlannedPrompt,
  { model }: PlanSources,
): readonly PlannedCall[] {
  const decode = decodes.find((d) => d.node === name);
  if (decode === undefined) return [];
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
  const steps = longestAnswer(decode) - 1;
  return [
    ...[...sizes].map(([size, times]) => call('prefill', times, 1, size)),
    ...(steps > 0 ? [call('decode, at most', steps, batchSize, 1)] : []),
  ];
}

/** One worker opens a program once, and has the cache of one node at a time. */
async function planPrograms(nodes: readonly PlanNode[], sources: PlanSources): Promise<readonly PlannedProgram[]> {
  const lanes = new Map<string, [PlanNode, ...PlanNode[]]>();
  for (const node of nodes) {
    const lane = lanes.get(laneOf(node));
    if (lane === undefined) lanes.set(laneOf(node), [node]);
    else lane.push(node);
  }
  return Promise.all(
    [...lanes.values()].map(async (own): Promise<PlannedProgram> => {
      const [first] = own;
      const program = first.manifest.program ?? 'language';
      const device = first.device ?? '';
      const description = await sources.inspect(program, device);
      const slots = own.map((n) =>
        program === 'language' ? numberOf(n, 'batch_size', 1) * numberOf(n, 'ctx_len', 1024) : 0,
      );
      return {
        node: first.name,
        nodes: own.map((n) => n.name),
        program,
        device,
        weightBytes: description === null ? null : description.weightBytes,
        ...stateOf(description, Math.max(...slots), sources.model.family.cacheElements),
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
