/** Which points of a sweep would run, found out before any of them does: compiled, their shapes planned, their programs there. */
import { basename, dirname } from 'node:path';
import { type ErrorData, VlmError } from '../contracts/errors.js';
import type { Plan } from '../contracts/recipe.js';
import { openModelFolder, requireProgram } from '../model/folder.js';
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
}

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
    const fits = await planPoint(point, request, looks).then(
      () => true,
      () => false,
    );
    if (fits) return point;
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
    try {
      await planPoint(point, request, looks);
      runnable.push(point);
    } catch (error) {
      const wrapped = VlmError.wrap(error, 'INTERNAL', { what: 'The point cannot be planned' });
      refused.push({ point, error: placed(wrapped.toData(), point, request.sweep) });
    }
    request.onPlanned?.(i + 1, points.length);
  }
  return { refused, runnable };
}

/** What a point changes was written in the sweep file, not on a command line. */
function placed(error: ErrorData, point: Point, sweep: Sweep): ErrorData {
  if (error.code === 'INPUT_UNREADABLE' && error.hint !== undefined) {
    return { ...error, hint: 'paths in a sweep file start from the folder of that file' };
  }
  const [, option, number = '1'] = /^--(set|device)(?: \((\d+)\))?$/.exec(error.location?.file ?? '') ?? [];
  if (option === undefined) return error;
  const paths = Object.keys(point.values).filter((path) => path.startsWith('device.') === (option === 'device'));
  const path = paths[Number(number) - 1];
  if (path === undefined) return error;
  const part = (['grid', 'zip'] as const).find((one) => Object.hasOwn(sweep[one], path)) ?? 'list';
  const at = sweep.list.findIndex((one) => Object.hasOwn(one, path) && one[path] === point.values[path]);
  // The excerpt would show a command line that nobody typed.
  const told = (error.received ?? '').split('\n').filter((line) => line.startsWith('error['));
  const received = told.length === 0 ? {} : { received: told.join('\n') };
  return {
    ...error,
    ...received,
    location: sweep.placeOf(part === 'list' ? ['list', Math.max(0, at), path] : [part, path]),
  };
}

async function planPoint(
  point: Point,
  { sweep, allowPlugins }: Pick<PlanRequest, 'sweep' | 'allowPlugins'>,
  looks: PlanLooks,
): Promise<void> {
  const { set, devices } = changesOf(point.values);
  const plan = requirePlan(
    await compileRecipe(sweep.recipe, { set, devices, allowPlugins, cwd: dirname(sweep.file) }),
    { allowPlugins },
  );
  const folder = dirname(sweep.file);
  const shapes = await shapePlanner(plan, looks);
  for (const inputs of sweep.inputs) {
    const { values } = await loadInputs(plan, inputs as Readonly<Record<string, InputGiven>>, { cwd: folder });
    await shapes(values);
  }
  await planScore(plan, sweep, shapes);
  await requirePrograms(plan, [
    ...devices.flatMap((device) => ['--device', device]),
    ...set.flatMap((one) => ['--set', one]),
  ]);
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
