/** A sweep: all points are planned, then run one after the other, each in a child; results are kept as they come. */
import { createHash } from 'node:crypto';
import { cpus, loadavg, platform, release, totalmem } from 'node:os';
import { dirname, resolve } from 'node:path';
import { type ErrorData, VlmError } from '../contracts/errors.js';
import type { Recipe } from '../contracts/recipe.js';
import { type ResultRow, ResultStore, rowsOf } from '../dataset/store.js';
import { readText } from '../recipe/index.js';
import type { InputGiven } from '../runner/inputs/load.js';
import type { Sweep } from '../sweep/file.js';
import { changesOf, idleRules, inOrder, type Point, pointsOf, referenceOf, repeatsIn } from '../sweep/points.js';
import { runPoint } from '../sweep/run-point.js';
import { spread } from '../sweep/stats.js';
import { entryUrl } from '../util/entries.js';
import { compileRecipe, requirePlan } from './recipes.js';
import { versions } from './run.js';
import { fittingReference, PATHS_OF_SWEEP, type PlanRequest, planAll, type Refused } from './sweep-plan.js';
import { checkScore, type ScoredBy } from './sweep-score.js';

export type { Refused } from './sweep-plan.js';

export interface SweepRequest extends PlanRequest {
  readonly out: string;
  readonly resume: boolean;
  /** Resumes, and measures points again whose result is a failure. */
  readonly retryFailed?: boolean;
  readonly shard?: { readonly index: number; readonly count: number };
  /** What measures a point; default: a forked child under a watchdog. */
  readonly run?: typeof runPoint;
  /** All points are planned: what will run, and what is refused and why. */
  readonly onStart?: (points: number, refused: readonly Refused[], skipped: number) => void;
  readonly onPoint?: (point: Point, row: ResultRow) => void;
  readonly onProgress?: (point: Point, done: number, total: number) => void;
}

export interface SweepResult {
  readonly done: number;
  readonly failed: number;
  readonly skipped: number;
  readonly refused: readonly Refused[];
  readonly cancelled: boolean;
  readonly file: string;
}

export async function runSweep(request: SweepRequest): Promise<SweepResult> {
  const { sweep, signal } = request;
  const all = pointsOf(sweep);
  await requireRecipe(request);
  const reference = await fittingReference(all, request);
  const scored = await scoredBy(reference, request);
  const store = await openStore(request, reference, scored);
  try {
    const mine = inOrder(all, sweep.measure, request.shard);
    const { refused, runnable } = await planAll(mine, request);
    const before = await openBefore(request);
    const todo = runnable.filter(({ id }) => !store.done.has(id) || before.has(id));
    const skipped = runnable.length - todo.length;
    request.onStart?.(todo.length, refused, skipped);
    for (const { point, error } of refused) {
      if (!store.done.has(point.id)) await store.add(refusedRow(point, error));
    }
    let [done, failed] = [0, 0];
    for (const point of todo) {
      if (signal?.aborted === true) break;
      const row = await measurePoint(point, request);
      if (row === null) break;
      await store.add(row);
      done++;
      if (!row.ok) failed++;
      request.onPoint?.(point, row);
    }
    return { done, failed, skipped, refused, cancelled: signal?.aborted === true, file: store.path };
  } finally {
    await store.close();
  }
}

/**
 * Points that have a row and are not done with: those that an earlier run could not plan (what they lacked, a compiled
 * program, may be there now) and, where that is asked for, those that failed. Their next row counts instead.
 */
async function openBefore({ out, resume, retryFailed = false }: SweepRequest): Promise<ReadonlySet<string>> {
  const points = new Set<string>();
  if (!resume && !retryFailed) return points;
  for await (const { id, status } of rowsOf(resolve(out))) {
    if (status === 'refused' || (retryFailed && status === 'failed')) points.add(id);
    else points.delete(id);
  }
  return points;
}

