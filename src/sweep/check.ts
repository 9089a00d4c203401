/** What is wrong with a sweep file, each mistake once and at its place. Of the recipe it knows nothing. */
import { Ajv } from 'ajv';
import type { SchemaError } from '../recipe/checker.js';
import { describeNode } from '../recipe/explain.js';
import type { Problems } from '../recipe/problems.js';
import {
  type DocumentPath,
  findNode,
  keySpanAt,
  type SourceMap,
  type SourceNode,
  spanAt,
  toValue,
} from '../recipe/source.js';
import { didYouMean, nearest } from '../recipe/suggest.js';
import { validateTree } from '../recipe/validate.js';
import { checkVersion } from '../recipe/version.js';
import type { AxisValues } from './file.js';
import { countOf, MAX_POINTS } from './points.js';
import { SWEEP_SCHEMA } from './schema.js';

type Map = Readonly<Record<string, unknown>>;

const EXAMPLES: Readonly<Record<string, string>> = {
  version: 'add "version: 1"',
  name: 'add "name: my-sweep"',
  recipe: 'add "recipe: RECIPE.yaml"; its place starts from the folder of this file',
};
const AXES = ['grid', 'zip', 'list'] as const;
/** `/grid/<axis>` or `/zip/<axis>`, and which of the three ways to write values an error is about. */
const AXIS = /^\/(?:grid|zip)\/[^/]*$/;
const FORM = /^#\/properties\/(?:grid|zip)\/additionalProperties\/anyOf(?:\/(\d))?/;

export function checkSweep(tree: SourceNode, problems: Problems): void {
  if (tree.kind !== 'map') {
    const at = { ...tree.span, end: tree.span.start + 1 };
    const what = tree.kind === 'list' ? 'a list' : 'a single value';
    problems.add('E_TYPE', `a sweep is a map of keys and values, this is ${what}`, { at, hint: EXAMPLES['version'] });
    return;
  }
  if (!checkVersion(tree, problems, 'sweep')) return;
  const value = toValue(tree) as Map;
  const validate = new Ajv({ allErrors: true, allowUnionTypes: true, strict: false, verbose: false }).compile(
    SWEEP_SCHEMA,
  );
  validate(value);
  const errors = (validate.errors ?? []) as readonly SchemaError[];
  const context = { schema: SWEEP_SCHEMA, registry: { nodes: [], devices: [] } };
  validateTree(tree, () => errors.flatMap((error) => oneForm(error, value)), context, problems);
  checkTop(tree, value, errors, problems);
  if (problems.hasErrors) return;
  checkRanges(tree, value, problems);
  checkZip(tree, value, problems);
  checkNames(tree, value, problems);
  checkParameters(tree, value, problems);
}

/** Of the three ways to write the values of an axis, the one that was meant is judged. */
function oneForm(error: SchemaError, value: Map): readonly SchemaError[] {
  // Told by checkTop: which key is missing, and that there are no axes.
  if (error.instancePath === '' && ['required', 'anyOf'].includes(error.keyword)) return [];
  const form = FORM.exec(error.schemaPath);
  if (form === null) return [error];
  const [, part = '', name = ''] = error.instancePath.split('/');
  const axis = objectOf(value[part])[name.replaceAll('~1', '/').replaceAll('~0', '~')];
  const meant = Array.isArray(axis) ? '0' : isMap(axis) ? (isLog(axis) ? '2' : '1') : null;
  // A "log" that was misspelt is not missing as well.
  if (meant === '2' && error.params['missingProperty'] === 'log') return [];
  if (meant !== null) return form[1] === meant ? [error] : [];
  if (form[1] !== '0' || !AXIS.test(error.instancePath)) return [];
  return [{ ...error, keyword: 'type', params: { type: 'array' } }];
}

/** `{ log: … }`, misspelt or not. */
function isLog(axis: Map): boolean {
  const known = ['from', 'to', 'step', 'log'];
  return Object.keys(axis).some((key) => key === 'log' || (!known.includes(key) && nearest(key, known) === 'log'));
}

function checkTop(tree: SourceMap, value: Map, errors: readonly SchemaError[], problems: Problems): void {
  // A key that was misspelt is not missing as well.
  const unknown = errors.flatMap(({ instancePath, params }) =>
    instancePath === '' ? [params['additionalProperty']] : [],
  );
  const meant = unknown.flatMap((key) =>
    typeof key === 'string' ? [nearest(key, Object.keys(SWEEP_SCHEMA.properties))] : [],
  );
  const at = { ...tree.span, end: tree.span.start + 1 };
  for (const key of SWEEP_SCHEMA.required) {
    if (key in value || meant.includes(key)) continue;
    problems.add('E_MISSING_KEY', `the sweep has no "${key}"`, { at, path: [key], hint: EXAMPLES[key] });
  }
  if (AXES.some((key) => key in value || meant.includes(key))) return;
  problems.add('E_MISSING_KEY', 'the sweep has no axes: no "grid", "zip" or "list"', {
    at,
    path: ['grid'],
    hint: 'for example "grid: { nodes.decode.with.batch_size: [1, 2, 4] }"',
  });
}

