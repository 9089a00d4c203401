/** Which points of a sweep would run, found out before any of them does: compiled, their shapes planned, their programs there. */
import { basename, dirname } from 'node:path';
import { type ErrorData, type SourceLocation, VlmError } from '../contracts/errors.js';
import type { Diagnostic, Plan } from '../contracts/recipe.js';
import { openModelFolder, requireProgram } from '../model/folder.js';
import { formatDiagnostics, nearHint } from '../recipe/index.js';
import { type InputGiven, loadInputs } from '../runner/inputs/load.js';
import type { RunItem } from '../runner/item.js';
import type { Sweep } from '../sweep/file.js';
import { changesOf, type Point, referenceOf } from '../sweep/points.js';
import { PlanLooks, shapePlanner } from './plan.js';
import { compileRecipe, requirePlan } from './recipes.js';
import { readableRows } from './sweep-score.js';

export interface PlanRequest {
  readonly sweep: Sweep;
  readonly allowPlugins: boolean;
  readonly signal?: AbortSignal;
  readonly onPlanned?: (planned: number, total: number) => void;
}

export interface Refused {
  readonly point: Point;
  readonly error: ErrorData;
  /** Where the recipe has errors with the values of the point: each of them. */
  readonly diagnostics?: readonly Diagnostic[];
}

export const PATHS_OF_SWEEP = 'paths in a sweep file start from the folder of that file';
const UNPLANNED = { what: 'The point cannot be planned' };

/**
 * The point that the file names; else the first one that the planner takes: a refused one has no tokens, and nothing
 * could be compared with it. All shards look through all points, so that they have the same reference.
 */
export async function fittingReference(points: readonly Point[], request: PlanRequest): Promise<Point> {
  const named = referenceOf(request.sweep, points);
  if (request.sweep.parity.reference !== null) return named;
  const looks = new PlanLooks();
  for (const point of points) {
    if (request.signal?.aborted === true) break;
    if ((await refusalOf(point, request, looks)) === null) return point;
  }
  return named;
}

/** Nothing that can be known before is found out by failing. */
export async function planAll(
  points: readonly Point[],
  request: PlanRequest,
): Promise<{ readonly refused: readonly Refused[]; readonly runnable: readonly Point[] }> {
  const refused: Refused[] = [];
  const runnable: Point[] = [];
  const looks = new PlanLooks();
  for (const [i, point] of points.entries()) {
    if (request.signal?.aborted === true) break;
    const refusal = await refusalOf(point, request, looks);
    if (refusal === null) runnable.push(point);
    else refused.push(refusal);
    request.onPlanned?.(i + 1, points.length);
  }
  return { refused, runnable };
}

/** Why a point cannot run; null for one that can. */
async function refusalOf(
  point: Point,
  request: Pick<PlanRequest, 'sweep' | 'allowPlugins'>,
  looks: PlanLooks,
): Promise<Refused | null> {
  const { sweep, allowPlugins } = request;
  let problems: readonly Diagnostic[] = [];
  try {
    const { set, devices } = changesOf(point.values);
    const compilation = await compileRecipe(sweep.recipe, { set, devices, allowPlugins, cwd: dirname(sweep.file) });
    if (compilation.plan === null) problems = compilation.diagnostics.filter(({ severity }) => severity === 'error');
    await planPoint(point, requirePlan(compilation, { allowPlugins }), sweep, looks);
    return null;
  } catch (error) {
    const wrapped = VlmError.wrap(error, 'INTERNAL', UNPLANNED);
    const diagnostics = problems.map((problem) => placedProblem(problem, point, sweep));
    return {
      point,
      error: placed(wrapped.toData(), diagnostics, point, sweep),
      ...(diagnostics.length === 0 ? {} : { diagnostics }),
    };
  }
}

/** Where the sweep file has what a point changes: there it was written, not on a command line. */
function placeOfChange(
  given: SourceLocation | undefined,
  { values }: Point,
  sweep: Sweep,
): ReturnType<Sweep['placeOf']> | null {
  const [, option, number = '1'] = /^--(set|device)(?: \((\d+)\))?$/.exec(given?.file ?? '') ?? [];
  if (option === undefined) return null;
  const paths = Object.keys(values).filter((path) => path.startsWith('device.') === (option === 'device'));
  const path = paths[Number(number) - 1];
  if (path === undefined) return null;
  const part = (['grid', 'zip'] as const).find((one) => Object.hasOwn(sweep[one], path));
  if (part !== undefined) return sweep.placeOf([part, path]);
  const at = sweep.list.findIndex((one) => Object.hasOwn(one, path) && one[path] === values[path]);
  return sweep.placeOf(['list', Math.max(0, at), path]);
}

