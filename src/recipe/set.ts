/** Phase 3: `--set path=value`, as a change of the tree. Each argument is a text of its own; `--device` is beside this. */

import type { AbsentKey } from './absent.js';
import { parseYaml } from './parse.js';
import { Problems } from './problems.js';
import { nodeManifest, type Registry } from './registry.js';
import {
  type DocumentPath,
  findNode,
  mapAt,
  pathText,
  type SourceEntry,
  type SourceFile,
  type SourceMap,
  type SourceNode,
  type SourceScalar,
  type Span,
  sourceFile,
} from './source.js';
import { didYouMean, nearest } from './suggest.js';

/** Keys at the top of a recipe. */
const TOP = ['version', 'name', 'description', 'model', 'inputs', 'devices', 'nodes', 'outputs'];
/** Sections whose entries have names that the recipe chose. */
const NAMED = new Set(['inputs', 'devices', 'nodes', 'outputs']);

const ARGUMENT = /^([^=]*)=([\s\S]*)$/;
const STEP = /([^.[\]]+)|\[(\d+)\]/g;

/** The text of one `--set` or `--device` argument; relative paths in it start from the working directory. */
export function argumentFile(option: '--set' | '--device', index: number, text: string, folder: string): SourceFile {
  return sourceFile(index === 0 ? option : `${option} (${index + 1})`, folder, text);
}

/** Applies one `--set`. On a problem the tree comes back unchanged. `absent` gets the key of a removal of nothing. */
export function applySet(
  tree: SourceMap,
  file: SourceFile,
  registry: Registry,
  problems: Problems,
  absent: AbsentKey[],
): SourceMap {
  const whole: Span = { file, start: 0, end: file.text.length };
  const match = ARGUMENT.exec(file.text);
  const written = match?.[1]?.trim() ?? '';
  if (match === null || written === '') {
    problems.add('E_SET', `"${file.text}" is not path=value`, {
      at: whole,
      hint: 'for example --set nodes.decode.with.ctx_len=2048',
    });
    return tree;
  }
  const steps = parsePath(written);
  const start = file.text.indexOf(written);
  const at: Span = { file, start, end: start + written.length };
  if (steps === null) {
    problems.add('E_SET', `"${written}" is not a path`, {
      at,
      hint: 'write keys with dots: nodes.decode.with.ctx_len',
    });
    return tree;
  }
  const valueStart = file.text.indexOf('=') + 1;
  const value = parseArgumentValue(file, valueStart, problems);
  if (value === null || !checkPath(tree, steps, value, at, registry, problems)) return tree;
  if (isNull(value) && findNode(tree, steps) === null) absent.push({ steps, at });
  const changed = put(tree, steps, value, at, [], problems);
  return changed?.kind === 'map' ? changed : tree;
}

/** Keys as text, `[0]` as a number. */
function parsePath(written: string): DocumentPath | null {
  const steps: (string | number)[] = [];
  let end = 0;
  for (const match of written.matchAll(STEP)) {
    const between = written.slice(end, match.index);
    const first = steps.length === 0;
    if (match[2] === undefined ? between !== (first ? '' : '.') : between !== '' || first) return null;
    steps.push(match[1] ?? Number(match[2]));
    end = match.index + match[0].length;
  }
  return end === written.length && steps.length > 0 ? steps : null;
}

/**
 * Values are typed as YAML types a single value: `8` is a number, `true` a boolean, `null` removes the key, `[1, 2]` and
 * `{ a: 1 }` are lists and maps, quotes force text. Anything else is text as it stands, so that a sentence needs no
 * YAML quoting inside the shell's.
 */