/** With the inputs of the reference's recipe. One that cannot be compiled is refused, and says more than this could. */
async function scoredBy(
  reference: Point,
  { sweep, allowPlugins }: Pick<SweepRequest, 'sweep' | 'allowPlugins'>,
): Promise<ScoredBy | null> {
  const { score } = sweep.parity;
  if (score === null) return null;
  const { plan } = await compileRecipe(sweep.recipe, {
    ...changesOf(reference.values),
    allowPlugins,
    cwd: dirname(sweep.file),
  });
  if (plan === null) return null;
  try {
    return await checkScore(plan, score);
  } catch (error) {
    throw placedScore(VlmError.wrap(error, 'INTERNAL', { what: 'The score cannot be checked' }), sweep);
  }
}

/** What the sweep says of its score was written in its file. */
function placedScore(error: VlmError, sweep: Sweep): VlmError {
  const { where, location } = error.details;
  const key = where === sweep.parity.score?.dataset ? 'dataset' : 'expect';
  if (location !== undefined || (key === 'expect' && where !== 'parity.score.expect')) return error;
  return new VlmError(error.code, { ...error.details, location: sweep.placeOf(['parity', 'score', key]) });
}

/** A recipe that is not there is one mistake of the sweep, not one of each point. */
async function requireRecipe({ sweep }: PlanRequest): Promise<void> {
  const unread = await readText(sweep.recipe);
  if (unread.ok || unread.code !== 'E_READ') return;
  throw new VlmError('RECIPE_UNREADABLE', {
    what: `The recipe of the sweep cannot be read: ${unread.message}`,
    received: sweep.recipe,
    location: sweep.placeOf(['recipe']),
    hint: unread.hint ?? PATHS_OF_SWEEP,
  });
}

/** Which points would run, and which are refused. */
export async function planSweep(request: Omit<SweepRequest, 'out' | 'resume'>): Promise<{
  readonly refused: readonly Refused[];
  readonly runnable: readonly Point[];
}> {
  const all = pointsOf(request.sweep);
  await requireRecipe(request);
  await scoredBy(referenceOf(request.sweep, all), request);
  return planAll(inOrder(all, { ...request.sweep.measure, order: 'file' }, request.shard), request);
}

/** What a reader of the results needs to know of the machine. */
export function machineFacts(): Readonly<Record<string, string | number>> {
  const [cpu] = cpus();
  return {
    cpu: cpu?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    system: `${platform()} ${release()} ${process.arch}`,
    node: process.version,
  };
}

async function openStore(request: SweepRequest, reference: Point, score: ScoredBy | null): Promise<ResultStore> {
  const { sweep, out, resume, retryFailed = false, shard } = request;
  const { file: _, recipe: __, placeOf: ___, parity, ...written } = sweep;
  // Its place is the machine's own; what is in it is part of what the results are results of.
  const rest = { ...written, parity: { reference: parity.reference, score } };
  const resolved = await resolvedRecipe(request, reference);
  const told = [rest, resolved, shard ?? null];
  return ResultStore.open(
    resolve(out),
    {
      format: 1,
      recipe: resolved.name ?? sweep.name,
      sha256: createHash('sha256').update(JSON.stringify(told)).digest('hex'),
      sources: [sweep.name],
      versions: versions(),
      sweep: {
        name: sweep.name,
        description: sweep.description,
        measure: sweep.measure,
        reference: reference.id,
        ...(score === null ? {} : { score }),
      },
      resolved,
      machine: machineFacts(),
    },
    resume || retryFailed ? 'resume' : 'anew',
    'sweep.json',
  );
}

/** Without the axes; where it needs one of them, as the reference has it. */
async function resolvedRecipe({ sweep, allowPlugins }: PlanRequest, reference: Point): Promise<Recipe> {
  const alone = await compileRecipe(sweep.recipe, { allowPlugins });
  if (alone.plan !== null) return alone.plan.recipe;
  const { plan } = await compileRecipe(sweep.recipe, {
    ...changesOf(reference.values),
    allowPlugins,
    cwd: dirname(sweep.file),
  });
  return (plan ?? requirePlan(alone, { allowPlugins })).recipe;
}

