/**
 * vlm-run as a library. Nothing here prints or ends the process: progress comes as events, failures as VlmError or as
 * data in the result.
 *
 *     import { run } from 'vlm-run';
 *     const { items } = await run('pipelines/internvl.yaml', { inputs: { image: 'cat.jpg', prompt: 'What is this?' } });
 *     console.log(items[0]?.text);
 */
import { resolve } from 'node:path';
import { compileRecipe, type RecipeOptions, requirePlan } from './compose/recipes.js';
import type { Compilation, Plan } from './contracts/recipe.js';
import type { RunEvent, RunResultRecord } from './contracts/record.js';
import type { FetchLimits } from './runner/inputs/fetch.js';
import type { InputGiven } from './runner/inputs/load.js';
import type { ShapePlan } from './runner/shape-plan.js';
import { isPackName, type Lock, type Tolerances } from './share/format.js';
import type { PackedRecipe } from './share/pack.js';
import type { Verification } from './share/verify.js';

/** Values by input name. Text as it is; images and conversations as a path, an address, bytes or data. */
export type RunInputs = Readonly<Record<string, InputGiven>>;

export interface InputOptions {
  /** Relative paths of inputs start here. Default: the working directory. */
  readonly cwd?: string;
  readonly limits?: Partial<FetchLimits>;
}

export interface PlanOptions extends RecipeOptions, InputOptions {
  readonly inputs?: RunInputs;
}

export interface RunOptions extends RecipeOptions, InputOptions {
  /** Inputs of a plain run. */
  readonly inputs?: RunInputs;
  /** Several items instead: each goes through the recipe on its own, and one that fails does not stop the others. */
  readonly items?: readonly RunInputs[];
  readonly onEvent?: (event: RunEvent) => void;
  /** Stops the run after the native call that is under way; the result then holds CANCELLED. */
  readonly signal?: AbortSignal;
  /** Folder for run record, answer and overlay picture. */
  readonly out?: string;
  /** File for a Chrome trace. */
  readonly trace?: string;
}

/** Compiles a recipe file. Its problems are diagnostics, never exceptions. */
export async function compile(file: string, options: RecipeOptions = {}): Promise<Compilation> {
  return compileRecipe(file, options);
}

/** Tiles, tokens, chunks, shapes and memory of a run. Throws RECIPE_INVALID, PLAN_DOES_NOT_FIT and what inputs throw. */
export async function plan(recipe: string | Plan, options: PlanOptions = {}): Promise<ShapePlan> {
  const compiled = await planOf(recipe, options);
  const [{ loadInputs }, { shapePlan }] = await Promise.all([
    import('./runner/inputs/load.js'),
    import('./compose/plan.js'),
  ]);
  const { values } = await loadInputs(compiled, options.inputs ?? {}, inputOptions(options));
  return shapePlan(compiled, values);
}

/**
 * Runs a recipe. Throws what is wrong before anything runs (recipe, inputs); what happens to an item during the run is
 * in the result.
 */
export async function run(recipe: string | Plan, options: RunOptions = {}): Promise<RunResultRecord> {
  const compiled = await planOf(recipe, options);
  const [{ loadInputs }, { composedRun }] = await Promise.all([
    import('./runner/inputs/load.js'),
    import('./compose/run.js'),
  ]);
  const { onEvent, signal, out, trace } = options;
  const given = options.items ?? [options.inputs ?? {}];
  const load = { ...inputOptions(options), ...(signal === undefined ? {} : { signal }) };
  const items = await Promise.all(given.map((inputs) => loadInputs(compiled, inputs, load)));
  const { result } = await composedRun(compiled, {
    items,
    ...(onEvent === undefined ? {} : { onEvent }),
    ...(signal === undefined ? {} : { signal }),
    ...(out === undefined ? {} : { out: resolve(out) }),
    ...(trace === undefined ? {} : { trace: resolve(trace) }),
  });
  return result;
}

export interface LockRecipeOptions extends RecipeOptions {
  /** Inputs of examples beside the recipe's own defaults; files lie in the recipe's project. */
  readonly examples?: readonly Readonly<Record<string, string | readonly string[]>>[];
  readonly tolerances?: Tolerances;
  /** Relative places of examples start here. Default: the working directory. */
  readonly cwd?: string;
  readonly onEvent?: (event: RunEvent) => void;
  readonly signal?: AbortSignal;
}

