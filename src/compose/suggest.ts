/** Proposes the shapes to compile for a folder of images or a list of prompts. */
import { readdir, readFile } from 'node:fs/promises';
import { dirname, extname, join, resolve } from 'node:path';
import { VlmError } from '../contracts/errors.js';
import type { Plan, PlanNode } from '../contracts/recipe.js';
import { compiledShapes } from '../devices/ai100/compile/specializations.js';
import { type Load, type Shapes, suggestShapes, type Waste, wasteOf } from '../devices/ai100/planner/suggest.js';
import { type InputGiven, loadInputs } from '../runner/inputs/load.js';
import { planShapes } from '../runner/shape-plan.js';
import { planSources } from './plan.js';

export interface SuggestRequest {
  readonly sets: number;
  readonly callCost: number;
  /** Inputs of each prompt. */
  readonly items: readonly Readonly<Record<string, InputGiven>>[];
}

export interface Suggestion {
  readonly items: number;
  readonly before: { readonly shapes: Shapes; readonly waste: Waste };
  readonly after: { readonly shapes: Shapes; readonly waste: Waste };
  readonly yaml: string;
}

/** Multiples that compiled lengths are kept to. */
const STEP = 32;

export async function suggest(plan: Plan, request: SuggestRequest): Promise<Suggestion> {
  const decode = plan.nodes.find((n) => n.manifest.program === 'language');
  if (decode === undefined) {
    throw new VlmError('USAGE', {
      what: 'The recipe runs no language program, so there is nothing to propose',
      expected: 'a decode node',
    });
  }
  const sources = await planSources(plan);
  const languages = plan.nodes.filter((n) => n.manifest.program === 'language' && n.device === decode.device);
  const now = compiledShapes(plan, sources.model, languages);
  const newTokens = Math.max(...languages.map((n) => numberOf(n, 'max_new_tokens', 64)));
  const batches = now.batchSizes.length;
  // Measured without the limit of the recipe: the context is part of what is proposed.
  const open: Plan = { ...plan, nodes: plan.nodes.map(withoutLimit) };
  const loads: Load[] = [];
  for (const given of request.items) {
    const { values } = await loadInputs(open, given);
    const { prompts } = await planShapes(open, values, { ...sources, inspect: async () => null });
    loads.push(...prompts.map(({ tiles, promptTokens }) => ({ tiles, tokens: promptTokens })));
  }
  const { sets, callCost } = request;
  const shapes = suggestShapes(loads, { sets, batches, newTokens, step: STEP, callCost });
  if (shapes === null) {
    const least = (loads.some((l) => l.tiles > 0) ? 1 : 0) + 2 * batches;
    throw new VlmError('USAGE', {
      what: loads.length === 0 ? 'There is nothing to propose shapes for' : 'The shapes do not fit this few sets',
      expected: loads.length === 0 ? 'at least one image or prompt' : `--sets ${least} or more`,
      received: loads.length === 0 ? 'none' : `--sets ${sets}`,
    });
  }
  const limit = Math.max(...languages.map((n) => numberOf(n, 'prefill_seq_len', 128)));
  const before: Shapes = {
    tiles: now.tiles,
    prefill: now.prefillSeqLens.filter((n) => n <= limit),
    ctxLen: Math.max(...now.ctxLens),
  };
  return {
    items: loads.length,
    before: { shapes: before, waste: wasteOf(loads, before, newTokens, batches) },
    after: { shapes, waste: wasteOf(loads, shapes, newTokens, batches) },
    yaml: yamlOf(decode.device ?? 'main', languages, shapes),
  };
}

function numberOf(node: PlanNode, option: string, otherwise: number): number {
  const value = node.options[option];
  return typeof value === 'number' ? value : otherwise;
}

function withoutLimit(node: PlanNode): PlanNode {
  return node.manifest.program === 'language'
    ? { ...node, options: { ...node.options, ctx_len: Number.MAX_SAFE_INTEGER } }
    : node;
}

/** To be merged into a recipe, or to stand below an `extends:`. */
function yamlOf(device: string, nodes: readonly PlanNode[], { tiles, prefill, ctxLen }: Shapes): string {
  const list = (values: readonly number[]): string => `[${values.join(', ')}]`;
  return [
    'devices:',
    `  ${device}:`,
    '    shapes:',
    ...(tiles.length === 0 ? [] : [`      tiles: ${list(tiles)}`]),
    `      prefill_seq_len: ${list(prefill)}`,
    `      ctx_len: ${list([ctxLen])}`,
    'nodes:',
    ...nodes.flatMap((node) => [
      `  ${node.name}:`,
      `    with: { prefill_seq_len: ${Math.max(...prefill)}, ctx_len: ${ctxLen} }`,
    ]),
    '',
  ].join('\n');
}

const PICTURES = ['.png', '.jpg', '.jpeg', '.webp', '.gif', '.tif', '.tiff', '.bmp', '.avif'];

/** Every picture of a folder as the recipe's image input, the other inputs as given. */
export async function folderItems(
  plan: Plan,
  folder: string,
  given: Readonly<Record<string, InputGiven>>,
): Promise<readonly Readonly<Record<string, InputGiven>>[]> {
  const input = Object.values(plan.inputs).find((i) => i.type === 'image');
  if (input === undefined) {
    throw new VlmError('USAGE', {
      what: 'The recipe has no image input for --images',
      expected: 'an input of type image',
    });
  }
  const files = await readable(folder, () => readdir(folder));
  return files
    .filter((file) => PICTURES.includes(extname(file).toLowerCase()))
    .sort()
    .map((file) => ({ ...given, [input.name]: join(folder, file) }));
}

/** One JSON object a line, of input names and values; places of files start from the folder of the list. */
export async function listItems(
  plan: Plan,
  file: string,
  given: Readonly<Record<string, InputGiven>>,
): Promise<readonly Readonly<Record<string, InputGiven>>[]> {
  const text = await readable(file, () => readFile(file, 'utf8'));
  const lines = text.split('\n').map((line, i) => ({ line, where: `${file}:${i + 1}` }));
  return lines
    .filter(({ line }) => line.trim() !== '')
    .map(({ line, where }) => {
      const values = Object.entries(objectOf(line, where)).map(([name, value]) => {
        const place = plan.inputs[name]?.type !== 'text' && typeof value === 'string' && !/^[a-z]+:/i.test(value);
        return [name, place ? resolve(dirname(file), value) : value];
      });
      return { ...given, ...Object.fromEntries(values) };
    });
}

function objectOf(line: string, where: string): Readonly<Record<string, InputGiven>> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    value = null;
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as Readonly<Record<string, InputGiven>>;
  }
  throw new VlmError('OPTION_INVALID', {
    what: 'A line of the data set is no JSON object',
    expected: 'an object of input names and values, such as {"image": "cat.jpg", "prompt": "What is this?"}',
    where,
  });
}

async function readable<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    throw new VlmError('USAGE', { what: 'A place of images or prompts cannot be read', received: path, cause: error });
  }
}
