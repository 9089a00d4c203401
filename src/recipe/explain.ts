/** Words for schema errors: what was expected, what was found, and what to write instead. */
import type { SchemaError } from './checker.js';
import { nodeManifest, type Registry } from './registry.js';
import type { JsonSchema } from './schema.js';
import { type DocumentPath, findNode, pathText, type ScalarValue, type SourceMap, type SourceNode } from './source.js';
import { didYouMean, nearest } from './suggest.js';

export interface SchemaContext {
  readonly schema: JsonSchema;
  readonly registry: Registry;
}

const NOUNS: Readonly<Record<string, string>> = {
  integer: 'a whole number',
  number: 'a number',
  string: 'text',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map',
  null: 'nothing',
};

/** JSON has no word for these numbers of YAML, and would call them null. */
const notFinite = (value: number): string => (Number.isNaN(value) ? '.nan' : value > 0 ? '.inf' : '-.inf');

const quote = (value: unknown): string =>
  typeof value === 'number' && !Number.isFinite(value) ? notFinite(value) : (JSON.stringify(value) ?? 'nothing');

/** A value as one would write it in a YAML list. */
const inYaml = (value: unknown): string =>
  typeof value === 'string' && /^[A-Za-z][\w ./-]*$/.test(value) ? value : quote(value);

/** Which kind a path names: `nodes.x.kind`, `devices.x.kind`, or neither. */
export function isKind(path: DocumentPath): 'node' | 'device' | null {
  if (path.length !== 3 || path[2] !== 'kind') return null;
  return path[0] === 'nodes' ? 'node' : path[0] === 'devices' ? 'device' : null;
}

/** A number as it stands in the file: `1.10` is not 1.1 where text was meant. */
function asWritten({ span }: SourceNode, value: number): string {
  const text = span.file.text.slice(span.start, span.end).trim();
  return /^[-+.\w]+$/.test(text) ? text : quote(value);
}

export function describeNode(node: SourceNode | undefined): string {
  if (node === undefined) return 'nothing';
  if (node.kind === 'list') return 'a list';
  if (node.kind === 'map') return 'a map';
  const { value } = node;
  if (value === null) return 'nothing';
  const text = typeof value === 'number' ? asWritten(node, value) : quote(value);
  return typeof value === 'string' ? `the text ${text.length > 60 ? `${text.slice(0, 57)}…"` : text}` : text;
}

function expectedTypes(error: SchemaError): readonly string[] {
  const type = error.params['type'];
  const list = Array.isArray(type) ? type.map(String) : String(type).split(',');
  return list.length > 1 ? list.filter((t) => t !== 'null') : list;
}

export function typeText(path: DocumentPath, error: SchemaError, node: SourceNode | undefined): string {
  const nouns = expectedTypes(error).map((t) => NOUNS[t] ?? t);
  const what = path.length === 0 ? 'the recipe' : pathText(path);
  return `${what} must be ${nouns.join(' or ')}, not ${describeNode(node)}`;
}

export function typeHint(error: SchemaError, node: SourceNode | undefined, schema: JsonSchema): string | undefined {
  const types = expectedTypes(error);
  if (node === undefined) return undefined;
  if (node.kind !== 'scalar') {
    if (node.kind === 'list' && node.items.length === 1 && !types.includes('object')) return 'write the value alone';
    return undefined;
  }
  const { value } = node;
  const only = 'const' in schema ? `write ${inYaml(schema['const'])}` : undefined;
  if (value === null) {
    if (only !== undefined) return only;
    if (types.includes('object')) return 'write {} for an empty map, or remove the key';
    return types.includes('string') ? 'write "" for empty text, or remove the key' : 'remove the key';
  }
  if (types.includes('array')) return `write [${inYaml(value)}]`;
  if (typeof value === 'string') {
    const numeric = value.trim() !== '' && Number.isFinite(Number(value));
    if (numeric && (types.includes('number') || types.includes('integer'))) {
      const isKept = !/^[-+]?\d+$/.test(value.trim()) || Number.isSafeInteger(Number(value));
      return isKept
        ? `write ${Number(value)} without quotes`
        : `the largest whole number is ${Number.MAX_SAFE_INTEGER}`;
    }
    if (types.includes('integer') && /^\d{1,3}([_,]\d{3})+$/.test(value)) return `write ${value.replace(/[_,]/g, '')}`;
    if (types.includes('boolean') && /^(?:yes|on|true|1)$/i.test(value)) return 'write true';
    if (types.includes('boolean') && /^(?:no|off|false|0)$/i.test(value)) return 'write false';
    return only;
  }
  if (types.includes('string'))
    return `put it in quotes: "${typeof value === 'number' ? asWritten(node, value) : value}"`;
  if (typeof value === 'number' && Number.isFinite(value) && types.includes('integer'))
    return `write ${Math.round(value)}`;
  if (types.includes('boolean') && (value === 0 || value === 1)) return `write ${value === 1}`;
  return only;
}

