/** vlm-run FILE: runs a recipe and prints its answer. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command } from 'commander';
import type { ComposedRun } from '../../compose/run.js';
import { type ErrorData, VlmError } from '../../contracts/errors.js';
import type { Diagnostic, Plan } from '../../contracts/recipe.js';
import type { RunResultRecord } from '../../contracts/record.js';
import type { WorkerPools } from '../../runner/pool.js';
import { addDatasetOptions, type DatasetFlags } from '../dataset-options.js';
import { exitCodeOf, formatError } from '../failure.js';
import { type Io, isStandardStream } from '../io.js';
import { Progress } from '../progress.js';
import { addRecipeOptions, collect, compileAndTell, recipeArguments } from '../recipe-options.js';
import { type SignalWatch, watchSignals } from '../signals.js';
import { summary } from '../summary.js';

export type RunFlags = DatasetFlags;

/** What nearly every recipe has: loaded before the recipe is known. */
const HOST_KINDS = ['preprocess', 'fuse'];
const DEVICE_WORKERS = 2;

export function runCommand(io: Io): Command {
  const command = new Command('run')
    .description('run a recipe and print its answer (vlm-run FILE is short for it)')
    .argument('<file>', 'the recipe')
    .option(
      '--input <name=value>',
      'give an input: a file, an address, a data URL, - for standard input; text, or @file; a conversation as JSON',
      collect,
    );
  return addDatasetOptions(addRecipeOptions(command))
    .option('--out <dir>', 'keep run record, answer and overlay picture in this folder')
    .option('--trace <file>', 'write where the time went, for chrome://tracing or ui.perfetto.dev')
    .option('--quiet', 'no progress and no summary')
    .addHelpText(
      'after',
      `
Examples:
  $ vlm-run pipelines/internvl.yaml --input image=cat.jpg --input prompt="What is this?"
  $ vlm-run pipelines/internvl.yaml --set nodes.decode.with.max_new_tokens=16 --out runs/first > answer.txt`,
    )
    .action(async (file: string, flags: RunFlags) => {
      process.exitCode = await run(file, flags, io);
    });
}

export async function run(file: string, flags: RunFlags, io: Io): Promise<number> {
  const signals = watchSignals();
  try {
    if (flags.dataset !== undefined) {
      const { runDatasetCommand } = await import('../dataset.js');
      return await runDatasetCommand(file, flags, io, signals);
    }
    return await runWatched(file, flags, io, signals);
  } finally {
    signals.release();
  }
}

async function runWatched(file: string, flags: RunFlags, io: Io, signals: SignalWatch): Promise<number> {
  const { monotonicMs } = await import('../../runner/protocol.js');
  const origin = monotonicMs() - performance.now();
  const planning = monotonicMs();
  // Workers start, and the runner's modules load, while the recipe is read.
  const { WorkerPools } = await import('../../runner/pool.js');
  const pools = new WorkerPools();
  try {
    if (existsSync(file)) pools.prepare(HOST_KINDS, DEVICE_WORKERS);
    return await runWith(file, flags, io, signals, { pools, origin, planning });
  } finally {
    await pools.close();
  }
}

interface Started {
  readonly pools: WorkerPools;
  readonly origin: number;
  /** When reading the recipe began. */
  readonly planning: number;
}

