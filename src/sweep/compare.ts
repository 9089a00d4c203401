/** Two sets of measured points, point by point and all together. Pure: what a store says comes in, verdicts go out. */
import { parityOf } from './measure.js';
import { isBelow } from './score.js';
import { holm, mannWhitney, medianRatio, type Ratio, signTest, smallestP } from './significance.js';
import { median } from './stats.js';

/** Which way is better. */
export const METRICS = {
  ttftMs: 'lower',
  ttftQefficientMs: 'lower',
  decodeTokensPerSecond: 'higher',
  tokensPerSecondPerSequence: 'higher',
  imagesPerSecond: 'higher',
  latencyMs: 'lower',
} as const;
export type Metric = keyof typeof METRICS;
export const DEFAULT_METRICS: readonly Metric[] = ['ttftMs', 'decodeTokensPerSecond', 'latencyMs'];

export interface SidePoint {
  readonly id: string;
  readonly name: string;
  readonly status: 'measured' | 'failed' | 'refused';
  readonly samples: Readonly<Partial<Record<Metric, readonly number[]>>>;
  /** Ids of each set of inputs; null where nothing was measured. */
  readonly tokens: readonly (readonly number[])[] | null;
  /** On the dataset of the sweep; null where it has none. */
  readonly score: number | null;
  readonly noisy: boolean;
  /** Code and text of what went wrong. */
  readonly error?: string;
}

export interface Side {
  readonly points: readonly SidePoint[];
  /** Id of the point that the others are compared with. */
  readonly reference: string | null;
  /** How far a score may be below the reference's; null where tokens are compared. */
  readonly margin: number | null;
}

export type Verdict = 'same' | 'better' | 'worse';

export interface MetricComparison {
  readonly metric: Metric;
  readonly a: number;
  readonly b: number;
  readonly n: readonly [number, number];
  /** Of B over A. */
  readonly ratio: Ratio['ratio'];
  readonly ci: Ratio['ci'];
  readonly p: number;
  /** Corrected for the number of tests. */
  readonly pHolm: number;
  readonly verdict: Verdict;
}

export interface PointComparison {
  readonly id: string;
  readonly name: string;
  readonly metrics: readonly MetricComparison[];
  /** `lost`: A agreed with its reference, B does not. Null: a side has no reference that was measured. */
  readonly parity: 'same' | 'lost' | 'regained' | 'differs' | null;
  /** Whether B's tokens are those of A. */
  readonly tokens: 'same' | 'changed';
  /** Of A and of B, where both have one. */
  readonly scores: readonly [number, number] | null;
  readonly noisy: boolean;
  readonly verdict: Verdict;
}

/** All points together: a change that each of them is too small or too seldom measured to show. */
export interface OverallComparison {
  readonly metric: Metric;
  /** Median over the points of B over A. */
  readonly ratio: number;
  /** Points whose median went up, and those whose median went down. */
  readonly up: number;
  readonly down: number;
  /** Sign test over those points. */
  readonly p: number;
  /** Corrected for the number of tests, those of single points among them. */
  readonly pHolm: number;
  readonly verdict: Verdict;
}

export interface Comparison {
  readonly verdict: Verdict;
  /** One a figure that enough points have. */
  readonly overall: readonly OverallComparison[];
  readonly points: readonly PointComparison[];
  /** Measured in A, failed or refused in B: worse whatever the speed. */
  readonly broken: readonly { readonly id: string; readonly name: string; readonly error: string }[];
  readonly mended: readonly { readonly id: string; readonly name: string }[];
  readonly onlyA: readonly { readonly id: string; readonly name: string }[];
  readonly onlyB: readonly { readonly id: string; readonly name: string }[];
  readonly tests: number;
  /** Tests that no difference, however large, could have made significant. */
  readonly hopeless: number;
  /** Repeats on each side from which on a test can become significant, when all have as many. */
  readonly repeatsNeeded: number;
}

export interface CompareOptions {
  readonly metrics: readonly Metric[];
  /** Share of the median that counts as a difference: 0.05 is 5 %. */
  readonly threshold: number;
  readonly alpha: number;
  readonly seed: number;
}

export function compareSides(a: Side, b: Side, options: CompareOptions): Comparison {
  const [mine, theirs] = [byId(a.points), byId(b.points)];
  const both = [...mine.values()].flatMap((left) => {
    const right = theirs.get(left.id);
    return right === undefined ? [] : [{ left, right }];
  });
  const measured = both.filter(({ left, right }) => left.status === 'measured' && right.status === 'measured');
  const raw = measured.map(({ left, right }) => options.metrics.flatMap((metric) => tested(metric, left, right)));
  const flat = raw.flat();
  const signs = options.metrics.flatMap((metric) => signsOf(metric, flat));
  const corrected = holm([...flat, ...signs].map(({ p }) => p));
  const tests = corrected.length;
  const hopeless = flat.filter(({ a: x, b: y }) => smallestP(x.length, y.length) * tests > options.alpha).length;
  const gate = gateOf(a, b, mine, theirs);
  let at = 0;
  const points = measured.map(({ left, right }, i): PointComparison => {
    const metrics = (raw[i] ?? []).map((test) => judged(test, corrected[at++] ?? 1, options));
    const parity = parityChange(left, right, gate);
    const told: Verdict[] = [
      ...metrics.map(({ verdict }) => verdict),
      ...(parity === 'lost' ? ['worse' as const] : []),
    ];
    return {
      id: left.id,
      name: left.name,
      metrics,
      parity,
      tokens: parityOf(right.tokens ?? [], left.tokens ?? []) === 'same' ? 'same' : 'changed',
      scores: left.score === null || right.score === null ? null : [left.score, right.score],
      noisy: left.noisy || right.noisy,
      verdict: worst(told),
    };
  });
  const overall = signs.map((sign): OverallComparison => {
    const pHolm = corrected[at++] ?? 1;
    return { ...sign, pHolm, verdict: verdictOf(sign.metric, sign.ratio, pHolm, options) };
  });
  const broken = both
    .filter(({ left, right }) => left.status === 'measured' && right.status !== 'measured')
    .map(({ right }) => ({ ...named(right), error: right.error ?? right.status }));
  const mended = both.filter(({ left, right }) => left.status !== 'measured' && right.status === 'measured');
  return {
    verdict: worst([
      ...[...points, ...overall].map(({ verdict }) => verdict),
      ...(broken.length > 0 ? ['worse' as const] : []),
    ]),
    overall,
    points,
    broken,
    mended: mended.map(({ left }) => named(left)),
    onlyA: [...mine.values()].filter(({ id }) => !theirs.has(id)).map(named),
    onlyB: [...theirs.values()].filter(({ id }) => !mine.has(id)).map(named),
    tests,
    hopeless,
    repeatsNeeded: repeatsNeeded(tests, options.alpha),
  };
}

