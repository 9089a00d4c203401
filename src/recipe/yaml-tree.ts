/**
 * YAML nodes -> source tree: aliases and merge keys resolved, duplicate keys found, sizes bounded. An alias is the same
 * tree as its anchor, so a mistake in it points to where it was written.
 */
import { isAlias, isMap, isPair, isScalar, isSeq, type Node, type Pair, type ParsedNode, type Scalar } from 'yaml';
import type { Problems } from './problems.js';
import {
  type FileKind,
  locationOf,
  type SourceEntry,
  type SourceFile,
  type SourceMap,
  type SourceNode,
  type Span,
} from './source.js';
import { didYouMean } from './suggest.js';

/** Levels of maps and lists. */
export const MAX_DEPTH = 64;
/** Values a recipe may have once aliases and merge keys are written out. */
export const MAX_VALUES = 20_000;

/** Thrown after a problem was reported that makes the tree unusable. */
export class StopConverting extends Error {}

const MERGE_KEY = '<<';

export class Converter {
  readonly #anchors = new Map<string, SourceNode | 'open'>();
  /** Values in a tree once aliases are written out. */
  readonly #sizes = new Map<SourceNode, number>();
  #merged = 0;

  constructor(
    private readonly file: SourceFile,
    private readonly problems: Problems,
    private readonly what: FileKind,
  ) {}

  convert(node: ParsedNode | Node | null, fallback?: Span): SourceNode {
    const span = this.#span(node, fallback);
    if (isAlias(node)) return this.#alias(node.source, span);
    const anchor = node !== null && 'anchor' in node ? node.anchor : undefined;
    if (anchor !== undefined) this.#anchors.set(anchor, 'open');
    const made = this.#make(node, span);
    if (anchor !== undefined) this.#anchors.set(anchor, made);
    return made;
  }

  #make(node: Node | null, span: Span): SourceNode {
    if (isMap(node)) return this.#map(node.items, span);
    if (isSeq(node)) {
      const items = node.items.map((item) => this.convert(isPair(item) ? null : (item as Node | null), span));
      return this.#sized({ kind: 'list', span, items }, items, span);
    }
    if (isScalar(node)) return this.#scalar(node, span);
    return { kind: 'scalar', span: { ...span, end: span.start }, value: null };
  }

  #scalar(node: Scalar, span: Span): SourceNode {
    const value = node.value;
    if (typeof value === 'number') {
      if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value))) {
        const written = node.source ?? String(value);
        const finite = Number.isFinite(value);
        this.problems.add('E_VALUE', `${written} ${finite ? 'cannot be kept exactly as a' : 'is no finite'} number`, {
          at: span,
          isLast: true,
          hint: finite
            ? `the largest whole number is ${Number.MAX_SAFE_INTEGER}; quote it where text is meant`
            : 'write a finite number; quote it where text is meant',
        });
      }
      return { kind: 'scalar', span, value };
    }
    if (typeof value === 'string' || typeof value === 'boolean' || value === null)
      return { kind: 'scalar', span, value };
    return { kind: 'scalar', span, value: node.source ?? null };
  }

  #map(pairs: readonly Pair[], span: Span): SourceMap {
    const entries = new Map<string, SourceEntry>();
    const merges: SourceMap[] = [];
    for (const pair of pairs) {
      const keyNode = pair.key as Node | null;
      const key = this.#span(keyNode, span);
      const name = this.#keyName(keyNode, key);
      if (name === null) continue;
      if (name === MERGE_KEY && isScalar(keyNode) && keyNode.type === 'PLAIN') {
        merges.push(...this.#mergeSources(pair.value as Node | null, key));
        continue;
      }
      const earlier = entries.get(name);
      const value = this.convert(pair.value as Node | null, { ...key, start: key.end });
      if (earlier === undefined) entries.set(name, { key, value });
      else {
        const { line, column } = locationOf(earlier.key);
        this.problems.add('E_DUPLICATE_KEY', `the key "${name}" is written twice`, {
          at: key,
          path: name,
          hint: `it stands first at line ${line}, column ${column}; keep one of them`,
        });
      }
    }
    // Own keys win over merged ones wherever `<<` stands; of several merged maps the first wins.
    for (const source of merges) {
      for (const [name, entry] of source.entries) {
        if (++this.#merged > MAX_VALUES) this.#tooMany(span);
        if (!entries.has(name)) entries.set(name, entry);
      }
    }
    return this.#sized(
      { kind: 'map', span, entries },
      [...entries.values()].map((e) => e.value),
      span,
    );
  }

  #keyName(node: Node | null, at: Span): string | null {
    if (isScalar(node) && node.value !== null) {
      return typeof node.value === 'string' ? node.value : (node.source ?? String(node.value));
    }
    const what = node === null || isScalar(node) ? 'a key is missing before ":"' : 'a key must be plain text';
    this.problems.add('E_YAML', what, { at });
    return null;
  }

  #mergeSources(node: Node | null, key: Span): SourceMap[] {
    const value = this.convert(node, key);
    const sources = value.kind === 'list' ? value.items : [value];
    return sources.flatMap((source) => {
      if (source.kind === 'map') return [source];
      this.problems.add('E_ALIAS', '"<<" merges maps, this is not one', {
        at: source.span.end > source.span.start ? source.span : key,
        hint: 'write "<<: *anchor" or "<<: [*first, *second]"',
      });
      return [];
    });
  }

  #alias(name: string, at: Span): SourceNode {
    const target = this.#anchors.get(name);
    if (target === 'open') {
      this.problems.add('E_ALIAS', `*${name} stands inside &${name}: it would contain itself`, { at });
      throw new StopConverting();
    }
    if (target !== undefined) return target;
    this.problems.add('E_ALIAS', `no anchor &${name} before this alias`, {
      at,
      hint:
        didYouMean(name, [...this.#anchors.keys()], 'anchors') ??
        'define it first with "&" before a value; quote the value when it is text that starts with "*"',
    });
    throw new StopConverting();
  }

  /** Refuses a tree that grows beyond all measure when its aliases are written out ("alias bomb"). */
  #sized<T extends SourceNode>(made: T, children: readonly SourceNode[], at: Span): T {
    const size = children.reduce((n, child) => n + (this.#sizes.get(child) ?? 1), 1);
    if (size > MAX_VALUES) this.#tooMany(at);
    this.#sizes.set(made, size);
    return made;
  }

  #tooMany(at: Span): never {
    this.problems.add(
      'E_ALIAS',
      `the ${this.what} has more than ${MAX_VALUES} values once its aliases are written out`,
      {
        at: { ...at, end: at.start + 1 },
        hint: 'each alias repeats all that its anchor holds: use fewer of them inside one another',
      },
    );
    throw new StopConverting();
  }

  #span(node: Node | null, fallback?: Span): Span {
    const range = node?.range;
    if (!range) return fallback ?? { file: this.file, start: 0, end: 0 };
    const end = Math.min(range[1], this.file.text.length);
    return { file: this.file, start: Math.min(range[0], end), end };
  }
}
