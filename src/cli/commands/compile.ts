/** vlm-run compile RECIPE: the programs of a recipe, compiled for cards or for an emulated one, into the cache. */
import { Command, Option } from 'commander';
import type { CompiledJob, CompileJob } from '../../compose/compile.js';
import { VlmError } from '../../contracts/errors.js';
import type { Diagnostic } from '../../contracts/recipe.js';
import type { CompileTarget } from '../../devices/ai100/compile/cache.js';
import type { Problem } from '../../devices/ai100/compile/checks.js';
import type { Compiler } from '../../devices/ai100/compile/run-compiler.js';
import { harmless, type Io } from '../io.js';
import { Progress } from '../progress.js';
import { addRecipeOptions, compileAndTell, type RecipeFlags } from '../recipe-options.js';
import { type SignalWatch, watchSignals } from '../signals.js';

interface CompileFlags extends RecipeFlags {
  readonly dryRun?: boolean;
  readonly target?: CompileTarget;
  readonly compiler?: string;
  readonly quiet?: boolean;
}

export function compileCommand(io: Io): Command {
  const command = new Command('compile')
    .description('compile the programs of a recipe for Cloud AI 100 cards, into the cache')
    .argument('<file>', 'the recipe')
    .option('--dry-run', 'print the exact commands and files, and compile nothing')
    .addOption(
      new Option('--target <kind>', 'card or emulator; without it, as the devices of the recipe say').choices([
        'card',
        'emulator',
      ]),
    )
    .option('--compiler <path>', 'qaic-compile of the Apps SDK (QAIC_COMPILE, else /opt/qti-aic/exec/qaic-compile)')
    .option('--quiet', 'no progress and no compiler output');
  return addRecipeOptions(command)
    .addHelpText(
      'after',
      `
Examples:
  $ vlm-run compile pipelines/internvl.ai100.yaml --dry-run
  $ vlm-run compile pipelines/internvl.ai100.yaml --set nodes.decode.with.ctx_len=2048
  $ vlm-run compile pipelines/internvl.ai100.yaml --target emulator`,
    )
    .action(async (file: string, flags: CompileFlags) => {
      const signals = watchSignals();
      try {
        await compile(file, flags, io, signals);
      } finally {
        signals.release();
      }
    });
}

async function compile(file: string, flags: CompileFlags, io: Io, signals: SignalWatch): Promise<void> {
  const { plan, compilation } = await compileAndTell(file, flags, io);
  const [{ compileJobs, checkJobs, usesCards }, { cacheFolder }, { checkCompiler }, { findCompiler, killCompilers }] =
    await Promise.all([
      import('../../compose/compile.js'),
      import('../../devices/ai100/compile/cache.js'),
      import('../../devices/ai100/compile/checks.js'),
      import('../../devices/ai100/compile/run-compiler.js'),
    ]);
  if (!usesCards(plan)) {
    throw new VlmError('OPTION_INVALID', {
      what: 'No node of this recipe runs on a card, so there is nothing to compile',
      expected: 'a device of kind ai100',
      where: 'devices',
      hint: 'add --device main=ai100:0, or see pipelines/internvl.ai100.yaml',
    });
  }
  signals.onKill(killCompilers);
  const cache = cacheFolder();
  const jobs = await compileJobs(plan, { cache, ...(flags.target === undefined ? {} : { target: flags.target }) });
  const compiler = jobs.some((job) => job.target === 'card') ? await findCompiler(flags.compiler) : null;
  if (flags.compiler !== undefined && compiler === null && flags.dryRun !== true) {
    throw new VlmError('DEVICE_UNAVAILABLE', {
      what: 'There is no such compiler',
      where: flags.compiler,
      hint: 'give the path of qaic-compile, in the folder exec of the Apps SDK',
    });
  }
  const problems = [...checkJobs(plan, jobs, cache), ...(compiler === null ? [] : checkCompiler(compiler.version))];
  const { diagnostics } = compilation;
  if (flags.dryRun === true) return dryRun(jobs, problems, diagnostics, flags, io);
  if (flags.json !== true) tell(problems, io);
  refuse(problems);
  const done = await compileAll(jobs, compiler, cache, flags, io, signals.signal);
  if (flags.json === true) {
    const programs = done.map(({ role, device, cached, program: { entry, qpc } }) => {
      return { role, device, cached, key: entry.key, target: entry.target, compiler: entry.compiler, path: qpc };
    });
    io.out(`${JSON.stringify({ ok: true, diagnostics, problems, programs }, null, 2)}\n`);
  } else for (const { program } of done) io.out(`${program.qpc}\n`);
}

function tell(problems: readonly Problem[], io: Io): void {
  for (const { severity, what, hint } of problems) io.err(`${severity}: ${harmless(what)} — ${harmless(hint)}\n`);
}

