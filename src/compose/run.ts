/** A whole run with the built-in registries: records, versions and digests around the runner. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ErrorData, VlmError } from '../contracts/errors.js';
import type { Diagnostic, Plan } from '../contracts/recipe.js';
import type { ItemRecord, RunEvent, RunResultRecord } from '../contracts/record.js';
import { chainsOf } from '../runner/chains.js';
import { verifyFit } from '../runner/fit.js';
import type { LoadedInputs } from '../runner/inputs/load.js';
import type { WorkerPools } from '../runner/pool.js';
import type { ClockSpan, EmbeddingSettings } from '../runner/protocol.js';
import { type RunPlanOptions, runPlan } from '../runner/run.js';
import { RunDirectory, type RunStatus } from '../runner/run-directory.js';
import { chromeTrace } from '../runner/trace.js';
import { lockFileOf } from '../share/format.js';
import { checkWritable, writeFileAtomic } from '../util/atomic-write.js';
import { packageRoot } from '../util/package-root.js';
import { exclusiveLanes } from './exclusive-lanes.js';
import { modelFacts } from './model-facts.js';

export interface ComposedRunOptions {
  readonly items: readonly LoadedInputs[];
  readonly onEvent?: (event: RunEvent) => void;
  readonly signal?: AbortSignal;
  readonly out?: string;
  readonly trace?: string;
  readonly warnings?: readonly Diagnostic[];
  /** Options that changed the recipe, as typed: part of the commands that messages propose. */
  readonly recipeArguments?: readonly string[];
  /** False leaves a lock beside the recipe alone: what makes and verifies locks compares by itself. */
  readonly lock?: boolean;
  readonly origin?: number;
  readonly spans?: readonly ClockSpan[];
  /** Workers that were started before there was a plan. */
  readonly pools?: WorkerPools;
  /** Gets the run directory as soon as it exists: whoever ends the process early flushes it. */
  readonly onDirectory?: (directory: RunDirectory) => void;
}

export interface ComposedRun {
  readonly result: RunResultRecord;
  /** Files written, the run record first. */
  readonly files: readonly string[];
}

export function versions(): Readonly<Record<string, string>> {
  const read = (path: string): string => {
    try {
      const { version } = JSON.parse(readFileSync(path, 'utf8')) as { version: string };
      return version;
    } catch {
      return 'unknown';
    }
  };
  const root = packageRoot();
  const of = (name: string): string => read(join(root, 'node_modules', name, 'package.json'));
  return {
    'vlm-run': read(join(root, 'package.json')),
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    'onnxruntime-node': of('onnxruntime-node'),
    sharp: of('sharp'),
  };
}

/**
 * Throws what is wrong before the run. What cannot be written after it is the result's error: the answer is in the
 * result all the same.
 */
export async function composedRun(given: Plan, options: ComposedRunOptions): Promise<ComposedRun> {
  if (options.trace !== undefined) await checkWritable(options.trace);
  const plan = await withCompiledPrograms(given, options);
  const directory = await openDirectory(plan, options);
  const comparing = compareWithLock(given, plan, options, directory);
  const digesting = directory === undefined ? undefined : digestModel(plan, directory, options.signal);
  // Waited for below, unless the run itself throws.
  digesting?.catch(() => undefined);
  let result: RunResultRecord;
  try {
    result = await runWith(plan, options, directory);
  } catch (error) {
    const data = VlmError.wrap(error, 'INTERNAL', { what: 'The run failed' }).toData();
    await directory?.finish({ status: 'failed', error: data });
    throw error;
  }
  return keepResult(result, { plan, options, directory, beside: Promise.all([digesting, comparing]) });
}

interface Keeping {
  readonly plan: Plan;
  readonly options: ComposedRunOptions;
  readonly directory: RunDirectory | undefined;
  readonly beside: Promise<unknown>;
}

/** Each thing is tried: one that fails costs the others nothing. */
async function keepResult(result: RunResultRecord, keeping: Keeping): Promise<ComposedRun> {
  const { plan, options, directory, beside } = keeping;
  const files: string[] = [];
  let failure: ErrorData | undefined;
  const attempt = async (work: () => Promise<readonly string[]>): Promise<void> => {
    try {
      files.push(...(await work()));
    } catch (error) {
      failure ??= VlmError.wrap(error, 'INTERNAL', { what: 'The results could not be kept' }).toData();
    }
  };
  await attempt(async () => {
    await beside;
    return [];
  });
  if (directory !== undefined) {
    const { ledger, error } = result;
    await attempt(() =>
      directory.finish({ status: statusOf(error), ledger, ...(error === undefined ? {} : { error }) }),
    );
  }
  const { trace } = options;
  if (trace !== undefined) {
    await attempt(async () => {
      await writeFileAtomic(trace, chromeTrace(result.ledger, plan.name));
      return [trace];
    });
  }
  return { result: failure === undefined ? result : { ...result, ok: false, error: result.error ?? failure }, files };
}

/** Beside the run, and told when it is found out; a recipe without a lock loads nothing for it. */
async function compareWithLock(
  plan: Plan,
  resolved: Plan,
  options: Pick<ComposedRunOptions, 'lock' | 'onEvent'>,
  directory: RunDirectory | undefined,
): Promise<void> {
  if (options.lock === false || !existsSync(lockFileOf(plan.file))) return;
  const { departureOf, departureText } = await import('../share/departure.js');
  const departure = await departureOf(plan, resolved, versions());
  if (departure === null) return;
  if (directory !== undefined) directory.lock = { file: departure.lock, departs: departure.departs };
  if (departure.departs.length > 0) {
    options.onEvent?.({ type: 'notice', message: `warning: ${departureText(departure)}` });
  }
}

