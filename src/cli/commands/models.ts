/** `vlm-run models`: what is in a model folder, which family, what is missing; and `models pull`, the only download. */
import { statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { VlmError } from '../../contracts/errors.js';
import type { Compilation, RecipeModel } from '../../contracts/recipe.js';
import type { ModelReport } from '../../model/report.js';
import { packageRoot } from '../../util/package-root.js';
import type { Io } from '../io.js';
import { watchSignals } from '../signals.js';

export interface ModelsDeps {
  /** Standard output: the report. */
  out(text: string): void;
  /** Standard error: progress. */
  err(text: string): void;
  /** Colours on standard error. */
  readonly color?: boolean;
  /** One JSON document instead of text. */
  readonly json?: boolean;
  /** Watches over modules of the user's own while they are loaded. */
  readonly watching?: <T>(work: () => Promise<T>) => Promise<T>;
}

export function modelsDeps(io: Io, json: boolean): ModelsDeps {
  return {
    out: (text) => io.out(text),
    err: (text) => io.err(text),
    color: io.color,
    json,
    watching: async (work) => (await import('../recipe-options.js')).watchingModules(io, json, work),
  };
}

interface Flags {
  readonly allowPlugins?: boolean;
  readonly json?: boolean;
  readonly revision?: string;
  readonly all?: boolean;
}

export function modelsCommand(deps: ModelsDeps): Command {
  const models = new Command('models')
    .argument('[target]', 'a model folder, a recipe, or an id of the Hugging Face hub that was pulled before')
    .description('Show what is in a model folder: family, files, and what is missing.')
    .option('--allow-plugins', 'let the recipe run node modules of its own')
    .option('--json', 'one JSON document on standard output')
    .addHelpText(
      'after',
      '\nExamples:\n  $ vlm-run models                          the models on this machine\n  $ vlm-run models pipelines/internvl.yaml  the model of a recipe\n',
    )
    .action(async (target: string | undefined, flags: Flags) => {
      const json = flags.json === true || deps.json === true;
      const allowPlugins = flags.allowPlugins === true;
      await (target === undefined ? listModels(deps, json) : showModel(target, deps, { json, allowPlugins }));
    });
  models
    .command('pull')
    .argument('<id>', 'the model on the Hugging Face hub: owner/name')
    .description('Fetch a model into the Hugging Face cache: configuration, tokenizer and ONNX files.')
    .option('--revision <revision>', 'branch, tag or commit', 'main')
    .option('--all', 'everything in the repository, weights of other formats too')
    .option('--json', 'one JSON document on standard output')
    .addHelpText(
      'after',
      '\nExamples:\n  $ vlm-run models pull OpenGVLab/InternVL2_5-1B\n  $ HF_HOME=/data/hf vlm-run models pull OpenGVLab/InternVL2_5-1B --revision main --all\n',
    )
    .action(async (id: string, flags: Flags, command: Command) => {
      const parent = command.parent?.opts<Flags>();
      await pull(id, flags, deps, flags.json === true || parent?.json === true || deps.json === true);
    });
  return models;
}

interface Shown {
  readonly json: boolean;
  readonly allowPlugins: boolean;
}

/** What a word on the command line means: a folder, a recipe, or an id of the hub. */
async function modelOf(
  target: string,
  deps: ModelsDeps,
  how: Shown,
): Promise<{ readonly ref: RecipeModel; readonly baseDir?: string }> {
  const stat = statSync(target, { throwIfNoEntry: false });
  if (stat?.isDirectory() === true) return { ref: { path: resolve(target) } };
  if (stat?.isFile() === true || /\.ya?ml$/.test(target)) return modelOfRecipe(target, deps, how);
  if (/^[\w.-]+\/[\w.-]+$/.test(target) && !target.startsWith('.')) return { ref: { hub: target } };
  throw new VlmError('USAGE', {
    what: 'There is no such model',
    expected: 'a folder, a recipe file, or owner/name of a model on the hub',
    received: target,
  });
}

/** Tells all problems of a recipe, as other commands do. */
async function modelOfRecipe(
  file: string,
  deps: ModelsDeps,
  { json, allowPlugins }: Shown,
): Promise<{ readonly ref: RecipeModel }> {
  const { compileRecipe, requirePlan } = await import('../../compose/recipes.js');
  const work = (): Promise<Compilation> => compileRecipe(file, { allowPlugins });
  const compilation = await (deps.watching?.(work) ?? work());
  try {
    return { ref: requirePlan(compilation, { allowPlugins }).model };
  } catch (error) {
    const [{ formatDiagnostics }, { problemsDocument }, { Told }] = await Promise.all([
      import('../../recipe/index.js'),
      import('../failure.js'),
      import('../recipe-options.js'),
    ]);
    const problem = VlmError.wrap(error, 'INTERNAL', { what: 'The recipe cannot be read' });
    const { diagnostics } = compilation;
    if (json) deps.out(problemsDocument(problem, diagnostics));
    else deps.err(formatDiagnostics(diagnostics, { color: deps.color === true }));
    throw new Told(problem.exitCode);
  }
}

async function showModel(target: string, deps: ModelsDeps, how: Shown): Promise<void> {
  const { reportModel } = await import('../../model/report.js');
  const { ref } = await modelOf(target, deps, how);
  const report = await reportModel(ref);
  deps.out(how.json ? `${JSON.stringify(report, null, 2)}\n` : reportText(report));
}

async function listModels(deps: ModelsDeps, json: boolean): Promise<void> {
  const { cachedModels, foldersIn, reportModel } = await import('../../model/report.js');
  const refs: RecipeModel[] = [
    ...foldersIn(join(packageRoot(), 'models')).map((path) => ({ path })),
    ...cachedModels().map((hub) => ({ hub })),
  ];
  const reports: ModelReport[] = [];
  for (const ref of refs) {
    try {
      reports.push(await reportModel(ref));
    } catch (error) {
      // A cache may hold anything: what is no model is passed over, and said so.
      deps.err(
        `passed over ${ref.hub ?? ref.path ?? ''}: ${VlmError.wrap(error, 'MODEL_INVALID', { what: 'unreadable' }).message}\n`,
      );
    }
  }
  if (json) {
    deps.out(`${JSON.stringify(reports, null, 2)}\n`);
    return;
  }
  const lines = reports.map((r) => `${r.name}  ${status(r)}  ${r.folders.join(', ')}`);
  deps.out(`${lines.length === 0 ? 'no models here; see `vlm-run models pull --help`' : lines.join('\n')}\n`);
}

function status(report: ModelReport): string {
  if (report.problem !== undefined) return `not usable (${report.problem.code})`;
  return `${report.family ?? ''}, ${report.missing.length === 0 ? 'complete' : `${report.missing.length} missing`}`;
}

export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit] ?? ''}`;
}

export function reportText(report: ModelReport): string {
  const lines = [`${report.name}  ${status(report)}`];
  const rows = (title: string, entries: readonly (readonly [string, string])[]): void => {
    if (entries.length === 0) return;
    const width = Math.max(...entries.map(([key]) => key.length));
    lines.push('', title, ...entries.map(([key, value]) => `  ${key.padEnd(width)}  ${value}`));
  };
  const { hub } = report;
  rows('where', [
    ...report.folders.map((folder) => ['folder', folder] as const),
    ...(hub === null
      ? []
      : [
          [
            'hub',
            `${hub.id} at ${hub.revision}${hub.commit === null ? ' (not pulled)' : ` (${hub.commit.slice(0, 12)})`}`,
          ] as const,
        ]),
  ]);
  rows(
    'model',
    Object.entries(report.facts).map(([key, value]) => [key, String(value)] as const),
  );
  rows(
    'files',
    report.files.map(({ file, bytes }) => [file, size(bytes)] as const),
  );
  rows(
    'missing',
    report.missing.map(({ file, neededFor, remedy }) => [file, `${neededFor}\n      ${remedy}`] as const),
  );
  if (report.problem !== undefined) {
    const { what, expected, received, where, hint } = report.problem;
    const details = Object.entries({ what, expected, received, where, hint });
    rows(
      'problem',
      details.flatMap(([key, value]) => (value === undefined ? [] : [[key, value] as const])),
    );
  }
  return `${lines.join('\n')}\n`;
}

/** A line for every tenth of a big file. */
function tenths(deps: ModelsDeps): (path: string, done: number, total: number) => void {
  let told = '';
  return (path, done, total) => {
    const line = `     ${path}  ${Math.floor((done / total) * 10) * 10} %`;
    if (total < 50_000_000 || line === told) return;
    told = line;
    deps.err(`${line}\n`);
  };
}

async function pull(id: string, flags: Flags, deps: ModelsDeps, json: boolean): Promise<void> {
  const signals = watchSignals();
  try {
    const { giveUpPulls, pullModel } = await import('../../model/pull.js');
    signals.onKill(giveUpPulls);
    const result = await pullModel(id, {
      ...(flags.revision === undefined ? {} : { revision: flags.revision }),
      all: flags.all === true,
      signal: signals.signal,
      onProgress: tenths(deps),
      onFile: ({ path, size: bytes, cached }) => deps.err(`${cached ? 'have' : 'got '} ${path}  ${size(bytes)}\n`),
    });
    if (json) {
      deps.out(`${JSON.stringify(result, null, 2)}\n`);
      return;
    }
    deps.out(`${result.folder}\n`);
    if (result.skipped.length > 0) {
      deps.err(`left out ${result.skipped.length} files that no run reads (--all fetches them)\n`);
    }
  } finally {
    signals.release();
  }
}