function refuse(problems: readonly Problem[]): void {
  const refusal = refusalOf(problems);
  if (refusal !== null) throw refusal;
}

function refusalOf(problems: readonly Problem[]): VlmError | null {
  const errors = problems.filter((p) => p.severity === 'error');
  const [first] = errors;
  if (first === undefined) return null;
  return new VlmError('OPTION_INVALID', {
    what: errors.length === 1 ? 'Compiling would fail' : `Compiling would fail for ${errors.length} reasons`,
    received: errors.map((p) => p.what).join('\n'),
    hint: first.hint,
  });
}

async function dryRun(
  jobs: readonly CompileJob[],
  problems: readonly Problem[],
  diagnostics: readonly Diagnostic[],
  flags: CompileFlags,
  io: Io,
): Promise<void> {
  const [{ commandLine }, { DEFAULT_COMPILER }] = await Promise.all([
    import('../../devices/ai100/compile/command.js'),
    import('../../devices/ai100/compile/run-compiler.js'),
  ]);
  const programs = jobs.map((job) => ({
    role: job.spec.role,
    device: job.spec.device,
    target: job.target,
    command:
      job.target === 'card'
        ? commandLine(flags.compiler ?? DEFAULT_COMPILER, job.graph.path, job.request, '<draft>', '<draft>/qpc')
        : null,
    files: Object.fromEntries(job.request.files.map((f) => [f.name, f.text])),
  }));
  if (flags.json === true) {
    const error = refusalOf(problems);
    const told = error === null ? { ok: true } : { ok: false, error: error.toData() };
    io.out(`${JSON.stringify({ ...told, diagnostics, problems, programs }, null, 2)}\n`);
    if (error !== null) process.exitCode = error.exitCode;
    return;
  }
  tell(problems, io);
  for (const p of programs) {
    io.out(`# ${p.role} program on ${p.device}\n`);
    io.out(p.command === null ? '# emulated: no compiler is called\n' : `${p.command.join(' ')}\n`);
    for (const [name, text] of Object.entries(p.files)) io.out(`# ${name}\n${text.trimEnd()}\n`);
    io.out('\n');
  }
  // Shown all the same: what would be refused ends as it would without --dry-run.
  refuse(problems);
}

type Done = CompiledJob & { readonly role: string; readonly device: string };

async function compileAll(
  jobs: readonly CompileJob[],
  compiler: Compiler | null,
  cache: string,
  flags: CompileFlags,
  io: Io,
  signal: AbortSignal,
): Promise<readonly Done[]> {
  const { compileJob } = await import('../../compose/compile.js');
  const quiet = flags.quiet === true || flags.json === true;
  const done: Done[] = [];
  for (const [i, job] of jobs.entries()) {
    const { role, device } = job.spec;
    const watch = new CompileWatch(io, quiet, `${role} (${i + 1} of ${jobs.length})`);
    try {
      const result = await compileJob(job, compiler, cache, { signal, onLine: (line) => watch.line(line) });
      done.push({ ...result, role, device });
      watch.end(result.cached ? 'is in the cache' : 'is compiled');
    } finally {
      watch.stop();
    }
  }
  return done;
}

/** One program under way: the compiler's words, and how long it has been at it. */
class CompileWatch {
  readonly #io: Io;
  readonly #quiet: boolean;
  readonly #what: string;
  readonly #progress: Progress;
  readonly #began = performance.now();
  readonly #timer: NodeJS.Timeout;

  constructor(io: Io, quiet: boolean, what: string) {
    this.#io = io;
    this.#quiet = quiet;
    this.#what = what;
    this.#progress = new Progress(io, { quiet, streamNode: null });
    // A terminal shows the time as it goes; a log gets a line a minute.
    this.#timer = setInterval(() => this.#tick(), io.errIsTerminal ? 1000 : 60_000);
    this.#timer.unref();
    if (!quiet && !io.errIsTerminal) io.err(`compiling ${what}\n`);
    if (io.errIsTerminal) this.#tick();
  }

  line(text: string): void {
    if (!this.#quiet) this.#progress.note(text);
  }

  end(how: string): void {
    this.stop();
    if (!this.#quiet) this.#io.err(`${this.#what} ${how}, ${this.#time()}\n`);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#progress.stop();
  }

  #tick(): void {
    if (this.#quiet) return;
    if (!this.#io.errIsTerminal) this.#io.err(`compiling ${this.#what}, ${this.#time()} so far\n`);
    else
      this.#progress.handle({
        type: 'progress',
        node: `compiling ${this.#what}`,
        done: 0,
        total: 0,
        unit: this.#time(),
      });
  }

  #time(): string {
    const seconds = Math.floor((performance.now() - this.#began) / 1000);
    const two = (n: number) => String(n).padStart(2, '0');
    return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  }
}
