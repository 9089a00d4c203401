/** From axes to points, in an order that depends on the file and its seed alone. */
import { createHash } from 'node:crypto';
import { VlmError } from '../contracts/errors.js';
import type { AxisValues, Sweep, Values } from './file.js';
import { randomOf } from './random.js';

export interface Point {
  /** From its values alone: the same point has the same id in every file and every process. */
  readonly id: string;
  /** Place in the file's own order. */
  readonly index: number;
  readonly values: Values;
}

export const MAX_POINTS = 100_000;

/** How many values an axis has; before any of them is made. */
export function countOf(axis: AxisValues): number {
  if (Array.isArray(axis)) return axis.length;
  if ('log' in axis) return valuesOf(axis).length;
  const { from, to, step = 1 } = axis as { readonly from: number; readonly to: number; readonly step?: number };
  return Math.max(0, Math.floor((to - from) / step + 1e-9) + 1);
}

export function valuesOf(axis: AxisValues): readonly unknown[] {
  if (Array.isArray(axis)) return axis;
  if ('log' in axis) {
    const { from, to, points } = axis.log;
    const ratio = (to / from) ** (1 / (points - 1));
    const all = Array.from({ length: points }, (_, i) => Math.round(from * ratio ** i));
    return [...new Set(all)];
  }
  const { from, step = 1 } = axis as { readonly from: number; readonly step?: number };
  // Multiplied, not added up: 0.1 steps stay 0.1 steps.
  return Array.from({ length: countOf(axis) }, (_, i) => Number((from + i * step).toPrecision(12)));
}

/** Every point of the file, excluded ones left out. Throws RECIPE_INVALID. */
export function pointsOf(sweep: Sweep): readonly Point[] {
  const kept = allOf(sweep).filter((values) => !sweep.exclude.some((rule) => matches(values, rule)));
  const points = new Map<string, Point>();
  for (const values of kept) {
    const id = pointId(values);
    if (!points.has(id)) points.set(id, { id, index: points.size, values });
  }
  if (points.size === 0) {
    throw invalid(sweep, ['exclude'], 'The sweep has no point left', 'at least one that is not excluded');
  }
  return [...points.values()];
}

/** Places in `exclude` of the rules that leave no point out. */
export function idleRules(sweep: Sweep): readonly number[] {
  if (sweep.exclude.length === 0) return [];
  const all = allOf(sweep);
  return sweep.exclude.flatMap((rule, i) => (all.some((values) => matches(values, rule)) ? [] : [i]));
}

/** Values of an axis, moves of "zip" and entries of "list" that were written before, and where. */
export function repeatsIn(
  sweep: Sweep,
): readonly { readonly path: readonly (string | number)[]; readonly value: string }[] {
  const grid = Object.entries(sweep.grid).flatMap(([axis, values]) =>
    Array.isArray(values)
      ? again(values).map((i) => ({ path: ['grid', axis, i], value: JSON.stringify(values[i]) }))
      : [],
  );
  const moves = zipped(sweep) ?? [];
  const [first] = Object.keys(sweep.zip);
  const zip = again(moves).map((i) => ({ path: ['zip', first ?? ''], value: pointName(moves[i] ?? {}) }));
  const list = again(sweep.list).map((i) => ({ path: ['list', i], value: pointName(sweep.list[i] ?? {}) }));
  return [...grid, ...zip, ...list];
}

/** Places of values that equal an earlier one; keys of a map in any order. */
function again(values: readonly unknown[]): readonly number[] {
  const seen = new Set<string>();
  return values.flatMap((value, i) => {
    const key = isValues(value) ? pointId(value) : JSON.stringify(value);
    if (seen.has(key)) return [i];
    seen.add(key);
    return [];
  });
}