function placed(error: ErrorData, problems: readonly Diagnostic[], point: Point, sweep: Sweep): ErrorData {
  const location = placeOfChange(error.location, point, sweep);
  const [first, ...more] = problems;
  if (first === undefined) return location === null ? error : { ...error, location };
  // The place and the hint of a single one are those of the error.
  const told =
    more.length > 0 || location === null
      ? formatDiagnostics(problems, { color: false }).trimEnd()
      : `error[${first.code}]: ${first.message}`;
  return { ...error, received: told, ...(location === null ? {} : { location }) };
}

function placedProblem(problem: Diagnostic, point: Point, sweep: Sweep): Diagnostic {
  const location = placeOfChange(problem.location, point, sweep);
  if (location === null) return problem;
  const { excerpt: _, ...rest } = problem;
  return { ...rest, location };
}

async function planPoint(point: Point, plan: Plan, sweep: Sweep, looks: PlanLooks): Promise<void> {
  const { set, devices } = changesOf(point.values);
  const folder = dirname(sweep.file);
  const shapes = await shapePlanner(plan, looks);
  for (const [i, inputs] of sweep.inputs.entries()) {
    try {
      const { values } = await loadInputs(plan, inputs as Readonly<Record<string, InputGiven>>, {
        cwd: folder,
        suggest: nearHint,
      });
      await shapes(values);
    } catch (error) {
      throw VlmError.fromData(placedInput(VlmError.wrap(error, 'INTERNAL', UNPLANNED).toData(), i, sweep));
    }
  }
  await planScore(plan, sweep, shapes);
  await requirePrograms(plan, [
    ...devices.flatMap((device) => ['--device', device]),
    ...set.flatMap((one) => ['--set', one]),
  ]);
}

/** Inputs of a sweep are written in its file, and so is the mistake when one cannot be used. */
function placedInput(error: ErrorData, index: number, sweep: Sweep): ErrorData {
  if (error.location !== undefined) return error;
  const given = sweep.inputs[index] ?? {};
  const told = `${error.what} ${error.where ?? ''}`;
  const name = Object.keys(given).find(
    (one) => told.includes(`input "${one}"`) || basename(String(given[one])) === error.where,
  );
  const isLost = name !== undefined && error.cause?.startsWith('ENOENT') === true;
  const hint = isLost
    ? PATHS_OF_SWEEP
    : error.code === 'INPUT_MISSING'
      ? 'give one under "inputs:" of the sweep, or a default in the recipe'
      : error.hint;
  return {
    ...error,
    ...(hint === undefined ? {} : { hint }),
    ...(name === undefined ? {} : { location: sweep.placeOf(['inputs', index, name]) }),
  };
}

/** A row that cannot be read scores nothing at any point; one that this point has no room for is known before it runs. */
async function planScore(plan: Plan, { parity }: Sweep, shapes: (item: RunItem) => Promise<unknown>): Promise<void> {
  if (parity.score === null) return;
  for await (const { id, inputs } of readableRows(plan, parity.score)) {
    try {
      await shapes(inputs.values);
    } catch (error) {
      throw VlmError.wrap(error, 'INTERNAL', { what: 'The row cannot be planned' }).at(
        `${basename(parity.score.dataset)}, row ${id}`,
      );
    }
  }
}

/** A plan needs no program, a run does: exported ones on the processor, compiled ones on a card. */
async function requirePrograms(plan: Plan, args: readonly string[]): Promise<void> {
  const model = await openModelFolder(plan.model);
  let cards = false;
  for (const { device, manifest } of plan.nodes) {
    if (manifest.program === undefined || device === null) continue;
    if (plan.devices[device]?.kind === 'ai100') cards = true;
    else requireProgram(model, manifest.program);
  }
  if (!cards) return;
  const { resolvePrograms } = await import('./compile.js');
  await resolvePrograms(plan, { args });
}
