/** Phase 1: YAML text -> tree with positions. Nothing here knows what a recipe is. */
import { Composer, type Document, type ParsedNode, Parser, type YAMLError } from 'yaml';
import type { Problems } from './problems.js';
import { type FileKind, locationOf, type SourceFile, type SourceMap, type SourceNode, type Span } from './source.js';
import { Converter, MAX_DEPTH, StopConverting } from './yaml-tree.js';

type Token = ReturnType<Parser['parse']> extends Generator<infer T> ? T : never;

const spanOf = (file: SourceFile, [start, end]: readonly [number, number]): Span => ({
  file,
  start: Math.min(start, file.text.length),
  end: Math.min(Math.max(end, start), file.text.length),
});

/**
 * Parses one YAML document whose top is a map. Returns null after a syntax error: what follows one is guesswork.
 * Duplicate keys are reported and the first one counts, so that the other phases can go on.
 */
export function parseRecipe(file: SourceFile, problems: Problems): SourceMap | null {
  const top = parseYaml(file, problems);
  if (top === null) return null;
  if (top.kind === 'map') return top;
  const what = top.kind === 'list' ? 'a list' : 'a single value';
  problems.add('E_TYPE', `a recipe is a map of keys and values, this is ${what}`, {
    at: { ...top.span, end: top.span.start + 1 },
    hint: 'start with "version: 1"',
  });
  return null;
}

/** Any YAML document as a tree; null after an error or when it is empty. */
export function parseYaml(file: SourceFile, problems: Problems, what: FileKind = 'recipe'): SourceNode | null {
  const tokens: Token[] = [...new Parser().parse(file.text)];
  const deep = deepToken(tokens, MAX_DEPTH * 2);
  if (deep !== null) {
    problems.add('E_YAML', `the file is nested deeper than ${MAX_DEPTH} levels`, {
      at: { file, start: deep, end: deep + 1 },
    });
    return null;
  }
  const documents = [
    ...new Composer({ uniqueKeys: false, prettyErrors: false, logLevel: 'silent', merge: false }).compose(
      tokens,
      true,
      file.text.length,
    ),
  ];
  const [document, second] = documents;
  if (document === undefined) return null;
  if (reportSyntax(file, document, tokens, problems)) return null;
  if (second !== undefined) {
    const at = separatorBefore(file, second.range[0]);
    problems.add('E_YAML', `the file holds several YAML documents, a ${what} is one`, {
      at,
      hint: `split it into one file a ${what}`,
    });
    return null;
  }
  if (document.contents === null || isBlank(document.contents, file)) {
    problems.add('E_EMPTY', 'the file is empty', {
      at: { file, start: 0, end: 0 },
      hint: what === 'recipe' ? '"vlm-run init" writes a starter recipe' : 'start with "version: 1"',
    });
    return null;
  }
  try {
    return new Converter(file, problems, what).convert(document.contents as ParsedNode);
  } catch (error) {
    if (error instanceof StopConverting) return null;
    throw error;
  }
}

/** The composer makes an empty scalar of a document without content. */
function isBlank(node: NonNullable<Document['contents']>, file: SourceFile): boolean {
  const range = node.range;
  if (!range || !('value' in node) || node.value !== null) return false;
  return file.text.slice(range[0], range[1]).trim() === '';
}

function separatorBefore(file: SourceFile, offset: number): Span {
  const start = Math.max(0, file.text.lastIndexOf('---', offset + 3));
  return { file, start, end: start + 3 };
}

/**
 * Offset of the first token nested deeper than `limit`, or null. Walks the token tree without recursion, before
 * anything recursive sees it: composing deeply nested brackets would exhaust the stack.
 */
function deepToken(tokens: readonly Token[], limit: number): number | null {
  const stack: { readonly token: unknown; readonly depth: number }[] = tokens.map((token) => ({ token, depth: 0 }));
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    const { token, depth } = top;
    if (typeof token !== 'object' || token === null) continue;
    if (depth > limit) return 'offset' in token && typeof token.offset === 'number' ? token.offset : 0;
    for (const key of ['value', 'key'] as const) {
      if (key in token) stack.push({ token: (token as Record<string, unknown>)[key], depth: depth + 1 });
    }
    if ('items' in token && Array.isArray(token.items)) {
      for (const item of token.items) stack.push({ token: item, depth });
    }
  }
  return null;
}

