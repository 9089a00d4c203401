/** vlm-run FILE: runs a recipe and prints its answer. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { VlmError } from '../../contracts/errors.js';
import type { AnswerValue } from '../../contracts/ports.js';
import type { Diagnostic, Plan } from '../../contracts/recipe.js';
import type { ItemRecord, RunResultRecord } from '../../contracts/record.js';
import type { WorkerPools } from '../../runner/pool.js';
import { addDatasetOptions, type DatasetFlags } from '../dataset-options.js';
import { exitCodeOf, formatError } from '../failure.js';
import { harmless, type Io } from '../io.js';
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
      'give an input: a file, an address, a data URL, - for standard input; text, or @file',
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
  const loading = Promise.all([import('../../compose/run.js'), import('../input-options.js')]);
  loading.catch(() => undefined);
  const { plan, compilation } = await compileAndTell(file, flags, io);
  const [{ composedRun }, { readInputs }] = await loading;
  const item = await readInputs(plan, flags, { signal: signals.signal });
  const { monotonicMs } = await import('../../runner/protocol.js');
  const ready = monotonicMs();
  const quiet = flags.quiet === true || (flags.json === true && !io.errIsTerminal);
  const progress = new Progress(io, { quiet, streamNode: flags.json ? null : streamNode(plan) });
  const controller = new AbortController();
  const stop = (): void => controller.abort();
  if (signals.interrupted) stop();
  signals.onFirst(() => {
    stop();
    if (flags.quiet !== true) progress.note('stopping after the current call; press Ctrl-C again to stop at once');
  });
  // Nobody reads the answer any more: go on only for the run's record.
  io.onReaderGone(() => {
    if (flags.out === undefined) stop();
  });
  const { result, files } = await composedRun(plan, {
    items: [item],
    onEvent: (event) => progress.handle(event),
    signal: controller.signal,
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
  progress.stop();
  if (io.readerGone && !signals.interrupted && result.error?.code === 'CANCELLED') return 0;
  if (flags.json === true) await printJson(io, plan, compilation.diagnostics, result, files);
  else printResult(io, result.items, progress);
  if (result.error !== undefined && flags.json !== true) io.err(formatError(result.error, io.paint));
  if (flags.quiet !== true && flags.json !== true) {
    // Where the time of a failure went is of no use, unless there is an answer beside it.
    if (result.ok || result.items.some((record) => record.metrics !== undefined)) io.err(summary(result, io.paint));
    for (const path of files) io.err(`wrote ${path}\n`);
  }
  return result.error === undefined ? 0 : exitCodeOf(result.error);
}

function killed(): VlmError {
  return new VlmError('CANCELLED', { what: 'The run was ended by a second signal' });
}

/** The node whose pieces of text are the answer as it grows: the one that the first output shows, itself or fused. */
export function streamNode(plan: Plan): string | null {
  const [output] = Object.values(plan.outputs);
  if (output === undefined || output.ref.from !== 'node') return null;
  const { node: name } = output.ref;
  const node = plan.nodes.find((n) => n.name === name);
  if (node === undefined) return null;
  if (output.kind === 'completion') return node.name;
  if (output.kind !== 'answer' || node.plugin !== undefined) return null;
  const text = Object.values(node.inputs).find((ref) => {
    const source = ref.from === 'node' ? plan.nodes.find((n) => n.name === ref.node) : undefined;
    return ref.from === 'node' && source?.manifest.outputs[ref.port]?.kind === 'completion';
  });
  return text?.from === 'node' ? text.node : null;
}

/** Prints what is not printed yet of the answer, then its boxes. */
function printResult(io: Io, items: readonly ItemRecord[], progress: Progress): void {
  for (const item of items) {
    const show = (text: string): void => io.out(io.outIsTerminal ? harmless(text) : text);
    const text = item.text ?? '';
    const { printed } = progress;
    if (!item.ok) {
      if (printed !== '') io.out('\n');
      continue;
    }
    if (printed !== '' && text.startsWith(printed)) show(text.slice(printed.length));
    else show(`${printed === '' ? '' : '\n'}${text}`);
    if (!text.endsWith('\n')) io.out('\n');
    for (const value of Object.values(item.outputs ?? {})) if (value.kind === 'answer') printBoxes(show, value);
  }
}

function printBoxes(show: (text: string) => void, answer: AnswerValue): void {
  for (const { label, box, image } of answer.boxes) {
    const which = image === 0 ? '' : ` in image ${image + 1}`;
    show(`${label}: [${box.map((v) => Math.round(v)).join(', ')}]${which}\n`);
  }
}

async function printJson(
  io: Io,
  plan: Plan,
  warnings: readonly Diagnostic[],
  result: RunResultRecord,
  files: readonly string[],
): Promise<void> {
  const { plainItem } = await import('../../runner/run-directory.js');
  const items = result.items.map(plainItem);
  io.out(
    `${JSON.stringify(
      {
        ok: result.ok,
        recipe: { name: plan.name, file: plan.file },
        ...(result.error === undefined ? {} : { error: result.error }),
        warnings,
        items,
        ledger: result.ledger,
        files,
      },
      null,
      2,
    )}\n`,
  );
}
