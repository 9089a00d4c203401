/** Options that every command about a recipe takes, and how they are written. */
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import type { RecipeOptions } from '../compose/recipes.js';
import { VlmError } from '../contracts/errors.js';
import type { Compilation, Plan } from '../contracts/recipe.js';
import { isPackName } from '../share/format.js';
import { COMMANDS } from './commands.js';
import { problemsDocument, reportError } from './failure.js';
import type { Io } from './io.js';

export interface RecipeFlags {
  readonly set?: readonly string[];
  readonly device?: readonly string[];
  readonly allowPlugins?: boolean;
  readonly json?: boolean;
}

export const collect = (value: string, previous: readonly string[] = []): readonly string[] => [...previous, value];

export function addRecipeOptions(command: Command): Command {
  return command
    .option('--set <path=value>', 'change a value of the recipe, as often as needed', collect)
    .option('--device <name=kind[:ids]>', 'change a device: main=cpu, main=ai100:0,1', collect)
    .option('--allow-plugins', 'let the recipe run node modules of its own')
    .option('--json', 'one JSON document on standard output');
}

export function recipeOptions(flags: RecipeFlags): RecipeOptions {
  return {
    ...(flags.set === undefined ? {} : { set: flags.set }),
    ...(flags.device === undefined ? {} : { devices: flags.device }),
    ...(flags.allowPlugins === true ? { allowPlugins: true } : {}),
  };
}

/** The same options as one types them: for the commands that messages propose. */
export function recipeArguments(flags: RecipeFlags): readonly string[] {
  return [
    ...(flags.set ?? []).flatMap((text) => ['--set', text]),
    ...(flags.device ?? []).flatMap((text) => ['--device', text]),
    ...(flags.allowPlugins === true ? ['--allow-plugins'] : []),
  ];
}

/** Problems of a recipe have been told: the command ends with this exit code. */
export class Told {
  readonly exitCode: number;
  constructor(exitCode: number) {
    this.exitCode = exitCode;
  }
}

/** Compiles and tells the problems: warnings and go on, or all of them and a thrown `Told`. A pack is opened first. */
export async function compileAndTell(
  given: string,
  flags: RecipeFlags & { readonly quiet?: boolean },
  io: Io,
): Promise<{ readonly plan: Plan; readonly compilation: Compilation }> {
  await refuseMistypedCommand(given);
  const { compileRecipe, requirePlan } = await import('../compose/recipes.js');
  const file = isPackName(given) ? await openPacked(given, flags, io) : given;
  const { formatDiagnostics } = await import('../recipe/index.js');
  const options = recipeOptions(flags);
  const compilation = await watchingModules(io, flags.json === true, () => compileRecipe(file, options));
  const { plan, diagnostics } = compilation;
  const shown = plan !== null && flags.quiet === true ? [] : diagnostics;
  if (shown.length > 0 && flags.json !== true) io.err(formatDiagnostics(shown, { color: io.color }));
  if (plan !== null) return { plan, compilation };
  if (flags.json === true) {
    try {
      requirePlan(compilation, options);
    } catch (error) {
      io.out(problemsDocument(error as VlmError, diagnostics));
    }
  }
  throw new Told(2);
}

/**
 * Modules of the user's own run in this process when they are asked for their manifests. One that ends the process, or
 * waits at its top for what never comes, must not make it look as if all were well.
 */
export async function watchingModules<T>(io: Io, json: boolean, work: () => Promise<T>): Promise<T> {
  const tell = (): void => {
    const error = new VlmError('PLUGIN_INVALID', {
      what: 'The process ended while a node module was loaded',
      expected: 'a module that exports `manifest` and `run`, and calls nothing that ends the process',
      hint: 'look at the top of the module for process.exit, or an await of what never comes',
    });
    process.exitCode = reportError(error, io, json);
  };
  process.once('exit', tell);
  try {
    return await work();
  } finally {
    process.removeListener('exit', tell);
  }
}

async function openPacked(file: string, flags: RecipeFlags & { readonly quiet?: boolean }, io: Io): Promise<string> {
  const { openPackedRecipe } = await import('../share/packed-recipe.js');
  const isSilent = flags.quiet === true || flags.json === true;
  const timer = setTimeout(() => isSilent || io.err(`unpacking ${file}\n`), 1000);
  try {
    return await openPackedRecipe(file, recipeOptions(flags));
  } finally {
    clearTimeout(timer);
  }
}

/** `vlm-run FILE` runs a recipe, so a mistyped command arrives here as the name of a file. */
export async function refuseMistypedCommand(file: string): Promise<void> {
  if (/[./\\]/.test(file) || existsSync(file)) return;
  const { nearest } = await import('../recipe/index.js');
  const near = nearest(file, COMMANDS);
  throw new VlmError('USAGE', {
    what: `"${file}" is neither a command nor a recipe file`,
    expected: `a recipe such as pipelines/internvl.yaml, or one of ${COMMANDS.join(', ')}`,
    hint: near === undefined ? 'see vlm-run --help' : `did you mean "${near}"?`,
  });
}