/** What a sweep asks for and cannot mean. */
export function sweepWarnings(sweep: Sweep): readonly string[] {
  const at = (path: readonly (string | number)[]): string => {
    const { file, line, column } = sweep.placeOf(path);
    return `${file}:${line}:${column}`;
  };
  const idle = idleRules(sweep).map(
    (rule) =>
      `${at(['exclude', rule])}: this rule of "exclude" leaves no point out: ${JSON.stringify(sweep.exclude[rule])}`,
  );
  const twice = repeatsIn(sweep).map(({ path, value }) => `${at(path)}: ${value} is there twice: measured once`);
  return [...idle, ...twice];
}

/** Null: the sweep was interrupted, and the point counts as not run. */
async function measurePoint(point: Point, request: SweepRequest): Promise<ResultRow | null> {
  const { sweep, allowPlugins, signal, onProgress } = request;
  const { measure } = sweep;
  const changes = changesOf(point.values);
  const load = loadavg()[0] ?? 0;
  const startedAt = new Date().toISOString();
  const started = performance.now();
  const outcome = await (request.run ?? runPoint)(
    {
      recipe: sweep.recipe,
      set: [...(await pinned(request, changes)), ...changes.set],
      devices: changes.devices,
      allowPlugins,
      inputs: sweep.inputs as readonly Readonly<Record<string, InputGiven>>[],
      folder: dirname(sweep.file),
      warmup: measure.warmup,
      repeats: measure.repeats,
      inFlight: measure.in_flight,
      seed: measure.seed,
      score: sweep.parity.score,
    },
    {
      entry: entryUrl('compose/sweep-child'),
      timeoutMs: measure.timeout_s * 1000,
      ...(signal === undefined ? {} : { signal }),
      onProgress: (done, total) => onProgress?.(point, done, total),
    },
  );
  const base = {
    id: point.id,
    index: point.index,
    values: point.values,
    startedAt,
    tookMs: performance.now() - started,
    loadBefore: load,
  };
  if (!outcome.ok) {
    if (outcome.error.code === 'CANCELLED') return null;
    return { ...base, ok: false, status: 'failed', error: outcome.error };
  }
  const { ledger, ...result } = outcome.result;
  const width = spread(result.figures.latencyMs);
  return {
    ...base,
    ok: true,
    status: 'measured',
    ...result,
    // In memory from the warm-up on; the vision embeddings of earlier batches are not kept.
    state: { warmup: measure.warmup, embeddingCache: 'off', threads: measure.threads },
    spread: Number.isFinite(width) ? width : null,
    noisy: width > measure.max_spread,
    stages: Object.fromEntries(ledger.lanes.map((lane) => [lane.lane, lane.stages])),
    wallMs: ledger.wallMs,
  };
}

/** Threads of cpu devices that say nothing of them: part of what is measured, so never left to chance. */
async function pinned(
  { sweep, allowPlugins }: SweepRequest,
  { set, devices }: ReturnType<typeof changesOf>,
): Promise<readonly string[]> {
  const plan = requirePlan(
    await compileRecipe(sweep.recipe, { set, devices, allowPlugins, cwd: dirname(sweep.file) }),
    { allowPlugins },
  );
  const written = plan.recipe.devices ?? {};
  return Object.entries(plan.devices)
    .filter(([name, device]) => device.kind === 'cpu' && !saysThreads(written[name]))
    .map(([name]) => `devices.${name}.threads=${sweep.measure.threads}`);
}

function saysThreads(device: unknown): boolean {
  return typeof device === 'object' && device !== null && 'threads' in device;
}

function refusedRow(point: Point, error: ErrorData): ResultRow {
  return { id: point.id, index: point.index, values: point.values, ok: false, status: 'refused', error };
}
