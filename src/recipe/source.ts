/**
 * Recipe text as a tree that remembers where everything was written. Every later phase works on this tree, so that a
 * value keeps its file, line and column through aliases, merge keys, `extends` and `--set`.
 */
import type { SourceLocation } from '../contracts/errors.js';

/** A text that recipe values come from: a file, or one `--set` / `--device` argument. */
export interface SourceFile {
  /** As diagnostics show it. */
  readonly path: string;
  /** Absolute folder that relative paths written in this text start from. */
  readonly folder: string;
  readonly text: string;
  /** Offset of the first character of every line. */
  readonly lineStarts: readonly number[];
}

/** What a file says it is, for messages. */
export type FileKind = 'recipe' | 'sweep';

/** A range of one text, as UTF-16 offsets (what editors count). */
export interface Span {
  readonly file: SourceFile;
  readonly start: number;
  readonly end: number;
}

export type ScalarValue = string | number | boolean | null;

export interface SourceScalar {
  readonly kind: 'scalar';
  readonly span: Span;
  readonly value: ScalarValue;
}
export interface SourceList {
  readonly kind: 'list';
  readonly span: Span;
  readonly items: readonly SourceNode[];
}
export interface SourceEntry {
  /** Where the key stands. */
  readonly key: Span;
  readonly value: SourceNode;
}
export interface SourceMap {
  readonly kind: 'map';
  readonly span: Span;
  readonly entries: ReadonlyMap<string, SourceEntry>;
  /** Keys of an extended recipe that were taken away, and where: `key: null`. */
  readonly removed?: ReadonlyMap<string, Span>;
}
export type SourceNode = SourceScalar | SourceList | SourceMap;

/** A place in the document: keys and list positions from the top. */
export type DocumentPath = readonly (string | number)[];

export function sourceFile(path: string, folder: string, text: string): SourceFile {
  const lineStarts = [0];
  for (let i = text.indexOf('\n'); i !== -1; i = text.indexOf('\n', i + 1)) lineStarts.push(i + 1);
  return { path, folder, text, lineStarts };
}

/** Index of the line that holds an offset, from 0. */
function lineIndex(file: SourceFile, offset: number): number {
  let low = 0;
  let high = file.lineStarts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((file.lineStarts[middle] ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Text of a line, without its line end. `line` counts from 1. */
export function lineText(file: SourceFile, line: number): string {
  const start = file.lineStarts[line - 1] ?? file.text.length;
  const next = file.lineStarts[line];
  return file.text.slice(start, next === undefined ? file.text.length : next - 1).replace(/\r$/, '');
}

/** Line and column of a span, both from 1. A span over several lines ends with its first line. */
export function locationOf(span: Span): SourceLocation & { readonly endColumn: number } {
  const start = Math.min(span.start, span.file.text.length);
  const line = lineIndex(span.file, start) + 1;
  const column = start - (span.file.lineStarts[line - 1] ?? 0) + 1;
  const lineEnd = lineText(span.file, line).trimEnd().length + 1;
  const endColumn = Math.max(column + 1, Math.min(column + (span.end - start), lineEnd));
  return { file: span.file.path, line, column, endColumn };
}

export function pathText(path: DocumentPath): string {
  return path.map((p, i) => (typeof p === 'number' ? `[${p}]` : i === 0 ? p : `.${p}`)).join('');
}

/** The plain value of a tree. Shared nodes (aliases) become separate values. */
export function toValue(node: SourceNode): unknown {
  if (node.kind === 'scalar') return node.value;
  if (node.kind === 'list') return node.items.map(toValue);
  const out: Record<string, unknown> = {};
  for (const [key, entry] of node.entries) {
    // defineProperty: a key called __proto__ stays an ordinary key and is refused like any other unknown one.
    Object.defineProperty(out, key, {
      value: toValue(entry.value),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return out;
}

export interface Found {
  readonly key: Span | null;
  readonly value: SourceNode;
}

/** The node at a path, with the key it stands under. */
export function findNode(root: SourceNode, path: DocumentPath): Found | null {
  let found: Found = { key: null, value: root };
  for (const step of path) {
    const { value } = found;
    if (value.kind === 'map') {
      const entry = value.entries.get(String(step));
      if (entry === undefined) return null;
      found = { key: entry.key, value: entry.value };
    } else if (value.kind === 'list') {
      const item = value.items[Number(step)];
      if (item === undefined) return null;
      found = { key: null, value: item };
    } else return null;
  }
  return found;
}

/** What to point at for a path: the value when it is a scalar that was written out, otherwise its key. */
export function spanAt(root: SourceNode, path: DocumentPath): Span {
  const found = findNode(root, path);
  if (found === null) return path.length === 0 ? root.span : spanAt(root, path.slice(0, -1));
  const { key, value } = found;
  if (value.kind === 'scalar' && value.span.end > value.span.start) return value.span;
  if (key !== null) return key;
  if (path.length === 0) return { ...root.span, end: root.span.start };
  return value.kind === 'list' || value.kind === 'map' ? value.span : spanAt(root, path.slice(0, -1));
}

/** The span of the key at a path, or of the nearest thing around it. */
export function keySpanAt(root: SourceNode, path: DocumentPath): Span {
  return findNode(root, path)?.key ?? spanAt(root, path);
}

/** Where it comes from that a map has no such key: where that was removed, or the key of the map itself. */
export function missingSpanAt(root: SourceNode, path: DocumentPath, key: string): Span {
  const map = findNode(root, path)?.value;
  return (map?.kind === 'map' ? map.removed?.get(key) : undefined) ?? keySpanAt(root, path);
}

export function mapAt(node: SourceNode | undefined, key: string): SourceMap | null {
  const value = node?.kind === 'map' ? node.entries.get(key)?.value : undefined;
  return value?.kind === 'map' ? value : null;
}
