/** A dataset from the command line to result rows: sources, store, child process. */
import { createHash } from 'node:crypto';
import { resolve } from 'node:path';
import { VlmError } from '../contracts/errors.js';
import type { Plan } from '../contracts/recipe.js';
import type { StartMessage } from '../dataset/protocol.js';
import { areFiles, checkSources, type DatasetItem, datasetItems, type SourceOptions } from '../dataset/source.js';
import { type ResultRow, ResultStore, type StoreIdentity } from '../dataset/store.js';
import { type SuperviseResult, supervise } from '../dataset/supervise.js';
import { cacheFolder } from '../devices/ai100/compile/cache.js';
import { rememberedDigest } from '../devices/ai100/compile/digests.js';
import { nearest } from '../recipe/index.js';
import type { InputGiven } from '../runner/inputs/load.js';
import { mapPictures } from '../runner/inputs/messages.js';
import type { EmbeddingSettings } from '../runner/protocol.js';
import { canonicalRecipe } from '../share/canonical.js';
import { modelFacts } from '../share/files.js';
import { entryUrl } from '../util/entries.js';
import { versions } from './run.js';

const MAX_KEYS_TOLD = 100;

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
  /** Resumes, and runs items again whose result is a failure. */
  readonly retryFailed?: boolean;
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
  const reading = new AbortController();
  const stopReading = (): void => reading.abort();
  request.signal?.addEventListener('abort', stopReading, { once: true });
  if (request.signal?.aborted === true) stopReading();
  const options = { ...sourceOptions(request), signal: reading.signal };
  const repeatable = await areFiles(request.sources, options.cwd);
  await checkSources(request.sources, options);
  const store = await openStore(request);
  try {
    if (repeatable && store !== null) await checkAsked(request, options, store);
  } catch (error) {
    await store?.close();
    throw error;
  }
  const skipped = store?.done.size ?? 0;
  // What can be read once is not counted beforehand.
  const counting = repeatable ? count(request, options, new Set(store?.done.keys())).catch(() => undefined) : undefined;
  const items = wanted(request, { ...options, onUnknownKey: misspelt(request) }, store);
  try {
    const result = await supervise({
      entry: entryUrl('compose/dataset-child'),
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
      onRow: async (row, { asked }) => {
        await store?.add({ ...row, asked });
        request.onRow(row);
      },
      ...(request.signal === undefined ? {} : { signal: request.signal }),
      ...(request.onNotice === undefined ? {} : { onNotice: request.onNotice }),
      ...(request.onChild === undefined ? {} : { onChild: request.onChild }),
    });
    return { ...result, skipped, file: store?.path ?? null };
  } finally {
    stopReading();
    request.signal?.removeEventListener('abort', stopReading);
    await items.return(undefined);
    await counting;
    await store?.close();
  }
}

/** Notices of keys that are no input and look as if they were meant to be one. */
function misspelt({ plan, onNotice }: DatasetRequest): (key: string) => void {
  const told = new Set<string>();
  return (key) => {
    if (told.has(key) || told.size >= MAX_KEYS_TOLD) return;
    told.add(key);
    const near = nearest(key, Object.keys(plan.inputs));
    if (near !== undefined && key !== 'id') {
      onNotice?.(`warning: "${key}" in the dataset is no input and is left alone; did you mean "${near}"?`);
    }
  };
}

/** What has a result and asks something else now: its result would stand for a question that nobody put. */
async function checkAsked(request: DatasetRequest, options: SourceOptions, store: ResultStore): Promise<void> {
  if (store.done.size === 0) return;
  for await (const { id, asked } of datasetItems(request.sources, options)) {
    const before = store.done.get(id);
    if (before === undefined || before === null || before === asked) continue;
    throw new VlmError('USAGE', {
      what: 'An item that has its result already asks something else now',
      received: id,
      where: store.path,
      hint: 'remove its line there and it runs again, or name another folder',
    });
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
  const { plan, out, resume = false, retryFailed = false } = request;
  if (out === undefined) {
    if (!resume && !retryFailed) return null;
    throw new VlmError('USAGE', {
      what: 'There is nothing to resume without a folder of results',
      hint: 'add --out DIR, with the folder of the run that ended early',
    });
  }
  const digest = (path: string): Promise<string> => rememberedDigest(path, cacheFolder());
  // What decides about rows: the recipe, the model, what is asked of every item, and the dataset. Not where any of it lies.
  const recipe = await canonicalRecipe(plan, digest);
  const told = [recipe, await modelFacts(plan, digest), request.given, request.sources, request.imageInput ?? null];
  const identity: StoreIdentity = {
    format: 1,
    recipe: plan.name,
    sha256: createHash('sha256').update(JSON.stringify(told)).digest('hex'),
    sources: request.sources,
    versions: versions(),
  };
  return ResultStore.open(resolve(out), identity, retryFailed ? 'retry' : resume ? 'resume' : 'anew');
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

/** Beside the run: how many items there are to do, for progress. */
async function count(request: DatasetRequest, options: SourceOptions, done: ReadonlySet<string>): Promise<void> {
  if (request.onTotal === undefined) return;
  let seen = 0;
  let todo = 0;
  for await (const { id } of datasetItems(request.sources, options)) {
    if (!done.has(id)) todo++;
    if (options.signal?.aborted === true || ++seen === request.limit) break;
  }
  request.onTotal(todo);
}

/** The child may work elsewhere: places of the command line become absolute. */
function absolute({ plan, given }: DatasetRequest): Readonly<Record<string, InputGiven>> {
  const place = (value: InputGiven, type: string): InputGiven => {
    if (typeof value === 'object' && 'file' in value && typeof value.file === 'string') {
      return { file: place(value.file, 'image') as string };
    }
    if (type === 'messages' && typeof value === 'object') {
      return mapPictures(value, (one) => place(one, 'image') as string) as InputGiven;
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
