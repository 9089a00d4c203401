/**
 * Keys that `--set path=null` was to remove and that are not there. Nothing is wrong where the schema knows the key (it
 * has its default already); where it does not, the path is misspelt and the key that was meant is still there.
 */
import type { SchemaCheck } from './checker.js';
import { keyHint, type SchemaContext } from './explain.js';
import type { Problems } from './problems.js';
import { instancePath, propertyNames } from './schema-path.js';
import { type DocumentPath, pathText, type SourceMap, type SourceNode, type Span, toValue } from './source.js';

export interface AbsentKey {
  readonly steps: DocumentPath;
  readonly at: Span;
}

/** Reports those that the schema does not know. `prefix` is where `tree` stands in the recipe (options of a plugin). */
export function checkAbsent(
  absent: readonly AbsentKey[],
  tree: SourceMap,
  check: SchemaCheck,
  context: SchemaContext,
  problems: Problems,
  prefix: DocumentPath = [],
): void {
  for (const { steps, at } of absent) {
    if (prefix.some((step, i) => step !== steps[i])) continue;
    const own = steps.slice(prefix.length).map(String);
    const key = own.at(-1);
    const probe = withKey(tree, own, at);
    if (key === undefined || probe?.kind !== 'map') continue;
    const error = check(toValue(probe)).find(
      ({ keyword, params, instancePath: pointer }) =>
        keyword === 'additionalProperties' &&
        params['additionalProperty'] === key &&
        [...instancePath(pointer), key].join('\n') === own.join('\n'),
    );
    if (error === undefined) continue;
    const parent = steps.slice(0, -1);
    const known = propertyNames(context.schema, own.slice(0, -1), error.schemaPath);
    problems.add('E_UNKNOWN_KEY', `there is no "${key}" to remove in ${pathText(parent) || 'the recipe'}`, {
      at,
      path: steps,
      hint: keyHint(key, parent, known, tree, context),
    });
  }
}

/** The tree with a value at `steps`; null where something stands there by now, or nothing that could hold it. */
function withKey(node: SourceNode, steps: readonly string[], at: Span): SourceNode | null {
  const [first, ...rest] = steps;
  if (first === undefined || node.kind !== 'map') return null;
  const entry = node.entries.get(first);
  if (rest.length === 0 && entry !== undefined) return null;
  const below: SourceNode = entry?.value ?? { kind: 'map', span: at, entries: new Map() };
  const value: SourceNode | null =
    rest.length === 0 ? { kind: 'scalar', span: at, value: null } : withKey(below, rest, at);
  return value === null ? null : { ...node, entries: new Map(node.entries).set(first, { key: at, value }) };
}