/** Programs of cards come from the cache; a recipe without cards loads nothing for it. */
async function withCompiledPrograms(
  plan: Plan,
  options: Pick<ComposedRunOptions, 'recipeArguments' | 'onEvent'>,
): Promise<Plan> {
  if (!Object.values(plan.devices).some((device) => device.kind === 'ai100')) return plan;
  const { resolvePrograms } = await import('./compile.js');
  return resolvePrograms(plan, {
    args: options.recipeArguments ?? [],
    notice: (message) => options.onEvent?.({ type: 'notice', message }),
  });
}

export interface ComposedStreamOptions {
  readonly items: AsyncIterable<LoadedInputs>;
  readonly onItem: (record: ItemRecord) => void;
  readonly onEvent?: (event: RunEvent) => void;
  readonly signal?: AbortSignal;
  readonly recipeArguments?: readonly string[];
  /** False leaves a lock beside the recipe alone. */
  readonly lock?: boolean;
  readonly embeddings?: EmbeddingSettings;
}

/** A run over items of any number: records go to `onItem` and nowhere else, and no picture is drawn. */
export async function composedStream(given: Plan, options: ComposedStreamOptions): Promise<RunResultRecord> {
  const plan = withoutOverlay(await withCompiledPrograms(given, options));
  const comparing = compareWithLock(given, plan, options, undefined);
  const { recipeArguments: _, lock: __, onEvent, ...rest } = options;
  const running = runPlan(plan, {
    ...rest,
    verify: fitVerifier(onEvent),
    exclusive: exclusiveLanes(plan),
    ...(onEvent === undefined ? {} : { onEvent }),
  });
  const [result] = await Promise.all([running, comparing]);
  return result;
}

function runWith(
  plan: Plan,
  options: ComposedRunOptions,
  directory: RunDirectory | undefined,
): Promise<RunResultRecord> {
  const { onEvent, signal, origin, spans, pools } = options;
  const answering = chainsOf(plan).main.completion;
  return runPlan(options.out === undefined ? withoutOverlay(plan) : plan, {
    items: options.items,
    verify: fitVerifier(onEvent),
    onEvent: (event) => {
      // Of several answers that grow at once, what stays of a run that is stopped is that of the record's text.
      const isAnswer = event.type === 'text' && (answering === undefined || answering.startsWith(`${event.node}.`));
      if (isAnswer) directory?.addText(event.item, event.piece);
      onEvent?.(event);
    },
    onItem: (record: ItemRecord) => directory?.addItem(record),
    ...(signal === undefined ? {} : { signal }),
    exclusive: exclusiveLanes(plan),
    ...(origin === undefined ? {} : { origin }),
    ...(spans === undefined ? {} : { spans }),
    ...(pools === undefined ? {} : { pools }),
  });
}

/** Looks at every prompt; one that does not fit is refused with values that do, for which the model is asked. */
function fitVerifier(onEvent: ComposedRunOptions['onEvent']): NonNullable<RunPlanOptions['verify']> {
  let facts: ReturnType<typeof modelFacts> | undefined;
  return async (plan, node, outputs) => {
    try {
      if (facts === undefined) facts = modelFacts(plan);
      for (const message of verifyFit(plan, node, outputs, undefined, facts?.maxPositions)) {
        onEvent?.({ type: 'notice', message: `warning: ${message}` });
      }
    } catch (error) {
      const { planSources } = await import('./plan.js');
      const sources = await planSources(plan).catch(() => undefined);
      verifyFit(plan, node, outputs, sources?.model);
      throw error;
    }
  };
}

export function statusOf(error: ErrorData | undefined): RunStatus {
  if (error === undefined) return 'done';
  return error.code === 'CANCELLED' ? 'cancelled' : 'failed';
}

async function openDirectory(plan: Plan, options: ComposedRunOptions): Promise<RunDirectory | undefined> {
  if (options.out === undefined) return undefined;
  const directory = new RunDirectory({
    folder: options.out,
    plan,
    versions: versions(),
    inputs: options.items.map((item) => item.digests),
    warnings: options.warnings ?? [],
  });
  await directory.begin();
  options.onDirectory?.(directory);
  return directory;
}

/** Beside the run: the files of a large model take a while to read. A model that cannot be read fails the run itself. */
async function digestModel(plan: Plan, directory: RunDirectory, signal: AbortSignal | undefined): Promise<void> {
  try {
    const [{ openModelFolder }, { modelDigests }] = await Promise.all([
      import('../model/folder.js'),
      import('../model/digest.js'),
    ]);
    const folder = await openModelFolder(plan.model);
    directory.model = { name: folder.name, sha256: await modelDigests(folder, signal) };
  } catch (error) {
    if (!(error instanceof VlmError)) throw error;
  }
}

/** Nobody keeps the picture of a run without a folder: `auto` then means none. */
function withoutOverlay(plan: Plan): Plan {
  return {
    ...plan,
    nodes: plan.nodes.map((node) =>
      node.options['overlay'] === 'auto' ? { ...node, options: { ...node.options, overlay: 'none' } } : node,
    ),
  };
}