function isValues(value: unknown): value is Values {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function allOf(sweep: Sweep): readonly Values[] {
  const grid = Object.entries(sweep.grid).map(([path, axis]) =>
    valuesOf(axis).map((value): Values => ({ [path]: value })),
  );
  const zip = zipped(sweep);
  const parts = [...grid, ...(zip === null ? [] : [zip]), ...(sweep.list.length === 0 ? [] : [sweep.list])];
  const size = parts.reduce((n, part) => n * part.length, 1);
  if (size > MAX_POINTS) {
    const [part = 'list'] = (['grid', 'zip'] as const).filter((one) => Object.keys(sweep[one]).length > 0);
    throw invalid(sweep, [part], `The sweep has ${size} points`, `at most ${MAX_POINTS}`);
  }
  let all: readonly Values[] = [{}];
  for (const part of parts) all = all.flatMap((point) => part.map((more) => ({ ...point, ...more })));
  return all;
}

function zipped(sweep: Sweep): readonly Values[] | null {
  const axes = Object.entries(sweep.zip).map(([path, axis]) => ({ path, values: valuesOf(axis) }));
  const [first] = axes;
  if (first === undefined) return null;
  return first.values.map((_, i) => Object.fromEntries(axes.map(({ path, values }) => [path, values[i]])));
}

/** Whether a point has all the values of a rule. */
export function matches(values: Values, rule: Values): boolean {
  return Object.entries(rule).every(([path, value]) => JSON.stringify(values[path]) === JSON.stringify(value));
}

export function pointId(values: Values): string {
  const sorted = Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(sorted)).digest('hex').slice(0, 16);
}

/** A point as one reads it: `batch_size=4 device.main=cpu`. */
export function pointName(values: Values): string {
  const paths = Object.keys(values);
  const name = (path: string): string => {
    const short = shortName(path);
    const alone = paths.every((other) => other === path || shortName(other) !== short);
    return alone ? short : path.replace(/^nodes\./, '').replace('.with.', '.');
  };
  return Object.entries(values)
    .map(([path, value]) => `${name(path)}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(' ');
}

function shortName(path: string): string {
  return path.startsWith('device.') ? path : (path.split('.').at(-1) ?? path);
}

/** The point that the tokens of all others are compared with. */
export function referenceOf(sweep: Sweep, points: readonly Point[]): Point {
  const { reference: rule } = sweep.parity;
  const found = rule === null ? points[0] : points.find(({ values }) => matches(values, rule));
  if (found !== undefined) return found;
  throw invalid(
    sweep,
    ['parity', 'reference'],
    'No point of the sweep is its reference',
    'a point with the values of parity.reference that is not excluded',
    JSON.stringify(rule),
  );
}

/** The points of shard `index` of `count` (from 1), in the order in which they run. */
export function inOrder(
  points: readonly Point[],
  { order, seed }: Sweep['measure'],
  shard: { readonly index: number; readonly count: number } = { index: 1, count: 1 },
): readonly Point[] {
  const mine = points.filter(({ index }) => index % shard.count === shard.index - 1);
  if (order === 'file') return mine;
  const random = randomOf(seed);
  const shuffled = [...mine];
  for (let i = shuffled.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    const [a, b] = [shuffled[i], shuffled[j]];
    if (a !== undefined && b !== undefined) [shuffled[i], shuffled[j]] = [b, a];
  }
  return shuffled;
}

/** What `--set` and `--device` would say of a point. */
export function changesOf(values: Values): { readonly set: readonly string[]; readonly devices: readonly string[] } {
  const set: string[] = [];
  const devices: string[] = [];
  for (const [path, value] of Object.entries(values)) {
    if (path.startsWith('device.')) devices.push(`${path.slice('device.'.length)}=${String(value)}`);
    else set.push(`${path}=${JSON.stringify(value)}`);
  }
  return { set, devices };
}

function invalid(sweep: Sweep, path: readonly string[], what: string, expected?: string, received?: string): VlmError {
  return new VlmError('RECIPE_INVALID', {
    what,
    location: sweep.placeOf(path),
    ...(expected === undefined ? {} : { expected }),
    ...(received === undefined ? {} : { received }),
  });
}
