/** The axes of a sweep, found again in the values of its points. */
import { VlmError } from '../contracts/errors.js';
import { nearest } from '../recipe/suggest.js';
import type { Json } from './read.js';
import type { Axis, Metric, View } from './types.js';

export function valueText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** Every parameter of the points. Numbers rise; other values keep the order in which the points have them. */
export function axesOf(points: readonly { readonly values: Json }[]): readonly Axis[] {
  const found = new Map<string, Map<string, unknown>>();
  for (const { values } of points) {
    for (const [path, value] of Object.entries(values)) {
      const known = found.get(path) ?? new Map<string, unknown>();
      known.set(valueText(value), value);
      found.set(path, known);
    }
  }
  const names = shortNames([...found.keys()]);
  return [...found].map(([path, values]) => {
    const all = [...values];
    if (all.every(([, value]) => typeof value === 'number')) all.sort(([, a], [, b]) => Number(a) - Number(b));
    return { path, name: names.get(path) ?? path, values: all.map(([text]) => text) };
  });
}

/** The last word of a path, and as many before it as tell it from the others; `with` and `nodes` say nothing. */
function shortNames(paths: readonly string[]): ReadonlyMap<string, string> {
  const words = (path: string): string[] => path.split('.').filter((word) => word !== 'with' && word !== 'nodes');
  const named = (path: string, count: number): string => words(path).slice(-count).join('.');
  const names = new Map<string, string>();
  for (const path of paths) {
    let count = path.startsWith('device.') ? 2 : 1;
    const taken = (): boolean => paths.some((other) => other !== path && named(other, count) === named(path, count));
    while (count < words(path).length && taken()) count++;
    names.set(path, taken() ? path : named(path, count));
  }
  return names;
}

export interface ViewWanted {
  readonly x?: string;
  readonly y?: string;
  readonly metric?: string;
}

/** What the heat map shows at first. Throws USAGE for a name that is no axis or no metric. */
export function viewOf(wanted: ViewWanted, axes: readonly Axis[], metrics: readonly Metric[]): View {
  const x = wanted.x === undefined ? undefined : axisNamed('--x', wanted.x, axes);
  const y = wanted.y === undefined ? undefined : axisNamed('--y', wanted.y, axes);
  if (x !== undefined && x === y) {
    throw new VlmError('USAGE', { what: '--x and --y name the same axis', received: wanted.x ?? '' });
  }
  const free = axes.map(({ path }) => path).filter((path) => path !== x && path !== y);
  const first = x ?? free.shift() ?? null;
  return { x: first, y: y ?? free.shift() ?? null, metric: metricNamed(wanted.metric, metrics) };
}

function axisNamed(option: string, word: string, axes: readonly Axis[]): string {
  const found = axes.find(({ path, name }) => path === word || name === word);
  if (found !== undefined) return found.path;
  const names = axes.map(({ name }) => name);
  const near = nearest(
    word,
    axes.flatMap(({ path, name }) => [name, path]),
  );
  throw new VlmError('USAGE', {
    what: `${option} names no axis of the sweep`,
    expected: names.length === 0 ? 'nothing: no parameter of the sweep has two values' : `one of ${names.join(', ')}`,
    received: word,
    ...(near === undefined ? {} : { hint: `did you mean "${near}"?` }),
  });
}

function metricNamed(word: string | undefined, metrics: readonly Metric[]): string {
  const keys = metrics.map(({ key }) => key);
  if (word === undefined) return keys[0] ?? '';
  if (keys.includes(word)) return word;
  const near = nearest(word, keys);
  throw new VlmError('USAGE', {
    what: '--metric names no figure of the points',
    expected: `one of ${keys.join(', ')}`,
    received: word,
    ...(near === undefined ? {} : { hint: `did you mean "${near}"?` }),
  });
}
