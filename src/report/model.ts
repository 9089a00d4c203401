/** From what stores hold to what a report says. The same stores give the same report, byte for byte. */
import { createHash } from 'node:crypto';
import { stringify } from 'yaml';
import { VlmError } from '../contracts/errors.js';
import { parityOf } from '../sweep/measure.js';
import { isBelow } from '../sweep/score.js';
import { axesOf, type ViewWanted, valueText, viewOf } from './axes.js';
import {
  figuresOfRow,
  itemsOfRow,
  LATENCY,
  METRICS,
  paretoFront,
  scoreOfRow,
  stagesOfRow,
  THROUGHPUT,
} from './figures.js';
import { isObject, type Json, type ReadStore, type StoreRow } from './read.js';
import type { Axis, Counts, Mark, Parity, Problem, ReportModel, ReportPoint, ReportStore } from './types.js';

/** What the points are compared with, and how: by their tokens where there is no margin of a score. */
interface Gate {
  readonly reference: string;
  readonly margin: number | null;
}

type Placed = StoreRow & { readonly store: number };

/** Throws USAGE: stores of different sweeps, stores without a row, a view that names no axis or metric. */
export function reportOf(stores: readonly ReadStore[], tool: string, wanted: ViewWanted = {}): ReportModel {
  const [first] = stores;
  if (first === undefined) throw new VlmError('USAGE', { what: 'No results were named' });
  for (const other of stores.slice(1)) requireSameSweep(first, other);
  const { rows, doubled } = merged(stores);
  if (rows.length === 0) throw empty(stores);
  const sweep = isObject(first.about['sweep']) ? first.about['sweep'] : {};
  const all = axesOf(rows);
  const axes = all.filter(({ values, path }) => values.length > 1 || rows.some((row) => !(path in row.values)));
  const score = isObject(sweep['score']) ? sweep['score'] : null;
  const gate: Gate = { reference: textOf(sweep['reference']), margin: score === null ? null : Number(score['margin']) };
  const points = withFront(pointsOf(rows, axes, all, gate));
  const metrics = METRICS.filter(({ key }) => points.some(({ figures }) => key in figures));
  const times = rows.flatMap(({ row }) => (typeof row['startedAt'] === 'string' ? [row['startedAt']] : [])).sort();
  const resolved = first.about['resolved'] ?? null;
  const constants = all
    .filter((axis) => !axes.includes(axis))
    .map(({ path, values }) => [path, values[0] ?? ''] as const);
  return {
    format: 1,
    title: textOf(sweep['name']),
    description: textOf(sweep['description']),
    tool,
    from: times[0] ?? null,
    to: times.at(-1) ?? null,
    stores: stores.map((store, i) => storeOf(store, rows.filter((row) => row.store === i).length)),
    measure: textsOf(sweep['measure']),
    score: score === null ? null : textsOf(score),
    recipe: {
      name: textOf(first.about['recipe']),
      sha256: createHash('sha256').update(JSON.stringify(resolved)).digest('hex'),
      yaml: stringify(resolved, { lineWidth: 0 }),
    },
    counts: countsOf(points, rows),
    axes,
    constants: Object.fromEntries(constants),
    metrics,
    pareto: { latency: LATENCY, throughput: THROUGHPUT },
    view: viewOf(wanted, axes, metrics.length === 0 ? METRICS : metrics),
    points,
    problems: [...stores.flatMap(({ problems }) => problems), ...doubled],
  };
}

/** Shards of one sweep have one recipe and one way to measure; their own digests differ by the shard. */
function requireSameSweep(a: ReadStore, b: ReadStore): void {
  const told = ({ about }: ReadStore): string => JSON.stringify([about['sweep'], about['resolved']]);
  if (told(a) === told(b)) return;
  throw new VlmError('USAGE', {
    what: 'The results are of different sweeps',
    expected: `results of ${a.name}: one sweep, measured in parts`,
    received: b.name,
    hint: 'make a report of each; `vlm-run compare` sets two sweeps against each other',
  });
}

