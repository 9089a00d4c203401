/** Numbers as one reads them, and text of others made harmless for each kind of file. */
import type { Figure, Metric, ReportModel, ReportPoint } from './types.js';

/** Three figures that matter, no exponent: 0.0123, 1.23, 12.3, 1234. */
export function number(value: number): string {
  if (value === 0) return '0';
  const rounded = Math.abs(value) < 1000 ? Number(value.toPrecision(3)) : Math.round(value);
  return rounded.toFixed(Math.max(0, Math.min(6, 2 - Math.floor(Math.log10(Math.abs(rounded))))));
}

/** `12.3 (11.9–12.8)`. */
export function figureText(figure: Figure | undefined): string {
  if (figure === undefined) return '';
  const { value, ci } = figure;
  return ci === null ? number(value) : `${number(value)} (${number(ci[0])}–${number(ci[1])})`;
}

export function metricTitle({ label, unit }: Metric): string {
  return unit === '' ? label : `${label}, ${unit}`;
}

export const MARK_TEXT = {
  reference: 'reference',
  differs: 'tokens differ',
  below: 'score below',
  other: 'other tokens',
  unchecked: 'not compared',
  wide: 'wide spread',
  emulated: 'emulated',
  failed: 'failed',
  refused: 'refused',
} as const;

/** Letters of the points of the front, by rising latency: A … Z, AA, AB … */
export function frontOf(model: ReportModel): readonly { readonly letter: string; readonly point: ReportPoint }[] {
  const latency = (point: ReportPoint): number => point.figures[model.pareto.latency]?.value ?? 0;
  return model.points
    .filter(({ front }) => front)
    .sort((a, b) => latency(a) - latency(b) || a.index - b.index)
    .map((point, i) => ({ letter: letterOf(i), point }));
}

function letterOf(i: number): string {
  const rest = Math.floor(i / 26);
  return `${rest > 0 ? letterOf(rest - 1) : ''}${String.fromCharCode(65 + (i % 26))}`;
}

/** Facts of the header, as pairs. */
export function headerFacts(model: ReportModel): readonly (readonly [string, string])[] {
  const { counts } = model;
  const versions = new Set(model.stores.map((store) => store.versions['vlm-run'] ?? 'unknown'));
  const some = (count: number, text: string): string[] => (count > 0 ? [`${count} ${text}`] : []);
  const told = [
    `${counts.measured} measured`,
    `${counts.failed} failed`,
    `${counts.refused} refused by the planner`,
    ...some(counts.missing, 'or more not measured yet, or measured elsewhere'),
  ];
  const marked = [
    ...some(counts.differs, 'with tokens unlike the reference'),
    ...some(counts.below, 'with a score below the reference'),
    ...some(counts.unchecked, 'not compared with a reference'),
    ...some(counts.wide, 'with a wide spread'),
    ...some(counts.emulated, 'on an emulated card'),
  ];
  const period = model.from === null ? 'nothing ran' : `${model.from} to ${model.to ?? model.from}`;
  return [
    ['Measured', period],
    ['Points', told.join(', ')],
    ['Marked', marked.length === 0 ? 'none' : marked.join(', ')],
    ...(model.score === null ? [] : [['Judged by', judgedBy(model.score)] as const]),
    ['Recipe', `${model.recipe.name}, sha256 ${model.recipe.sha256}`],
    ['Measured by', `vlm-run ${[...versions].join(', ')}`],
    ['Report by', `vlm-run ${model.tool}`],
  ];
}

function judgedBy(score: Readonly<Record<string, string>>): string {
  const { dataset = '', rows = '?', margin = '0' } = score;
  return `the score on ${dataset}, ${rows} rows; at most ${margin} below the reference`;
}

/** What keeps a point from the front, as a note says it. */
export function wrongText(model: ReportModel): string {
  return model.score === null ? 'whose tokens differ from the reference' : 'whose score is below that of the reference';
}

export function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}

/** JSON that may stand in a script element: no tag begins in it, and old parsers' line ends are written as escapes. */
export function scriptJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[<>&\u2028\u2029]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** A cell of a Markdown table: one line, no markup. */
export function escapeMarkdown(text: string): string {
  return text
    .replace(/[\r\n\u2028\u2029]+\s*/g, ' ')
    .replace(/[\\`*_{}[\]<>|~#!]/g, (char) => (char === '<' ? '&lt;' : char === '>' ? '&gt;' : `\\${char}`));
}

/** RFC 4180. Text that a spreadsheet would take for a formula gets a quote in front; numbers stay numbers. */
export function csvCell(value: string | number | null): string {
  if (value === null) return '';
  if (typeof value === 'number') return String(value);
  const isNumber = /^-?\d+(\.\d+)?$/.test(value);
  const safe = !isNumber && /^[\s]*[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