async function runWith(file: string, flags: RunFlags, io: Io, signals: SignalWatch, started: Started): Promise<number> {
  const { pools, origin, planning } = started;
  refuseStandardStream(flags.trace);
  const loading = Promise.all([import('../../compose/run.js'), import('../input-options.js'), import('../answer.js')]);
  loading.catch(() => undefined);
  let note = (message: string): void => io.err(`${message}\n`);
  signals.onFirst(() => {
    if (flags.quiet !== true) note('stopping after the current call; press Ctrl-C again to stop at once');
  });
  const { plan, compilation } = await compileAndTell(file, flags, io);
  const [{ composedRun }, { readInputs }, { streamedAnswer }] = await loading;
  const item = await readInputs(plan, flags, { signal: signals.signal });
  const { monotonicMs } = await import('../../runner/protocol.js');
  const ready = monotonicMs();
  const quiet = flags.quiet === true || (flags.json === true && !io.errIsTerminal);
  const progress = new Progress(io, { quiet, ...(flags.json === true ? { streamNode: null } : streamedAnswer(plan)) });
  note = (message) => progress.interject(message);
  const notices = new Set<string>();
  const running = composedRun(plan, {
    items: [item],
    onEvent: (event) => {
      if (event.type === 'notice') notices.add(event.message);
      progress.handle(event);
    },
    signal: stopSignal(io, signals, flags.out !== undefined),
    pools,
    warnings: compilation.diagnostics,
    recipeArguments: recipeArguments(flags),
    origin,
    spans: [
      { stage: 'start', start: origin, end: planning },
      { stage: 'plan', start: planning, end: ready },
    ],
    ...(flags.out === undefined ? {} : { out: resolve(flags.out) }),
    ...(flags.trace === undefined ? {} : { trace: resolve(flags.trace) }),
    onDirectory: (directory) =>
      signals.onKill(() => directory.flushSync({ status: 'cancelled', error: killed().toData() })),
  });
  let composed: ComposedRun;
  try {
    composed = await running;
  } catch (error) {
    progress.breakOff();
    throw error;
  }
  progress.stop();
  return tell(composed, { io, flags, plan, signals, progress, warnings: compilation.diagnostics, notices });
}

/** Ctrl-C; and a reader that is gone: then only a run's record is a reason to go on. */
function stopSignal(io: Io, signals: SignalWatch, keepsRecord: boolean): AbortSignal {
  const controller = new AbortController();
  const stop = (): void => controller.abort();
  if (signals.interrupted) stop();
  signals.onFirst(stop);
  io.onReaderGone(() => {
    if (!keepsRecord) stop();
  });
  return controller.signal;
}

interface Telling {
  readonly io: Io;
  readonly flags: RunFlags;
  readonly plan: Plan;
  readonly signals: SignalWatch;
  readonly progress: Progress;
  readonly warnings: readonly Diagnostic[];
  /** What was said while it ran. */
  readonly notices: ReadonlySet<string>;
}

/** The answer first, whatever else went wrong. Returns the exit code. */
async function tell({ result, files }: ComposedRun, telling: Telling): Promise<number> {
  const { io, flags, signals, progress, plan } = telling;
  if (io.readerGone && !signals.interrupted && result.error?.code === 'CANCELLED') return 0;
  if (flags.json !== true) (await import('../answer.js')).printAnswers(io, plan, result.items, progress);
  progress.end();
  // Too late to stop anything: what was being done is done, and whoever called must know that it was to be stopped.
  const late = signals.interrupted && result.error === undefined;
  const error = late ? interruptedLate().toData() : result.error;
  if (flags.json === true) await printJson(telling, result, error, files);
  else if (error !== undefined) io.err(formatError(error, io.paint));
  if (flags.quiet !== true && flags.json !== true) {
    // Where the time of a failure went is of no use, unless there is an answer beside it.
    if (result.ok || result.items.some((record) => record.metrics !== undefined)) io.err(summary(result, io.paint));
    for (const path of files) io.err(`wrote ${path}\n`);
  }
  return error === undefined ? 0 : exitCodeOf(error);
}

/** The answer, or the messages, would be lost in it. */
function refuseStandardStream(trace: string | undefined): void {
  if (trace === undefined || !isStandardStream(trace)) return;
  throw new VlmError('USAGE', {
    what: '--trace is where the answer or the messages go',
    expected: 'a file of its own',
    received: trace,
  });
}

function interruptedLate(): VlmError {
  return new VlmError('CANCELLED', {
    what: 'The run was interrupted when nothing was left to stop',
    hint: 'the answer and the files of the run are whole',
  });
}

function killed(): VlmError {
  return new VlmError('CANCELLED', { what: 'The run was ended by a second signal' });
}

async function printJson(
  { io, plan, warnings, notices }: Telling,
  result: RunResultRecord,
  error: ErrorData | undefined,
  files: readonly string[],
): Promise<void> {
  const { plainItem } = await import('../../runner/run-directory.js');
  const items = result.items.map(plainItem);
  io.out(
    `${JSON.stringify(
      {
        ok: result.ok && error === undefined,
        recipe: { name: plan.name, file: plan.file },
        ...(error === undefined ? {} : { error }),
        warnings,
        notices: [...notices],
        items,
        ledger: result.ledger,
        files,
      },
      null,
      2,
    )}\n`,
  );
}