function empty(stores: readonly ReadStore[]): VlmError {
  const problem = stores.flatMap(({ problems }) => problems)[0];
  return new VlmError('INPUT_UNREADABLE', {
    what: 'The results hold no point',
    where: stores.map(({ name }) => name).join(', '),
    ...(problem === undefined ? {} : { received: `${problem.where}: ${problem.what}` }),
    hint: 'run the sweep first: vlm-run sweep FILE --out FOLDER',
  });
}

const RANK = { measured: 2, failed: 1, refused: 0 } as const;

/** One row a point, in the sweep's own order: what was measured stands before what failed. */
function merged(stores: readonly ReadStore[]): { readonly rows: readonly Placed[]; readonly doubled: Problem[] } {
  const kept = new Map<string, Placed>();
  const doubled: Problem[] = [];
  for (const [store, { rows, name }] of stores.entries()) {
    for (const row of rows) {
      const before = kept.get(row.id);
      // Refused or failed once and run again: no doubt that the later one counts.
      const isNext = before?.store === store && before.status !== 'measured';
      if (before !== undefined && !isNext) {
        const where = stores[before.store]?.name ?? '';
        doubled.push({ where: name, what: `point ${row.id} is there twice (${where} has it too); one row is shown` });
      }
      if (before === undefined || isNext || RANK[row.status] > RANK[before.status]) kept.set(row.id, { ...row, store });
    }
  }
  const rows = [...kept.values()].sort((a, b) => a.index - b.index || (a.id < b.id ? -1 : 1));
  return { rows, doubled };
}

function pointsOf(
  rows: readonly Placed[],
  axes: readonly Axis[],
  all: readonly Axis[],
  gate: Gate,
): readonly ReportPoint[] {
  const truth = rows.find(({ id, status }) => id === gate.reference && status === 'measured');
  return rows.map(({ id, index, store, status, values, row }) => {
    const [parity, text] =
      status === 'measured' ? parityAndText(row, truth?.row ?? null, gate) : (['unknown', ''] as const);
    return {
      id,
      index,
      store,
      name: nameOf(values, axes) || nameOf(values, all) || 'the recipe as it is',
      values: textsOf(values),
      status,
      parity,
      marks: marksOf(row, status, parity, text),
      figures: status === 'measured' ? figuresOfRow(row) : {},
      stages: stagesOfRow(row),
      items: itemsOfRow(row),
      front: false,
    };
  });
}

function nameOf(values: Json, axes: readonly Axis[]): string {
  return axes
    .filter(({ path }) => path in values)
    .map(({ path, name }) => `${name}=${valueText(values[path])}`)
    .join(' ');
}

function parityAndText(row: Json, truth: Json | null, { margin }: Gate): readonly [Parity, string] {
  if (row === truth) return ['reference', 'the point that the others are compared with'];
  if (truth === null) return ['unknown', 'the reference point was not measured: nothing to compare with'];
  const tokens = parityOf(tokensOf(row), tokensOf(truth));
  const first = tokens === 'same' ? '' : `inputs ${tokens.input + 1}, token ${tokens.token + 1}`;
  if (margin === null) {
    return first === '' ? ['same', ''] : ['differs', `tokens differ from the reference: ${first}`];
  }
  const [mine, its] = [scoreOfRow(row), scoreOfRow(truth)];
  if (mine === null || its === null) return ['unknown', 'without a score: nothing to compare with'];
  if (isBelow(mine, its, margin)) {
    const { failed, error } = isObject(row['score']) ? row['score'] : {};
    const why = typeof failed === 'number' && failed > 0 ? `; ${failed} rows without an answer: ${textOf(error)}` : '';
    return ['below', `${mine.toFixed(3)}, the reference has ${its.toFixed(3)}${why}`];
  }
  return first === '' ? ['same', ''] : ['other', `first at ${first}; the score holds`];
}

function tokensOf(row: Json): number[][] {
  const tokens = Array.isArray(row['tokens']) ? row['tokens'] : [];
  return tokens.map((ids: unknown) => (Array.isArray(ids) ? ids.map(Number) : []));
}

