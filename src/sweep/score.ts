/** How good the answers of a point are: each row of a dataset from 0 to 1, and their mean. Pure. */

export interface ScoreSettings {
  /** Absolute path. */
  readonly dataset: string;
  /** Key of the rows that says what is expected. */
  readonly expect: string;
  readonly as: 'exact' | 'contains';
  /** How much lower than the reference's a score may be. */
  readonly margin: number;
}

export interface PointScore {
  /** Mean over the rows. */
  readonly value: number;
  /** Of each row, in the order of the dataset. */
  readonly rows: readonly number[];
  /** Rows without an answer: they count 0. */
  readonly failed: number;
  /** What the first of these failed with. */
  readonly error?: string;
}

type Box = readonly [number, number, number, number];

interface Labelled {
  readonly label: string | null;
  readonly box: Box;
}

export type Expected =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'boxes'; readonly boxes: readonly Labelled[] };

/** What a run answered, as records have it. */
export interface Answered {
  readonly text: string;
  readonly boxes: readonly Labelled[];
}

/** Null: nothing that an answer could be compared with. Cells of CSV files hold boxes as JSON text. */
export function expectedOf(value: unknown): Expected | null {
  if (typeof value === 'number' || typeof value === 'boolean') return { kind: 'text', text: String(value) };
  if (typeof value === 'string') {
    const boxes = /^\s*[[{]/.test(value) ? boxesOf(parsed(value)) : null;
    return boxes === null ? { kind: 'text', text: value } : { kind: 'boxes', boxes };
  }
  const boxes = boxesOf(value);
  return boxes === null ? null : { kind: 'boxes', boxes };
}

export function scoreOf(expected: Expected, answer: Answered, as: ScoreSettings['as']): number {
  if (expected.kind === 'boxes') return overlapOf(expected.boxes, answer.boxes);
  const [wanted, given] = [plain(expected.text), plain(answer.text)];
  if (as === 'exact') return given === wanted ? 1 : 0;
  return given.toLowerCase().includes(wanted.toLowerCase()) ? 1 : 0;
}

/** Outputs of a record: the boxes of the first one that has any. */
export function answeredOf(text: string | undefined, outputs: unknown): Answered {
  const values = isObject(outputs) ? Object.values(outputs) : [];
  const answers = values.filter(isObject);
  const boxes = answers.map(({ boxes: all }) => (Array.isArray(all) ? all.flatMap(labelledOf) : []));
  const said = answers.map((answer) => answer['text']).find((one) => typeof one === 'string');
  return { text: text ?? String(said ?? ''), boxes: boxes.find((all) => all.length > 0) ?? [] };
}

/** Whether a score is as good as the reference's. A tenth of a millionth is rounding, not a difference. */
export function isBelow(score: number, reference: number, margin: number): boolean {
  return score < reference - margin - 1e-7;
}

const plain = (text: string): string => text.trim().replace(/\s+/g, ' ');

/**
 * Pairs of the largest overlap first, each box once; the mean over as many as there are on the fuller side, so that
 * neither a box too few nor one too many goes unpunished.
 */
function overlapOf(expected: readonly Labelled[], given: readonly Labelled[]): number {
  if (expected.length === 0) return given.length === 0 ? 1 : 0;
  const pairs = expected.flatMap((wanted, i) =>
    given.map((one, j) => ({
      i,
      j,
      iou: wanted.label === null || sameLabel(wanted, one) ? iouOf(wanted.box, one.box) : 0,
    })),
  );
  pairs.sort((a, b) => b.iou - a.iou);
  const [left, right] = [new Set<number>(), new Set<number>()];
  let sum = 0;
  for (const { i, j, iou } of pairs) {
    if (left.has(i) || right.has(j)) continue;
    left.add(i);
    right.add(j);
    sum += iou;
  }
  return sum / Math.max(expected.length, given.length);
}

function sameLabel(a: Labelled, b: Labelled): boolean {
  return b.label !== null && plain(a.label ?? '').toLowerCase() === plain(b.label).toLowerCase();
}

/** Area of what two boxes share over the area of both together. */
function iouOf(a: Box, b: Box): number {
  const area = ([x1, y1, x2, y2]: Box): number => Math.max(0, x2 - x1) * Math.max(0, y2 - y1);
  const shared = area([Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])]);
  const both = area(a) + area(b) - shared;
  return both > 0 ? shared / both : 0;
}

function boxesOf(value: unknown): readonly Labelled[] | null {
  const one = labelledOf(value);
  if (one.length > 0) return one;
  if (!Array.isArray(value)) return null;
  const all = value.map(labelledOf);
  return all.every((boxes) => boxes.length === 1) ? all.flat() : null;
}

function labelledOf(value: unknown): readonly Labelled[] {
  const labelled = isObject(value) ? value : { box: value };
  const { label, box } = labelled as { readonly label?: unknown; readonly box?: unknown };
  if (!Array.isArray(box) || box.length !== 4 || !box.every((edge) => Number.isFinite(edge))) return [];
  const [x1, y1, x2, y2] = box.map(Number);
  return [{ label: typeof label === 'string' ? label : null, box: [x1 ?? 0, y1 ?? 0, x2 ?? 0, y2 ?? 0] }];
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
