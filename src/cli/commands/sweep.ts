/** vlm-run sweep FILE: measures a recipe over axes of parameters, each point in a process of its own. */
import { resolve } from 'node:path';
import { Command } from 'commander';
import type { SweepResult } from '../../compose/sweep.js';
import { EXIT, type ExitCode, VlmError } from '../../contracts/errors.js';
import type { ResultRow } from '../../dataset/store.js';
import type { Sweep } from '../../sweep/file.js';
import type { PointFigures } from '../../sweep/measure.js';
import { problemsDocument } from '../failure.js';
import { harmless, type Io } from '../io.js';
import { refusalData, refusalText } from '../refusals.js';
import { watchSignals } from '../signals.js';
import { ms } from '../summary.js';

interface SweepFlags {
  readonly out?: string;
  readonly resume?: boolean;
  readonly retryFailed?: boolean;
  readonly dryRun?: boolean;
  readonly shard?: string;
  readonly allowPlugins?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly schema?: boolean;
}

export function sweepCommand(io: Io): Command {
  return new Command('sweep')
    .description('measure a recipe over axes of parameters, each point in a process of its own')
    .argument('[file]', 'the sweep: a recipe, axes, how to measure')
    .option('--out <dir>', 'folder of the results; default: the name of the file without .yaml')
    .option('--resume', 'go on with the results in --out: measured points are not run again')
    .option('--retry-failed', '--resume, and points that failed are measured again')
    .option('--dry-run', 'list the points and what the planner refuses; run nothing')
    .option('--shard <i/n>', 'only the i-th of n parts of the points, for several machines')
    .option('--allow-plugins', 'let the recipe run node modules of its own')
    .option('--schema', 'print the JSON Schema of sweep files')
    .option('--json', 'one JSON document on standard output')
    .option('--quiet', 'no progress and no summary')
    .addHelpText(
      'after',
      `
Every point is planned before the first one runs; points run in random order, each in a fresh process under a watchdog.
Results are appended to DIR/results.jsonl, one whole line a point.

Examples:
  $ vlm-run sweep sweeps/mini.yaml --dry-run
  $ vlm-run sweep sweeps/mini.yaml --out results/mini --resume`,
    )
    .action(async (file: string | undefined, flags: SweepFlags) => {
      const { Told } = await import('../recipe-options.js');
      const code = await sweep(file, flags, io);
      if (code !== 0) throw new Told(code);
    });
}

async function sweep(file: string | undefined, flags: SweepFlags, io: Io): Promise<number> {
  if (flags.schema === true) {
    const { SWEEP_SCHEMA } = await import('../../sweep/schema.js');
    io.out(`${JSON.stringify(SWEEP_SCHEMA, null, 2)}\n`);
    return 0;
  }
  if (file === undefined) {
    throw new VlmError('USAGE', {
      what: 'No sweep was named',
      expected: 'vlm-run sweep FILE',
      hint: 'see vlm-run sweep --help',
    });
  }
  const [checked, { runSweep, planSweep, sweepWarnings }, { pointName }] = await Promise.all([
    checkedSweep(file, flags, io),
    import('../../compose/sweep.js'),
    import('../../sweep/points.js'),
  ]);
  const description = await unpacked(checked, flags);
  if (flags.allowPlugins === true) await openModules(description.recipe, flags, io);
  const signals = watchSignals();
  const stop = new AbortController();
  const quiet = flags.quiet === true || (flags.json === true && !io.errIsTerminal);
  const line = new StatusLine(io, quiet);
  signals.onFirst(() => {
    stop.abort();
    line.say('stopping; the point that is being measured is given up');
  });
  const shard = shardOf(flags.shard);
  const warnings = sweepWarnings(description);
  if (flags.quiet !== true) for (const warning of warnings) io.err(`warning: ${harmless(warning)}\n`);
  const request = {
    sweep: description,
    out: resolve(flags.out ?? file.replace(/\.ya?ml$/i, '')),
    resume: flags.resume === true,
    retryFailed: flags.retryFailed === true,
    allowPlugins: flags.allowPlugins === true,
    signal: stop.signal,
    ...(shard === undefined ? {} : { shard }),
    onPlanned: (planned: number, total: number) => line.show(`planned ${planned} of ${total} points`),
  };
  try {
    if (flags.dryRun === true) {
      const { refused, runnable } = await planSweep(request);
      line.clear();
      if (flags.json === true) {
        const ok = runnable.length > 0;
        const told = refused.map(refusalData);
        io.out(`${JSON.stringify({ ok, points: runnable, refused: told, warnings }, null, 2)}\n`);
        return ok ? EXIT.ok : EXIT.recipe;
      }
      for (const { values } of runnable) io.out(`${harmless(pointName(values))}\n`);
      io.err(refusalText(refused, io.paint));
      io.err(`${runnable.length} points, ${refused.length} refused\n`);
      if (runnable.length === 0) return EXIT.recipe;
      return 0;
    }
    let total = 0;
    let at = 0;
    let last = '';
    const result = await runSweep({
      ...request,
      onStart: (points, refused, skipped) => {
        total = points;
        if (refused.length > 0) line.say(refusalText(refused, io.paint).trimEnd());
        line.say(`${points} points to measure${skipped > 0 ? `, ${skipped} were measured before` : ''}`);
      },
      onProgress: (point, done, batches) => {
        last = `${at + 1}/${total} ${pointName(point.values)} · batch ${done} of ${batches}`;
        line.show(last);
      },
      onPoint: (point, row) => {
        at++;
        line.say(`${at}/${total} ${pointName(point.values)}: ${outcomeText(row)}`);
      },
    });
    line.clear();
    const { done, failed, skipped, refused, cancelled } = result;
    const code = exitOf(result);
    if (flags.json === true) {
      const counts = { done, failed, skipped, refused: refused.length };
      const told = { ok: code === EXIT.ok, cancelled, ...counts, results: result.file };
      io.out(`${JSON.stringify({ ...told, refusals: refused.map(refusalData), warnings }, null, 2)}\n`);
    } else if (flags.quiet !== true) {
      io.err(
        `${io.paint.bold(`${done} points measured, ${failed} of them failed; ${refused.length} refused, ${skipped} done before`)}\n`,
      );
      io.err(`wrote ${result.file}\n`);
      if (cancelled) io.err('interrupted: --resume goes on\n');
      else if (failed > 0) io.err('--retry-failed measures the failed points again\n');
    }
    return code;
  } finally {
    line.clear();
    signals.release();
  }
}

