/** Two folders of `vlm-run sweep --out`, compared. */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { VlmError } from '../contracts/errors.js';
import { RESULTS, rowsOf } from '../dataset/store.js';
import {
  type CompareOptions,
  type Comparison,
  compareSides,
  METRICS,
  type Metric,
  type Side,
  type SidePoint,
} from '../sweep/compare.js';
import { pointName } from '../sweep/points.js';

const ABOUT = 'sweep.json';

type Json = Readonly<Record<string, unknown>>;

export interface ComparedStores {
  readonly comparison: Comparison;
  /** What makes the two less comparable than they look. */
  readonly warnings: readonly string[];
}

/** Throws INPUT_UNREADABLE for what is no store, USAGE when the two have no measured point in common. */
export async function compareStores(a: string, b: string, options: CompareOptions): Promise<ComparedStores> {
  const left = await readSide(a);
  const right = await readSide(b);
  const comparison = compareSides(left.side, right.side, options);
  if (comparison.points.length === 0 && comparison.broken.length === 0) {
    throw new VlmError('USAGE', {
      what: 'The two sweeps have no measured point in common',
      expected: 'points with the same values on both sides',
      received: `${left.side.points.length} points in ${a}, ${right.side.points.length} in ${b}`,
      hint: 'compare two runs of one sweep file; points match when all values of their axes are equal',
    });
  }
  return { comparison, warnings: [...differences(left, right), ...doubts(comparison, left, right)] };
}

interface Read {
  readonly side: Side;
  readonly about: Json;
  readonly emulated: boolean;
}

async function readSide(place: string): Promise<Read> {
  const path = resolve(place);
  const found = await stat(path).catch(() => null);
  const folder = found?.isDirectory() === false && [RESULTS, ABOUT].includes(basename(path)) ? dirname(path) : path;
  const about = await readAbout(join(folder, ABOUT), place);
  const points: SidePoint[] = [];
  let emulated = false;
  if ((await stat(join(folder, RESULTS)).catch(() => null)) !== null) {
    for await (const row of rowsOf(folder)) {
      const point = pointOf(row);
      if (point === null) continue;
      points.push(point);
      emulated ||= row['emulated'] === true;
    }
  }
  const { reference, score } = objectOf(about['sweep']);
  const { margin } = objectOf(score);
  return {
    side: {
      points,
      reference: typeof reference === 'string' ? reference : null,
      margin: typeof margin === 'number' ? margin : null,
    },
    about,
    emulated,
  };
}

async function readAbout(path: string, place: string): Promise<Json> {
  const wrong = (cause?: unknown): VlmError =>
    new VlmError('INPUT_UNREADABLE', {
      what: 'There are no results of a sweep',
      expected: `a folder that \`vlm-run sweep --out\` wrote, with ${ABOUT} and ${RESULTS}`,
      where: place,
      hint: 'name the folder given to `vlm-run sweep --out`',
      ...(cause === undefined ? {} : { cause }),
    });
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw wrong(cause);
  });
  try {
    const about: unknown = JSON.parse(text);
    if (isObject(about) && isObject(about['sweep'])) return about;
  } catch (cause) {
    throw wrong(cause);
  }
  throw wrong();
}

function pointOf(row: Json): SidePoint | null {
  const { id, values, status, figures, tokens, error } = row;
  if (typeof id !== 'string' || !isObject(values)) return null;
  if (status !== 'measured' && status !== 'failed' && status !== 'refused') return null;
  const samples: Partial<Record<Metric, readonly number[]>> = {};
  for (const metric of Object.keys(METRICS) as Metric[]) {
    const given = objectOf(objectOf(figures)[metric])['samples'];
    if (Array.isArray(given) && given.every((sample) => typeof sample === 'number')) samples[metric] = given;
  }
  const { code, what } = objectOf(error);
  return {
    id,
    name: pointName(values),
    status,
    samples,
    tokens: Array.isArray(tokens) && tokens.every((ids) => Array.isArray(ids)) ? (tokens as number[][]) : null,
    score: scoreOf(row),
    noisy: row['noisy'] === true,
    ...(code === undefined ? {} : { error: `${String(code)}: ${String(what)}` }),
  };
}

function scoreOf(row: Json): number | null {
  const { value } = objectOf(row['score']);
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

function differences(a: Read, b: Read): string[] {
  const told: string[] = [];
  const facts = { machine: 'the machine', versions: 'the version' } as const;
  for (const [key, name] of Object.entries(facts)) {
    const [x, y] = [objectOf(a.about[key]), objectOf(b.about[key])];
    for (const fact of new Set([...Object.keys(x), ...Object.keys(y)])) {
      if (x[fact] !== y[fact]) told.push(`${name} differs: ${fact} ${text(x[fact])} in A, ${text(y[fact])} in B`);
    }
  }
  const [x, y] = [digest(a.about['resolved']), digest(b.about['resolved'])];
  if (x !== y) told.push(`the resolved recipe differs: sha256 ${x} in A, ${y} in B`);
  const measure = (read: Read): Json => objectOf(objectOf(read.about['sweep'])['measure']);
  for (const key of ['warmup', 'repeats', 'in_flight', 'threads']) {
    if (measure(a)[key] !== measure(b)[key]) {
      told.push(`measured differently: ${key} ${text(measure(a)[key])} in A, ${text(measure(b)[key])} in B`);
    }
  }
  const judged = ({ about }: Read): Json => objectOf(objectOf(about['sweep'])['score']);
  for (const key of ['sha256', 'as', 'margin']) {
    if (judged(a)[key] !== judged(b)[key]) {
      told.push(`judged differently: ${key} of the score ${text(judged(a)[key])} in A, ${text(judged(b)[key])} in B`);
    }
  }
  if (a.side.reference !== b.side.reference) told.push('the two have different reference points');
  if (a.emulated || b.emulated) told.push('measured on an emulated card: its times say nothing of a card');
  return told;
}

function doubts({ points, tests, hopeless, repeatsNeeded }: Comparison, a: Read, b: Read): string[] {
  const told: string[] = [];
  if (hopeless > 0) {
    const sizes = points.flatMap(({ metrics }) => metrics.map(({ n }) => n.join(' against ')));
    const [first = '0'] = sizes;
    told.push(
      `too few repeats: ${hopeless} of ${tests} tests could never become significant (${first} samples, corrected for ${tests} tests); ${repeatsNeeded} repeats on both sides could, or fewer points or --metric`,
    );
  }
  const changed = points.filter(({ tokens }) => tokens === 'changed').length;
  if (changed > 0) told.push(`the tokens of ${changed} points are not those of A`);
  const without = [...(hasReference(a) ? [] : ['A']), ...(hasReference(b) ? [] : ['B'])];
  if (without.length > 0) {
    told.push(`parity is not known: the reference point of ${without.join(' and of ')} was not measured`);
  }
  const noisy = points.filter((point) => point.noisy).length;
  if (noisy > 0) told.push(`${noisy} points are marked noisy: their spread is wider than the sweep allows`);
  return told;
}

function hasReference({ side }: Read): boolean {
  return side.points.some(({ id, tokens }) => id === side.reference && tokens !== null);
}

function digest(value: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(value) ?? '')
    .digest('hex')
    .slice(0, 12);
}

function text(value: unknown): string {
  return value === undefined ? 'not said' : String(value);
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function objectOf(value: unknown): Json {
  return isObject(value) ? value : {};
}