interface Tested {
  readonly metric: Metric;
  readonly a: readonly number[];
  readonly b: readonly number[];
  readonly p: number;
}

/** Nothing where a side has no such figure: a model that answered with one token has no decode rate. */
function tested(metric: Metric, left: SidePoint, right: SidePoint): Tested[] {
  const [a, b] = [left.samples[metric] ?? [], right.samples[metric] ?? []];
  const usable = (samples: readonly number[]): boolean =>
    samples.length > 0 && samples.every((sample) => Number.isFinite(sample)) && median(samples) > 0;
  return usable(a) && usable(b) ? [{ metric, a, b, p: mannWhitney(a, b).p }] : [];
}

function judged({ metric, a, b, p }: Tested, pHolm: number, options: CompareOptions): MetricComparison {
  const { ratio, ci } = medianRatio(a, b, options.seed);
  const verdict = verdictOf(metric, ratio, pHolm, options);
  return { metric, a: median(a), b: median(b), n: [a.length, b.length], ratio, ci, p, pHolm, verdict };
}

function verdictOf(metric: Metric, ratio: number, pHolm: number, { threshold, alpha }: CompareOptions): Verdict {
  if (pHolm > alpha || Math.abs(ratio - 1) <= threshold) return 'same';
  return ratio > 1 === (METRICS[metric] === 'higher') ? 'better' : 'worse';
}

/** Fewer points could not reach 5 % if all of them went one way. */
const SIGNS_FROM = 6;

/** Nothing where too few points moved. */
function signsOf(metric: Metric, tests: readonly Tested[]): Omit<OverallComparison, 'pHolm' | 'verdict'>[] {
  const ratios = tests.filter((test) => test.metric === metric).map(({ a, b }) => median(b) / median(a));
  const up = ratios.filter((ratio) => ratio > 1).length;
  const down = ratios.filter((ratio) => ratio < 1).length;
  if (up + down < SIGNS_FROM) return [];
  return [{ metric, ratio: median(ratios), up, down, p: signTest(up, up + down) }];
}

/** The reference of each side, and the margin of their scores: the stricter one, null where not both have scores. */
interface Gate {
  readonly a: SidePoint | null;
  readonly b: SidePoint | null;
  readonly margin: number | null;
}

function gateOf(a: Side, b: Side, mine: ReadonlyMap<string, SidePoint>, theirs: ReadonlyMap<string, SidePoint>): Gate {
  const find = (points: ReadonlyMap<string, SidePoint>, id: string | null): SidePoint | null => {
    const point = id === null ? undefined : points.get(id);
    return point?.status === 'measured' && point.tokens !== null ? point : null;
  };
  const margin = a.margin === null || b.margin === null ? null : Math.min(a.margin, b.margin);
  return { a: find(mine, a.reference), b: find(theirs, b.reference), margin };
}

function parityChange(left: SidePoint, right: SidePoint, { a, b, margin }: Gate): PointComparison['parity'] {
  if (a === null || b === null) return null;
  const before = agrees(left, a, margin);
  // Against A as well: where a change spoils all points, the reference of B falls with them.
  const fell = margin !== null && left.score !== null && isBelow(right.score ?? 0, left.score, margin);
  const after = agrees(right, b, margin) && !fell;
  if (before) return after ? 'same' : 'lost';
  return after ? 'regained' : 'differs';
}

function agrees(point: SidePoint, reference: SidePoint, margin: number | null): boolean {
  if (margin === null) return parityOf(point.tokens ?? [], reference.tokens ?? []) === 'same';
  return !isBelow(point.score ?? 0, reference.score ?? 0, margin);
}

/** The last row of a point counts. */
function byId(points: readonly SidePoint[]): ReadonlyMap<string, SidePoint> {
  return new Map(points.map((point) => [point.id, point]));
}

function named({ id, name }: SidePoint): { readonly id: string; readonly name: string } {
  return { id, name };
}

function worst(verdicts: readonly Verdict[]): Verdict {
  if (verdicts.includes('worse')) return 'worse';
  return verdicts.includes('better') ? 'better' : 'same';
}

function repeatsNeeded(tests: number, alpha: number): number {
  let repeats = 2;
  while (repeats < 1000 && smallestP(repeats, repeats) * tests > alpha) repeats++;
  return repeats;
}