/** Reports the first syntax error: the ones after it mostly follow from it. */
function reportSyntax(file: SourceFile, document: Document, tokens: readonly Token[], problems: Problems): boolean {
  const errors: readonly YAMLError[] = [...document.errors, ...document.warnings];
  const first = errors[0];
  if (first === undefined) return false;
  if (first.code === 'TAB_AS_INDENT' || tabBefore(file, first.pos[0])) {
    const count = file.text.split('\n').filter((line) => /^ *\t/.test(line)).length;
    const at = tabSpan(file, first.pos[0]);
    problems.add('E_TAB', 'a tab cannot indent YAML', {
      at,
      hint: `use spaces${count > 1 ? ` (${count} lines start with a tab)` : ''}`,
    });
    return true;
  }
  const open = unclosed(tokens, first.pos[0]);
  if (open !== null && /closing.*quote/i.test(first.message)) {
    const at = { file, start: open.offset, end: open.offset + 1 };
    problems.add('E_YAML', 'this quote is never closed', { at, hint: 'close it, or quote the whole value' });
  } else if (open !== null && /end with a [}\]]|expected flow/i.test(first.message)) {
    const { line, column } = locationOf({ file, start: open.offset, end: open.offset + 1 });
    const bracket = file.text[open.offset] ?? '';
    problems.add('E_YAML', `the "${bracket}" of line ${line}, column ${column} is not closed before this`, {
      at: spanOf(file, first.pos),
      hint: `close it with "${bracket === '{' ? '}' : ']'}", or indent what belongs to it`,
    });
  } else problems.add('E_YAML', plainWords(first), { at: spanOf(file, first.pos), hint: hintFor(first, file) });
  return true;
}

/** The last quote or bracket before `offset` that stays open. */
function unclosed(tokens: readonly Token[], offset: number): { readonly offset: number } | null {
  let found: { readonly offset: number } | null = null;
  const stack: unknown[] = [...tokens];
  for (let token = stack.pop(); stack.length > 0 || token !== undefined; token = stack.pop()) {
    if (typeof token !== 'object' || token === null) continue;
    const { type, source, end, offset: at, key, value, items } = token as Readonly<Record<string, unknown>>;
    stack.push(key, value, ...(Array.isArray(items) ? items : []));
    if (typeof at !== 'number' || at > offset || (found !== null && at < found.offset)) continue;
    const quote = /^(double|single)-quoted-scalar$/.test(String(type));
    const open = quote ? !/^(["'])[\s\S]*\1$/.test(String(source)) : type === 'flow-collection' && !isClosed(end);
    if (open) found = { offset: at };
  }
  return found;
}

function isClosed(end: unknown): boolean {
  return (
    Array.isArray(end) && end.some((e: unknown) => /^flow-(map|seq)-end$/.test(String((e as { type?: unknown }).type)))
  );
}

/** True when the line of the trouble is indented with a tab: that is what has to be mended. */
function tabBefore(file: SourceFile, offset: number): boolean {
  const start = file.text.lastIndexOf('\n', offset - 1) + 1;
  return /^ *\t/.test(file.text.slice(start));
}

function tabSpan(file: SourceFile, offset: number): Span {
  const lineStart = file.text.lastIndexOf('\n', offset - 1) + 1;
  const tab = file.text.indexOf('\t', lineStart);
  const start = tab === -1 ? offset : tab;
  return { file, start, end: start + 1 };
}

function plainWords(error: YAMLError): string {
  switch (error.code) {
    case 'BLOCK_AS_IMPLICIT_KEY':
      return 'a second "key:" on one line';
    case 'TAG_RESOLVE_FAILED':
      return `${error.message.replace(/^Unresolved tag: /, 'tag ')} is not known here`;
    case 'UNEXPECTED_TOKEN':
      if (/at node end$/.test(error.message)) return 'text after the end of a value';
      return lowerFirst(error.message);
    case 'MULTILINE_IMPLICIT_KEY':
      return 'a key must stand on one line; is a ":" missing?';
    case 'MULTIPLE_ANCHORS':
      return 'a value has two anchors';
    case 'RESOURCE_EXHAUSTION':
      return 'the file is nested too deeply';
    default:
      return lowerFirst(error.message);
  }
}

const lowerFirst = (text: string): string => text.charAt(0).toLowerCase() + text.slice(1);

function hintFor(error: YAMLError, file: SourceFile): string | undefined {
  const char = file.text[error.pos[0]];
  if (error.code === 'BLOCK_AS_IMPLICIT_KEY') return 'quote the value when it holds ": "';
  if (/at node end$/.test(error.message))
    return 'quote the whole value, or give it a key; all keys of a map start in one column';
  if (error.code === 'BAD_INDENT') return 'indent what belongs together alike';
  if (error.code === 'TAG_RESOLVE_FAILED') return 'recipes use no tags; quote the value when it starts with "!"';
  if (char === '@' || char === '`' || char === '%') return `quote a value that starts with "${char}"`;
  return undefined;
}
