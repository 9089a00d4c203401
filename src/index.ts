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

async function planOf(recipe: string | Plan, options: RecipeOptions): Promise<Plan> {
  return typeof recipe === 'string' ? requirePlan(await compileRecipe(recipe, options), options) : recipe;
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
export type { ItemRecord, Ledger, LedgerLane, RunEvent, RunMetrics, RunResultRecord } from './contracts/record.js';
export type { Tensor } from './contracts/tensor.js';
export type { InputGiven } from './runner/inputs/load.js';
export type { PlannedCall, PlannedDecode, PlannedImage, PlannedProgram, ShapePlan } from './runner/shape-plan.js';
