/** Phase 4: the schema. ajv says what is wrong; here it becomes one diagnostic per mistake, at its place. */
import type { DiagnosticCode } from '../contracts/recipe.js';
import type { SchemaCheck, SchemaError } from './checker.js';
import { isKind, keyHint, type SchemaContext, typeHint, typeText, valueText } from './explain.js';
import type { Problems } from './problems.js';
import { nodeManifest } from './registry.js';
import { instancePath, propertyNames, subschemaAt } from './schema-path.js';
import {
  type DocumentPath,
  findNode,
  keySpanAt,
  missingSpanAt,
  pathText,
  type SourceMap,
  type SourceNode,
  spanAt,
  toValue,
} from './source.js';
import { didYouMean } from './suggest.js';

/** Keywords that only carry the errors of others. */
const CARRIERS = new Set(['if', 'allOf', '$ref']);
/** Keywords whose failure says only that no form of several fits. */
const UNIONS = new Set(['anyOf', 'oneOf', 'not']);

/** Checks `tree` and reports. `prefix` is where the tree stands in the recipe (options of a plugin). */
export function validateTree(
  tree: SourceMap,
  check: SchemaCheck,
  context: SchemaContext,
  problems: Problems,
  prefix: DocumentPath = [],
): void {
  for (const error of distinct(check(toValue(tree)))) report(error, tree, context, problems, prefix);
}