function marksOf(row: Json, status: ReportPoint['status'], parity: Parity, text: string): readonly Mark[] {
  if (status !== 'measured') return [{ kind: status, text: reasonOf(row['error']) }];
  const marks: Mark[] = [];
  if (parity === 'reference') marks.push({ kind: 'reference', text });
  if (parity === 'differs' || parity === 'below' || parity === 'other') marks.push({ kind: parity, text });
  if (parity === 'unknown') marks.push({ kind: 'unchecked', text });
  if (row['noisy'] === true) {
    const width = typeof row['spread'] === 'number' ? row['spread'] : null;
    const told =
      width === null
        ? 'one measured batch: its spread is not known'
        : `the latency's interval is ${Math.round(width * 100)} % of its median`;
    marks.push({ kind: 'wide', text: told });
  }
  if (row['emulated'] === true) marks.push({ kind: 'emulated', text: 'emulated: times say nothing of a card' });
  return marks;
}

function reasonOf(error: unknown): string {
  if (!isObject(error)) return 'no reason was recorded';
  const { code, what, expected, received, where, hint } = error;
  const told = [
    [typeof where === 'string' ? where : '', textOf(what)].filter((part) => part !== '').join(': '),
    typeof expected === 'string' ? `expected ${expected}` : '',
    typeof received === 'string' ? `received ${diagnosis(received)}` : '',
    textOf(hint),
  ].filter((part) => part !== '');
  return `${textOf(code)}: ${told.join('; ')}`;
}

/** Of a recipe's diagnostics what is wrong, without the excerpt that points at it. */
function diagnosis(received: string): string {
  const told = received.split('\n').filter((line) => line.startsWith('error['));
  return told.length > 0 ? told.join('; ') : received;
}

/** A wrong answer is no trade-off; an emulated card's times stand beside those of another device for nothing. */
function withFront(points: readonly ReportPoint[]): readonly ReportPoint[] {
  const emulated = (point: ReportPoint): boolean => point.marks.some(({ kind }) => kind === 'emulated');
  const measured = points.filter(({ status }) => status === 'measured');
  const real = measured.filter((point) => !emulated(point));
  const able = (real.length > 0 ? real : measured).flatMap((point) => {
    const [latency, throughput] = [point.figures[LATENCY]?.value, point.figures[THROUGHPUT]?.value];
    if (isWrong(point) || latency === undefined || throughput === undefined) return [];
    return [{ id: point.id, latency, throughput }];
  });
  const ids = new Set(paretoFront(able).map((i) => able[i]?.id));
  return points.map((point) => (ids.has(point.id) ? { ...point, front: true } : point));
}

/** Its answers are not those it should give. */
export function isWrong({ parity }: Pick<ReportPoint, 'parity'>): boolean {
  return parity === 'differs' || parity === 'below';
}

function countsOf(points: readonly ReportPoint[], rows: readonly Placed[]): Counts {
  const having = (kind: Mark['kind']): number =>
    points.filter(({ marks }) => marks.some((m) => m.kind === kind)).length;
  const indexes = new Set(rows.map(({ index }) => index));
  return {
    points: points.length,
    measured: points.filter(({ status }) => status === 'measured').length,
    failed: having('failed'),
    refused: having('refused'),
    missing: rows.reduce((most, { index }) => Math.max(most, index + 1), 0) - indexes.size,
    differs: having('differs'),
    below: having('below'),
    unchecked: having('unchecked'),
    wide: having('wide'),
    emulated: having('emulated'),
  };
}

function storeOf({ name, about }: ReadStore, points: number): ReportStore {
  return {
    name,
    sha256: textOf(about['sha256']),
    versions: textsOf(about['versions']),
    machine: textsOf(about['machine']),
    points,
  };
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function textsOf(value: unknown): Readonly<Record<string, string>> {
  if (!isObject(value)) return {};
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, valueText(one)]));
}
