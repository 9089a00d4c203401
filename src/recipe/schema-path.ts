/** Reading ajv's pointers: into the schema that was checked, and into the document. */
import type { JsonSchema } from './schema.js';
import type { DocumentPath } from './source.js';

const isObject = (value: unknown): value is JsonSchema => typeof value === 'object' && value !== null;

const unescapePart = (part: string): string => decodeURIComponent(part).replace(/~1/g, '/').replace(/~0/g, '~');

/** The subschema that holds the keyword at a `schemaPath` such as `#/definitions/node/properties/kind/type`. */
export function subschemaAt(schema: JsonSchema, schemaPath: string): JsonSchema {
  const parts = schemaPath.replace(/^#\/?/, '').split('/').slice(0, -1);
  let at: unknown = schema;
  for (const part of parts) {
    const next: unknown = isObject(at) ? at[unescapePart(part)] : undefined;
    if (next === undefined) return {};
    at = next;
  }
  return isObject(at) ? at : {};
}

/** `/nodes/decode/with/stop/0` -> ['nodes', 'decode', 'with', 'stop', '0']. */
export function instancePath(pointer: string): DocumentPath {
  if (pointer === '') return [];
  return pointer
    .slice(1)
    .split('/')
    .map((part) => part.replace(/~1/g, '/').replace(/~0/g, '~'));
}

/**
 * Names of the properties that a place of the document may have. The document's own path leads to them where it can:
 * inside of a definition that is compiled as a function of its own, ajv's `schemaPath` starts anew at `#`. Properties
 * that depend on the kind stand in definitions for which it does not.
 */
export function propertyNames(schema: JsonSchema, place: DocumentPath, schemaPath: string): readonly string[] {
  let at: unknown = schema;
  for (const step of place) {
    const { properties, additionalProperties }: JsonSchema = isObject(at) ? at : {};
    const named = isObject(properties) && Object.hasOwn(properties, step) ? properties[step] : additionalProperties;
    const reference = isObject(named) ? named['$ref'] : undefined;
    at = typeof reference === 'string' ? subschemaAt(schema, `${reference}/properties`) : named;
  }
  const own = isObject(at) && at['additionalProperties'] === false ? at['properties'] : undefined;
  const found = own ?? subschemaAt(schema, schemaPath)['properties'];
  return isObject(found) ? Object.keys(found) : [];
}