/** Digests of all a recipe depends on, and what its examples give. Nothing is written: `lockText` makes the file. */
export async function lock(recipe: string | Plan, options: LockRecipeOptions = {}): Promise<Lock> {
  const compiled = await planOf(recipe, options);
  const { makeLock } = await import('./share/lock.js');
  const { examples = [], tolerances, cwd, onEvent, signal } = options;
  const lists = examples.map((example) =>
    Object.fromEntries(Object.entries(example).map(([k, v]) => [k, typeof v === 'string' ? [v] : v])),
  );
  return makeLock(compiled, {
    examples: lists,
    ...(tolerances === undefined ? {} : { tolerances }),
    ...(cwd === undefined ? {} : { cwd }),
    ...(onEvent === undefined ? {} : { onEvent }),
    ...(signal === undefined ? {} : { signal }),
  });
}

/** The file of a lock: the same lock is the same text. */
export async function lockText(made: Lock): Promise<string> {
  return (await import('./share/lock.js')).lockText(made);
}

/** Runs the examples of a lock (or of a lock file; by default that beside the recipe) again and compares. */
export async function verify(
  recipe: string | Plan,
  against?: string | Lock,
  options: Pick<LockRecipeOptions, keyof RecipeOptions | 'onEvent' | 'signal'> = {},
): Promise<Verification> {
  const compiled = await planOf(recipe, options);
  const [{ verify: compare }, { readLock }, { lockFileOf }] = await Promise.all([
    import('./share/verify.js'),
    import('./share/read-lock.js'),
    import('./share/format.js'),
  ]);
  const known = typeof against === 'object' ? against : readLock(against ?? lockFileOf(compiled.file));
  const { onEvent, signal } = options;
  return compare(compiled, known, {
    ...(onEvent === undefined ? {} : { onEvent }),
    ...(signal === undefined ? {} : { signal }),
  });
}

/** Writes one file that runs anywhere; without a lock beside the recipe, one is made there first. */
export async function pack(
  recipe: string | Plan,
  out: string,
  options: RecipeOptions & { readonly includeModel?: boolean } = {},
): Promise<PackedRecipe> {
  const compiled = await planOf(recipe, options);
  const { packRecipe } = await import('./share/pack.js');
  return packRecipe(compiled, { out: resolve(out), includeModel: options.includeModel === true });
}

/** Of a recipe file or a pack. */
async function planOf(recipe: string | Plan, options: RecipeOptions): Promise<Plan> {
  if (typeof recipe !== 'string') return recipe;
  let file = recipe;
  if (isPackName(recipe)) {
    const { openPackedRecipe } = await import('./share/packed-recipe.js');
    file = await openPackedRecipe(recipe, options);
  }
  return requirePlan(await compileRecipe(file, options), options);
}

function inputOptions({ cwd, limits }: InputOptions): InputOptions {
  return { ...(cwd === undefined ? {} : { cwd }), ...(limits === undefined ? {} : { limits }) };
}

export type { RecipeOptions } from './compose/recipes.js';
export type { DeviceConfig, DeviceInfo, ProgramDescription, ProgramRole } from './contracts/device.js';
export { ERROR_CODES, type ErrorCode, type ErrorData, EXIT, type ExitCode, VlmError } from './contracts/errors.js';
export type {
  ChatMessage,
  ContentPart,
  ItemResult,
  NodeContext,
  NodeInputs,
  NodeManifest,
  NodeModule,
  NodeOutputs,
  OptionSchema,
} from './contracts/node.js';
export type * from './contracts/ports.js';
export type { Compilation, Diagnostic, Plan, PlanNode, Recipe } from './contracts/recipe.js';
export type {
  CompletionRecord,
  ItemRecord,
  Ledger,
  LedgerLane,
  RunEvent,
  RunMetrics,
  RunResultRecord,
} from './contracts/record.js';
export type { Tensor } from './contracts/tensor.js';
export type { PlannedDecode } from './runner/fit.js';
export type { InputGiven } from './runner/inputs/load.js';
export type {
  PlannedCall,
  PlannedImage,
  PlannedProgram,
  PlannedPrompt,
  ShapePlan,
} from './runner/shape-plan.js';
export type { Finding } from './share/compare.js';
export type { Lock, Tolerances } from './share/format.js';
export type { PackedRecipe } from './share/pack.js';
export type { Verification } from './share/verify.js';