function exitOf({ done, failed, skipped, refused, cancelled }: SweepResult): ExitCode {
  if (cancelled) return EXIT.interrupted;
  // Nothing could be measured: the file asks for what no point can do.
  if (done + skipped === 0 && refused.length > 0) return EXIT.recipe;
  return failed === 0 ? EXIT.ok : EXIT.run;
}

/** Tells all that is wrong with the file, as other commands do of a recipe. */
async function checkedSweep(file: string, flags: SweepFlags, io: Io): Promise<Sweep> {
  const [{ checkSweepFile }, { formatDiagnostics }, { Told }] = await Promise.all([
    import('../../sweep/file.js'),
    import('../../recipe/index.js'),
    import('../recipe-options.js'),
  ]);
  const checked = await checkSweepFile(file);
  if (checked.sweep !== null) return checked.sweep;
  const { error, diagnostics } = checked;
  if (flags.json === true) io.out(problemsDocument(error, diagnostics));
  else {
    const { hint } = error.details;
    io.err(formatDiagnostics(diagnostics, { color: io.color }));
    if (hint !== undefined && diagnostics.every((one) => one.hint !== hint)) io.err(`${hint}\n`);
  }
  throw new Told(error.exitCode);
}

/** A module that ends the process does so here, where that is told. */
async function openModules(recipe: string, flags: SweepFlags, io: Io): Promise<void> {
  const [{ compileRecipe }, { watchingModules }] = await Promise.all([
    import('../../compose/recipes.js'),
    import('../recipe-options.js'),
  ]);
  await watchingModules(io, flags.json === true, () => compileRecipe(recipe, { allowPlugins: true }));
}

/** A sweep may name a pack: its points run the recipe inside. */
async function unpacked<S extends { readonly recipe: string }>(sweep: S, flags: SweepFlags): Promise<S> {
  const { isPackName } = await import('../../share/format.js');
  if (!isPackName(sweep.recipe)) return sweep;
  const { openPackedRecipe } = await import('../../share/packed-recipe.js');
  return { ...sweep, recipe: await openPackedRecipe(sweep.recipe, { allowPlugins: flags.allowPlugins === true }) };
}

function shardOf(text: string | undefined): { readonly index: number; readonly count: number } | undefined {
  if (text === undefined) return undefined;
  const [, index, count] = /^(\d+)\/(\d+)$/.exec(text) ?? [];
  const shard = { index: Number(index), count: Number(count) };
  if (shard.index >= 1 && shard.index <= shard.count) return shard;
  throw new VlmError('USAGE', { what: '--shard is written i/n, i from 1 to n', received: text });
}

function outcomeText(row: ResultRow): string {
  if (!row.ok) {
    const { code, what } = row['error'] as { readonly code: string; readonly what: string };
    return `failed (${code}: ${what})`;
  }
  const { ttftMs, decodeTokensPerSecond, latencyMs } = row['figures'] as PointFigures;
  const [low, high] = latencyMs.ci;
  return [
    `first token ${ms(ttftMs.median)}`,
    `decode ${decodeTokensPerSecond.median.toFixed(1)} tok/s`,
    `latency ${ms(latencyMs.median)} (${ms(low)} to ${ms(high)})`,
    ...(row['noisy'] === true ? ['noisy'] : []),
    ...(row['emulated'] === true ? ['emulated'] : []),
  ].join(' · ');
}

/** One line that is redrawn on a terminal; elsewhere only what is said stays. */
class StatusLine {
  readonly #io: Io;
  readonly #quiet: boolean;
  #drawn = false;

  constructor(io: Io, quiet: boolean) {
    this.#io = io;
    this.#quiet = quiet;
  }

  show(text: string): void {
    if (this.#quiet || !this.#io.errIsTerminal) return;
    this.#io.err(`\r${text}\u001b[K`);
    this.#drawn = true;
  }

  say(text: string): void {
    if (this.#quiet) return;
    this.clear();
    this.#io.err(`${text}\n`);
  }

  clear(): void {
    if (this.#drawn) this.#io.err('\r\u001b[K');
    this.#drawn = false;
  }
}
