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

export function propertyNames(schema: JsonSchema): readonly string[] {
  return isObject(schema['properties']) ? Object.keys(schema['properties']) : [];
}
