/** Diagnostics as text: what, where, the line with a caret, and what to do. */
import type { Diagnostic } from '../contracts/recipe.js';

export interface FormatOptions {
  readonly color: boolean;
  /** Widest source line shown; longer ones are cut around the caret. */
  readonly width?: number;
}

interface Paint {
  readonly error: (text: string) => string;
  readonly warning: (text: string) => string;
  readonly bold: (text: string) => string;
  readonly faint: (text: string) => string;
  readonly hint: (text: string) => string;
}

const wrap =
  (code: string) =>
  (text: string): string =>
    `\u001b[${code}m${text}\u001b[0m`;
const same = (text: string): string => text;
const COLORS: Paint = {
  error: wrap('1;31'),
  warning: wrap('1;33'),
  bold: wrap('1'),
  faint: wrap('34'),
  hint: wrap('36'),
};
const PLAIN: Paint = { error: same, warning: same, bold: same, faint: same, hint: same };

/** All diagnostics, then a line that counts them. Empty text when there are none. */
export function formatDiagnostics(diagnostics: readonly Diagnostic[], options: FormatOptions): string {
  if (diagnostics.length === 0) return '';
  const paint = options.color ? COLORS : PLAIN;
  const blocks = diagnostics.map((d) => formatOne(d, paint, options.width ?? 120));
  return `${[...blocks, summary(diagnostics, paint)].join('\n\n')}\n`;
}

function formatOne(d: Diagnostic, paint: Paint, width: number): string {
  const tone = d.severity === 'error' ? paint.error : paint.warning;
  const lines = [`${tone(`${d.severity}[${d.code}]`)}${paint.bold(`: ${printable(d.message)}`)}`];
  const { location } = d;
  const number = location === undefined ? '' : String(location.line);
  const gutter = ' '.repeat(number.length);
  if (location !== undefined) {
    const place = `${printable(location.file)}:${location.line}:${location.column}`;
    lines.push(`${gutter}${paint.faint('-->')} ${place}`);
    if (d.excerpt !== undefined && d.excerpt.trim() !== '') {
      const { text, before, length } = cut(d.excerpt, location.column - 1, location.endColumn - 1, width);
      const bar = paint.faint('|');
      lines.push(`${gutter} ${bar}`, `${paint.faint(number)} ${bar} ${text}`);
      lines.push(`${gutter} ${bar} ${' '.repeat(before)}${tone('^'.repeat(length))}`);
    }
  }
  if (d.hint !== undefined) lines.push(`${gutter} ${paint.faint('=')} ${paint.hint('help')}: ${printable(d.hint)}`);
  return lines.join('\n');
}

function summary(diagnostics: readonly Diagnostic[], paint: Paint): string {
  const count = (severity: Diagnostic['severity']): string => {
    const n = diagnostics.filter((d) => d.severity === severity).length;
    return n === 0 ? '' : `${n} ${severity}${n === 1 ? '' : 's'}`;
  };
  const parts = [count('error'), count('warning')].filter((p) => p !== '');
  return paint.bold(parts.join(', '));
}

/** Recipes come from anywhere: nothing in them may steer a terminal. Tabs become one blank, as the caret counts them. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (c) =>
    c === '\t' ? ' ' : '\ufffd',
  );
}

/** Columns a text takes on a terminal: wide East Asian characters and emoji take two, combining marks none. */
function columns(text: string): number {
  let n = 0;
  for (const char of text) {
    if (/\p{Mark}|\u200d|\ufe0f/u.test(char)) continue;
    n +=
      /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u.test(
        char,
      )
        ? 2
        : 1;
  }
  return n;
}

/** The part of a long line around the caret, with where the caret begins and how long it is, in terminal columns. */
function cut(
  excerpt: string,
  start: number,
  end: number,
  width: number,
): { readonly text: string; readonly before: number; readonly length: number } {
  let from = 0;
  let to = excerpt.length;
  if (excerpt.length > width) {
    from = Math.max(0, Math.min(start - Math.floor(width / 3), excerpt.length - width));
    to = Math.min(excerpt.length, from + width);
  }
  const head = from > 0 ? '…' : '';
  const tail = to < excerpt.length ? '…' : '';
  const shown = printable(excerpt.slice(from, to));
  const before = columns(head) + columns(shown.slice(0, start - from));
  const length = Math.max(1, columns(shown.slice(start - from, Math.min(end, to) - from)));
  return { text: `${head}${shown}${tail}`, before, length };
}
