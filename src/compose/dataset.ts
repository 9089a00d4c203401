/** A dataset from the command line to result rows: sources, store, child process. */
import { createHash } from 'node:crypto';
import { resolve } from 'node:path';
import { VlmError } from '../contracts/errors.js';
import type { Plan } from '../contracts/recipe.js';
import type { StartMessage } from '../dataset/protocol.js';
import { type DatasetItem, datasetItems, type SourceOptions } from '../dataset/source.js';
import { type ResultRow, ResultStore, type StoreIdentity } from '../dataset/store.js';
import { type SuperviseResult, supervise } from '../dataset/supervise.js';
import { cacheFolder } from '../devices/ai100/compile/cache.js';
import type { InputGiven } from '../runner/inputs/load.js';
import type { EmbeddingSettings } from '../runner/protocol.js';
import { versions } from './run.js';

export interface DatasetRequest {
  readonly plan: Plan;
  readonly sources: readonly string[];
  /** Input that pictures of the dataset are given to; default: the recipe's only input of type image. */
  readonly imageInput?: string;
  readonly given: Readonly<Record<string, InputGiven>>;
  readonly recipe: StartMessage['options'];
  readonly recipeArguments: readonly string[];
  /** Folder of the results; without it rows only go to `onRow` and nothing can be resumed. */
  readonly out?: string;
  readonly resume?: boolean;
  readonly limit?: number;
  readonly embeddings: EmbeddingSettings | null;
  readonly quietMs: number;
  readonly signal?: AbortSignal;
  readonly onRow: (row: ResultRow) => void;
  readonly onNotice?: (message: string) => void;
  /** Items of the dataset in all, once they are counted. */
  readonly onTotal?: (total: number) => void;
  readonly onChild?: (kill: () => void) => void;
}

export interface DatasetResult extends SuperviseResult {
  /** Items that were done by an earlier run. */
  readonly skipped: number;
  readonly file: string | null;
}

export async function runDataset(request: DatasetRequest): Promise<DatasetResult> {
  const options = sourceOptions(request);
  const store = await openStore(request);
  const counting = count(request, options, store).catch(() => undefined);
  const skipped = store?.done.size ?? 0;
  const items = wanted(request, options, store);
  try {
    const result = await supervise({
      entry: new URL('./dataset-child.js', import.meta.url),
      start: {
        type: 'start',
        file: resolve(request.plan.file),
        options: request.recipe,
        given: absolute(request),
        arguments: request.recipeArguments,
        embeddings: request.embeddings,
      },
      items,
      quietMs: request.quietMs,
      onRow: async (row) => {
        await store?.add(row);
        request.onRow(row);
      },
      ...(request.signal === undefined ? {} : { signal: request.signal }),
      ...(request.onNotice === undefined ? {} : { onNotice: request.onNotice }),
      ...(request.onChild === undefined ? {} : { onChild: request.onChild }),
    });
    return { ...result, skipped, file: store?.path ?? null };
  } finally {
    await items.return(undefined);
    await counting;
    await store?.close();
  }
}

/** Where the embeddings of pictures are kept between runs. */
export function embeddingFolder(): string {
  return resolve(cacheFolder(), 'embeddings');
}

function sourceOptions({ plan, imageInput }: DatasetRequest): SourceOptions {
  const images = Object.values(plan.inputs).filter((input) => input.type === 'image');
  if (imageInput !== undefined && !images.some((input) => input.name === imageInput)) {
    throw new VlmError('INPUT_UNKNOWN', {
      what: 'The dataset is meant for an input that takes no picture',
      expected: `one of ${images.map((input) => input.name).join(', ')}`,
      received: imageInput,
    });
  }
  const [only, ...others] = images;
  const chosen = imageInput ?? (others.length === 0 ? only?.name : undefined) ?? null;
  return { imageInput: chosen, inputs: plan.inputs, cwd: process.cwd() };
}

async function openStore(request: DatasetRequest): Promise<ResultStore | null> {
  const { plan, out, resume = false } = request;
  if (out === undefined) {
    if (!resume) return null;
    throw new VlmError('USAGE', {
      what: 'There is nothing to resume without a folder of results',
      hint: 'add --out DIR, with the folder of the run that ended early',
    });
  }
  // What decides about rows: the recipe, what is asked of every item, and the dataset. Not where any of it lies.
  const told = [plan.recipe, request.given, request.sources, request.imageInput ?? null];
  const identity: StoreIdentity = {
    format: 1,
    recipe: plan.name,
    sha256: createHash('sha256').update(JSON.stringify(told)).digest('hex'),
    sources: request.sources,
    versions: versions(),
  };
  return ResultStore.open(resolve(out), identity, resume);
}

async function* wanted(
  { sources, limit }: DatasetRequest,
  options: SourceOptions,
  store: ResultStore | null,
): AsyncGenerator<DatasetItem> {
  let drawn = 0;
  for await (const item of datasetItems(sources, options)) {
    if (limit !== undefined && drawn >= limit) return;
    drawn++;
    if (store?.done.has(item.id) !== true) yield item;
  }
}

/** Beside the run: how many items there are, for progress. */
async function count(request: DatasetRequest, options: SourceOptions, store: ResultStore | null): Promise<void> {
  if (request.onTotal === undefined) return;
  const before = store?.done.size ?? 0;
  let total = 0;
  for await (const _ of datasetItems(request.sources, options)) {
    total++;
    if (request.signal?.aborted === true || total === request.limit) break;
  }
  request.onTotal(Math.max(total, before));
}

/** The child may work elsewhere: places of the command line become absolute. */
function absolute({ plan, given }: DatasetRequest): Readonly<Record<string, InputGiven>> {
  const place = (value: InputGiven, type: string): InputGiven => {
    if (typeof value === 'object' && 'file' in value && typeof value.file === 'string') {
      return { file: place(value.file, 'image') as string };
    }
    if (Array.isArray(value)) return value.map((one) => place(one as InputGiven, type));
    if (typeof value !== 'string' || type === 'text' || /^(?:https?|data|file):/i.test(value)) return value;
    return resolve(value);
  };
  return Object.fromEntries(
    Object.entries(given).map(([name, value]) => {
      if (value === '-' || (typeof value === 'object' && 'file' in value && value.file === '-')) {
        throw new VlmError('USAGE', {
          what: 'Standard input can be read once, and a dataset asks for the input again and again',
          received: `--input ${name}=-`,
          hint: 'keep it in a file',
        });
      }
      return [name, place(value, plan.inputs[name]?.type ?? 'text')];
    }),
  );
}