function parseArgumentValue(file: SourceFile, start: number, problems: Problems): SourceNode | null {
  const text = file.text.slice(start);
  const lead = text.length - text.trimStart().length;
  const span: Span = { file, start: start + lead, end: Math.max(start + lead, start + text.trimEnd().length) };
  const trimmed = text.trim();
  const plain: SourceScalar = { kind: 'scalar', span, value: trimmed };
  if (trimmed === '') return { ...plain, value: '' };
  const flow = /^[[{]/.test(trimmed);
  if (!flow && !/^(["'])[\s\S]*\1$/.test(trimmed) && !/^[-+.\w~]+$/.test(trimmed)) return plain;
  // Blanks instead of the path: offsets stay those of the argument.
  const quiet = new Problems();
  const padded: SourceFile = { ...file, text: ' '.repeat(start) + text };
  const parsed = parseYaml(padded, quiet);
  if (parsed !== null && !quiet.hasErrors) return relocate(parsed, file);
  if (!flow) return plain;
  const reason = quiet.all()[0];
  problems.add('E_SET', `the value is not valid: ${reason?.message ?? 'it cannot be read'}`, { at: span });
  return null;
}

/** The same tree with spans in `file` (its text was padded for parsing). */
function relocate(node: SourceNode, file: SourceFile): SourceNode {
  const span = { ...node.span, file };
  if (node.kind === 'scalar') return { ...node, span };
  if (node.kind === 'list') return { ...node, span, items: node.items.map((item) => relocate(item, file)) };
  const entries = [...node.entries].map(([name, { key, value }]): [string, SourceEntry] => [
    name,
    { key: { ...key, file }, value: relocate(value, file) },
  ]);
  return { ...node, span, entries: new Map(entries) };
}

/** Refuses paths that lead nowhere. Keys of a known place are checked by the schema afterwards. */
function checkPath(
  tree: SourceMap,
  steps: DocumentPath,
  value: SourceNode,
  at: Span,
  registry: Registry,
  problems: Problems,
): boolean {
  const [top = '', name] = steps.map(String);
  if (!TOP.includes(top)) {
    const whole = optionPath(tree, steps, registry);
    const near = nearest(top, TOP);
    const hint = whole ?? (near === undefined ? undefined : [near, ...steps.slice(1)].join('.'));
    problems.add('E_SET', `a recipe has no "${top}"`, {
      at,
      hint: hint === undefined ? `known keys: ${TOP.join(', ')}` : `did you mean "${hint}"?`,
    });
    return false;
  }
  if (!NAMED.has(top) || name === undefined) return true;
  const section = mapAt(tree, top);
  const isNew = steps.length === 2 && (value.kind === 'map' || (top === 'outputs' && !isNull(value)));
  if (section?.entries.has(name) || isNew) return true;
  const near = nearest(name, section?.entries.keys() ?? []);
  problems.add('E_SET', `the recipe has no ${top.replace(/s$/, '')} "${name}"`, {
    at,
    path: pathText(steps),
    hint:
      near === undefined
        ? didYouMean(name, section?.entries.keys() ?? [], top)
        : `did you mean "${[top, near, ...steps.slice(2)].join('.')}"?`,
  });
  return false;
}

/** `ctx_len` or `decode.ctx_len` -> `nodes.decode.with.ctx_len`, when exactly one node takes such an option. */
function optionPath(tree: SourceMap, steps: DocumentPath, registry: Registry): string | undefined {
  const option = String(steps.at(-1) ?? '');
  const nodes = [...(mapAt(tree, 'nodes')?.entries ?? [])];
  const owners = nodes.flatMap(([name, { value }]) => {
    if (steps.length > 1 && !steps.includes(name)) return [];
    const kind = findNode(value, ['kind'])?.value;
    const manifest = kind?.kind === 'scalar' ? nodeManifest(registry, String(kind.value)) : undefined;
    if (manifest === undefined) return [];
    const known = Object.keys(manifest.options);
    const key = known.includes(option) ? option : nearest(option, known);
    return key === undefined ? [] : [`nodes.${name}.with.${key}`];
  });
  return owners.length === 1 ? owners[0] : undefined;
}

const isNull = (value: SourceNode): boolean => value.kind === 'scalar' && value.value === null;

/** A copy of the tree with `value` at `steps`; null and a problem where the path meets a single value. */
function put(
  node: SourceNode | undefined,
  steps: DocumentPath,
  value: SourceNode,
  at: Span,
  done: DocumentPath,
  problems: Problems,
): SourceNode | null {
  const [first, ...rest] = steps;
  if (first === undefined) return value;
  const step = String(first);
  if (node?.kind === 'list') return putItem(node.items, node.span, step, rest, value, at, done, problems);
  if (node !== undefined && node.kind !== 'map' && node.value !== null) {
    problems.add('E_SET', `${pathText(done)} is a single value, it has no "${step}"`, { at, path: pathText(done) });
    return null;
  }
  // `stop[0]=x` where the recipe says nothing of `stop`: a new list takes the place of the default.
  if (node?.kind !== 'map' && typeof first === 'number') return putItem([], at, step, rest, value, at, done, problems);
  const entries = new Map(node?.kind === 'map' ? node.entries : []);
  if (rest.length === 0 && isNull(value)) {
    entries.delete(step);
  } else {
    const made = put(entries.get(step)?.value, rest, value, at, [...done, step], problems);
    if (made === null) return null;
    entries.set(step, { key: rest.length === 0 ? at : (entries.get(step)?.key ?? at), value: made });
  }
  return { kind: 'map', span: node?.span ?? at, entries };
}

function putItem(
  list: readonly SourceNode[],
  span: Span,
  step: string,
  rest: DocumentPath,
  value: SourceNode,
  at: Span,
  done: DocumentPath,
  problems: Problems,
): SourceNode | null {
  const index = /^\d+$/.test(step) ? Number(step) : -1;
  if (index < 0 || index > list.length) {
    const last =
      list.length === 0 ? 'it is empty: 0 appends' : `it has places 0 to ${list.length - 1}, ${list.length} appends`;
    problems.add('E_SET', `${pathText(done)} is a list without a place "${step}"`, { at, hint: last });
    return null;
  }
  const items = [...list];
  const made = put(items[index], rest, value, at, [...done, index], problems);
  if (made === null) return null;
  items[index] = made;
  return { kind: 'list', span, items };
}