interface ValueWords {
  readonly message: string;
  readonly hint?: string | undefined;
}

/** Errors of enum, const, limits, lengths, patterns and anything else. */
export function valueText(path: DocumentPath, error: SchemaError, schema: JsonSchema, value: ScalarValue): ValueWords {
  const what = pathText(path);
  const written = String(value);
  const { limit } = error.params;
  switch (error.keyword) {
    case 'enum': {
      const allowed = Array.isArray(error.params['allowedValues']) ? error.params['allowedValues'] : [];
      const near = nearest(written, allowed.map(String));
      return {
        message: `${what} must be one of ${allowed.map(quote).join(', ')}, not ${quote(value)}`,
        hint: near === undefined ? undefined : `did you mean "${near}"?`,
      };
    }
    case 'const':
      return { message: `${what} must be ${quote(error.params['allowedValue'])}, not ${quote(value)}` };
    case 'minimum':
    case 'maximum':
    case 'exclusiveMinimum':
    case 'exclusiveMaximum':
      return { message: `${what} must be ${limitWords(String(error.params['comparison']))} ${limit}, not ${written}` };
    case 'minLength':
      return { message: written === '' ? `${what} is empty` : `${what} is shorter than ${limit} characters` };
    case 'minItems':
    case 'minProperties':
      return { message: limit === 1 ? `${what} is empty` : `${what} must have at least ${limit} entries` };
    case 'maxItems':
    case 'maxProperties':
      return { message: `${what} must have at most ${limit} entries` };
    case 'pattern':
      return { message: `${what} cannot be "${written}"`, hint: exampleHint(schema) };
    default:
      return { message: `${what} ${error.message ?? 'is not valid'}`, hint: exampleHint(schema) };
  }
}

function limitWords(comparison: string): string {
  return { '>=': 'at least', '<=': 'at most', '>': 'more than', '<': 'less than' }[comparison] ?? comparison;
}

function exampleHint(schema: JsonSchema): string | undefined {
  const examples = schema['examples'];
  if (!Array.isArray(examples) || examples.length === 0) return undefined;
  return `for example ${examples.slice(0, 3).map(quote).join(' or ')}`;
}

/** Hint for an unknown key: a near one here, or the place where this key belongs. */
export function keyHint(
  key: string,
  parent: DocumentPath,
  known: readonly string[],
  tree: SourceMap,
  { registry }: SchemaContext,
): string | undefined {
  const near = nearest(key, known);
  if (near !== undefined) return `did you mean "${near}"?`;
  const kindNode = findNode(tree, [...parent.slice(0, 2), 'kind'])?.value;
  const kind = kindNode?.kind === 'scalar' ? String(kindNode.value) : '';
  if (parent[0] === 'nodes' && parent.length === 2) {
    const manifest = nodeManifest(registry, kind);
    if (manifest !== undefined && key in manifest.options) return `options of a node stand under "with:"`;
    if (manifest !== undefined && key in manifest.inputs) return `input ports of a node stand under "inputs:"`;
  }
  if (parent[0] === 'nodes' && parent[2] === 'with') {
    const owner = registry.nodes.find((m) => m.kind !== kind && Object.hasOwn(m.options, key));
    if (owner !== undefined) return `"${key}" is an option of ${owner.kind} nodes`;
    const device = registry.devices.find((m) => Object.hasOwn(m.options, key));
    if (device !== undefined) return `"${key}" is an option of ${device.kind} devices: write it under "devices:"`;
  }
  if (parent[0] === 'devices' && parent.length === 2) {
    const owner = registry.devices.find((m) => m.kind !== kind && Object.hasOwn(m.options, key));
    if (owner !== undefined) return `"${key}" is an option of ${owner.kind} devices, not of ${kind}`;
  }
  return didYouMean(key, known, 'keys');
}