function checkRanges(tree: SourceMap, value: Map, problems: Problems): void {
  for (const part of ['grid', 'zip'] as const) {
    for (const [name, axis] of Object.entries(objectOf(value[part]) as Record<string, AxisValues>)) {
      if (Array.isArray(axis)) continue;
      const path = [part, name, ...('log' in axis ? ['log'] : [])];
      const { from, to } = ('log' in axis ? axis.log : axis) as { readonly from: number; readonly to: number };
      const count = countOf(axis);
      if (from > to) {
        problems.add('E_VALUE', `${name} goes from ${from} down to ${to}: it has no values`, {
          at: spanAt(tree, [...path, 'from']),
          path,
          hint: `write from: ${to}, to: ${from}, or a list in the order you want`,
        });
      } else if (count > MAX_POINTS) {
        problems.add('E_VALUE', `${name} has ${count} values, more than the ${MAX_POINTS} points a sweep may have`, {
          at: spanAt(tree, [...path, 'to']),
          path,
          hint: 'a larger step, or a logarithmic range: { log: { from, to, points } }',
        });
      }
    }
  }
}

function checkZip(tree: SourceMap, value: Map, problems: Problems): void {
  const axes = Object.entries(objectOf(value['zip']) as Record<string, AxisValues>);
  const [first] = axes;
  if (first === undefined) return;
  const wanted = countOf(first[1]);
  for (const [name, axis] of axes) {
    const count = countOf(axis);
    if (count === wanted) continue;
    problems.add('E_VALUE', `axes of "zip" move together: ${first[0]} has ${wanted} values, ${name} has ${count}`, {
      at: keySpanAt(tree, ['zip', name]),
      path: ['zip', name],
      hint: 'give both as many values, or move one of them to "grid"',
    });
  }
}

/** A parameter is one axis; rules name axes that there are. */
function checkNames(tree: SourceMap, value: Map, problems: Problems): void {
  const [grid, zip] = [objectOf(value['grid']), objectOf(value['zip'])];
  const list = listOf(value['list']);
  const twice = (path: DocumentPath, name: string, where: string): void =>
    problems.add('E_VALUE', `${name} is an axis of "${where}" already`, {
      at: keySpanAt(tree, path),
      path,
      hint: 'a parameter is one axis: remove it here or there',
    });
  for (const name of Object.keys(zip)) if (Object.hasOwn(grid, name)) twice(['zip', name], name, 'grid');
  for (const [i, point] of list.entries()) {
    for (const name of Object.keys(point)) {
      if (Object.hasOwn(grid, name)) twice(['list', i, name], name, 'grid');
      if (Object.hasOwn(zip, name)) twice(['list', i, name], name, 'zip');
    }
  }
  const known = [...new Set([...Object.keys(grid), ...Object.keys(zip), ...list.flatMap(Object.keys)])];
  const rules: readonly (readonly [DocumentPath, Map])[] = [
    ...listOf(value['exclude']).map((rule, i) => [['exclude', i], rule] as const),
    [['parity', 'reference'], objectOf(objectOf(value['parity'])['reference'])],
  ];
  for (const [path, rule] of rules) {
    for (const name of Object.keys(rule)) {
      if (known.includes(name)) continue;
      problems.add('E_UNKNOWN_KEY', `${name} is no axis of this sweep, so no point has a value of it`, {
        at: keySpanAt(tree, [...path, name]),
        path: [...path, name],
        hint: didYouMean(name, known, 'axes'),
      });
    }
  }
}

/** What can be told of a parameter without the recipe: how its name is written, and that a device is named by text. */
function checkParameters(tree: SourceMap, value: Map, problems: Problems): void {
  for (const { name, path, values } of parametersOf(value)) {
    if (name.trim() === '' || name.includes('=')) {
      problems.add('E_VALUE', `"${name}" is no parameter of a recipe`, {
        at: keySpanAt(tree, path),
        path,
        hint: 'write it as --set does, its values beside it: "nodes.decode.with.batch_size: [1, 2]"',
      });
    }
    for (const at of name.startsWith('device.') ? values : []) {
      const node = findNode(tree, at)?.value;
      if (node?.kind === 'scalar' && typeof node.value === 'string') continue;
      problems.add('E_TYPE', `a value of ${name} must be text, not ${describeNode(node)}`, {
        at: spanAt(tree, at),
        path: at,
        hint: 'a device as --device takes it: cpu, or "ai100:0"',
      });
    }
  }
}

interface Parameter {
  readonly name: string;
  readonly path: DocumentPath;
  readonly values: readonly DocumentPath[];
}

function parametersOf(value: Map): readonly Parameter[] {
  const axes = (['grid', 'zip'] as const).flatMap((part) =>
    Object.entries(objectOf(value[part])).map(([name, axis]): Parameter => {
      const path = [part, name];
      return { name, path, values: Array.isArray(axis) ? axis.map((_, i) => [...path, i]) : [path] };
    }),
  );
  const list = listOf(value['list']).flatMap((point, i) =>
    Object.keys(point).map((name): Parameter => ({ name, path: ['list', i, name], values: [['list', i, name]] })),
  );
  return [...axes, ...list];
}

function isMap(value: unknown): value is Map {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function objectOf(value: unknown): Map {
  return isMap(value) ? value : {};
}

function listOf(value: unknown): readonly Map[] {
  return Array.isArray(value) ? value.map(objectOf) : [];
}