/** One error per mistake: no branches of an anyOf that failed as a whole, nothing else at a place of the wrong type. */
function distinct(errors: readonly SchemaError[]): readonly SchemaError[] {
  const unions = errors.filter((e) => e.keyword === 'anyOf' || e.keyword === 'oneOf').map((e) => `${e.schemaPath}/`);
  const single = errors.filter(
    (e) => !CARRIERS.has(e.keyword) && e.propertyName === undefined && !unions.some((u) => e.schemaPath.startsWith(u)),
  );
  const wrongType = new Set(single.filter((e) => e.keyword === 'type').map((e) => e.instancePath));
  const seen = new Set<string>();
  return single.filter((e) => {
    if (e.keyword !== 'type' && wrongType.has(e.instancePath)) return false;
    const key = `${e.instancePath}|${e.keyword}|${JSON.stringify(e.keyword === 'type' ? '' : e.params)}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

function report(
  error: SchemaError,
  tree: SourceMap,
  context: SchemaContext,
  problems: Problems,
  prefix: DocumentPath,
): void {
  const at = stepsIn(tree, instancePath(error.instancePath));
  const full = [...prefix, ...at];
  const schema = subschemaAt(context.schema, error.schemaPath);
  switch (error.keyword) {
    case 'additionalProperties': {
      // Ports of a node are checked against its manifest when references are linked.
      if (isPort(full)) return;
      const key = String(error.params['additionalProperty']);
      problems.add('E_UNKNOWN_KEY', unknownKeyText(key, full), {
        at: keySpanAt(tree, [...at, key]),
        path: [...full, key],
        hint: keyHint(key, full, propertyNames(context.schema, at, error.schemaPath), tree, context),
      });
      return;
    }
    case 'required': {
      const key = String(error.params['missingProperty']);
      problems.add('E_MISSING_KEY', missingKeyText(key, full), {
        at: missingSpanAt(tree, at, key),
        path: [...full, key],
        hint: missingKeyHint(key, full, tree, context),
      });
      return;
    }
    case 'propertyNames': {
      const key = String(error.params['propertyName']);
      problems.add('E_VALUE', nameText(key, full), {
        at: keySpanAt(tree, [...at, key]),
        path: [...full, key],
        hint: 'names start with a letter and hold letters, digits, "_" and "-"',
      });
      return;
    }
    case 'type': {
      if (isUnknownPort(full, tree, context)) return;
      const found = findNode(tree, at);
      if (isNotFinite(found?.value) && /number|integer/.test(String(error.params['type']))) return;
      problems.add('E_TYPE', typeText(full, error, found?.value), {
        at: spanAt(tree, at),
        path: full,
        hint: typeHint(error, found?.value, schema),
      });
      return;
    }
    default:
      reportValue(error, schema, tree, context, problems, at, full);
  }
}

/** Pointers write places in lists as text; paths have numbers there. */
function stepsIn(tree: SourceMap, pointer: DocumentPath): DocumentPath {
  return pointer.map((step, i) => (findNode(tree, pointer.slice(0, i))?.value.kind === 'list' ? Number(step) : step));
}

function reportValue(
  error: SchemaError,
  schema: SchemaContext['schema'],
  tree: SourceMap,
  context: SchemaContext,
  problems: Problems,
  at: DocumentPath,
  full: DocumentPath,
): void {
  const value = findNode(tree, at)?.value;
  const written = value?.kind === 'scalar' ? String(value.value) : '';
  if (isNotFinite(value) && 'limit' in error.params) return;
  // References are read when the recipe is linked.
  if (error.keyword === 'pattern' && (isPort(full.slice(0, -1)) || full[0] === 'outputs')) return;
  const kind = isKind(full);
  if (kind !== null) {
    const code: DiagnosticCode = kind === 'node' ? 'E_UNKNOWN_KIND' : 'E_UNKNOWN_DEVICE_KIND';
    const known = (kind === 'node' ? context.registry.nodes : context.registry.devices).map((m) => m.kind);
    problems.add(code, `unknown ${kind} kind "${written}"`, {
      at: spanAt(tree, at),
      path: full,
      hint: didYouMean(written, known, 'kinds'),
    });
    return;
  }
  const { message, hint } = valueText(full, error, schema, value?.kind === 'scalar' ? value.value : '');
  const code: DiagnosticCode =
    full.join('.') === 'version' ? 'E_VERSION' : UNIONS.has(error.keyword) ? 'E_SCHEMA' : 'E_VALUE';
  problems.add(code, message, {
    at: spanAt(tree, at),
    path: full,
    hint,
  });
}

const isPort = (path: DocumentPath): boolean => path.length === 3 && path[0] === 'nodes' && path[2] === 'inputs';

/** That a node has no such port says all: what flows into it does not matter. */
function isUnknownPort(path: DocumentPath, tree: SourceMap, { registry }: SchemaContext): boolean {
  const [, name = '', , port = ''] = path;
  if (!isPort(path.slice(0, -1))) return false;
  const kind = findNode(tree, ['nodes', name, 'kind'])?.value;
  const manifest = kind?.kind === 'scalar' ? nodeManifest(registry, String(kind.value)) : undefined;
  return manifest !== undefined && !Object.hasOwn(manifest.inputs, port);
}

/** Where a number is wanted, that this is none was told when the file was read. */
const isNotFinite = (node: SourceNode | undefined): boolean =>
  node?.kind === 'scalar' && typeof node.value === 'number' && !Number.isFinite(node.value);

function unknownKeyText(key: string, parent: DocumentPath): string {
  return parent.length === 0 ? `unknown key "${key}"` : `unknown key "${key}" in ${pathText(parent)}`;
}

function missingKeyText(key: string, parent: DocumentPath): string {
  return parent.length === 0 ? `the recipe has no "${key}"` : `${pathText(parent)} has no "${key}"`;
}

function nameText(key: string, parent: DocumentPath): string {
  if (parent[0] === 'nodes' && key === 'inputs') {
    return 'a node cannot be called "inputs": "$inputs.…" means the inputs of the recipe';
  }
  return `"${key}" cannot be a name in ${pathText(parent)}`;
}

const EXAMPLES: Readonly<Record<string, string>> = {
  version: 'add "version: 1"',
  name: 'add "name: my-recipe"',
  model: 'add "model: { path: FOLDER }" or "model: { hub: OWNER/NAME }"',
  nodes: 'add "nodes:" with the steps of the pipeline',
  outputs: 'add "outputs: { answer: $fuse.answer }"',
};

function missingKeyHint(
  key: string,
  parent: DocumentPath,
  tree: SourceMap,
  context: SchemaContext,
): string | undefined {
  if (parent.length === 0) return EXAMPLES[key];
  if (key === 'kind') {
    const misnamed = findNode(tree, [...parent, 'type'])?.value;
    if (misnamed?.kind === 'scalar') return `rename "type" to "kind"`;
    const known = parent[0] === 'devices' ? context.registry.devices : context.registry.nodes;
    return `one of ${known.map((m) => m.kind).join(', ')}`;
  }
  if (key === 'type') return 'one of image, text, messages';
  return undefined;
}
