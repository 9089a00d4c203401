/** What an editor must be able to say of every property of a schema. */
import * as assert from 'uvu/assert';
import type { JsonSchema } from '../../src/recipe/index.js';

const isObject = (value: unknown): value is JsonSchema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Values, and conditions that repeat names of properties which stand elsewhere. */
const NO_SCHEMAS = new Set(['examples', 'default', 'const', 'enum', 'if', 'then', 'else']);

/** Every property of the schema, wherever it stands, with its place; references are followed. */
export function schemaProperties(schema: JsonSchema): ReadonlyMap<string, JsonSchema> {
  const found = new Map<string, JsonSchema>();
  const walk = (node: unknown, path: string): void => {
    if (Array.isArray(node)) {
      for (const [i, item] of node.entries()) walk(item, `${path}[${i}]`);
    } else if (isObject(node)) {
      for (const [key, value] of Object.entries(node)) {
        const at = `${path}.${key}`;
        if (key === 'properties' && isObject(value)) {
          for (const [name, property] of Object.entries(value)) {
            assert.ok(isObject(property), `${at}.${name} is a schema`);
            found.set(`${at}.${name}`, resolved(property, schema));
            walk(property, `${at}.${name}`);
          }
        } else if (!NO_SCHEMAS.has(key)) walk(value, at);
      }
    }
  };
  walk(schema, '');
  return found;
}

function resolved(property: JsonSchema, { definitions }: JsonSchema): JsonSchema {
  const { $ref } = property;
  const target = isObject(definitions) ? definitions[String($ref).replace('#/definitions/', '')] : undefined;
  return isObject(target) ? target : property;
}

/**
 * What a property lacks: a description, an example, or what counts where it is left out. That is its default, or where
 * there can be none (the key is required, or the model or another key decides) a sentence of the description.
 */
export function lacks({ description, examples, default: value }: JsonSchema): readonly string[] {
  const text = typeof description === 'string' ? description : '';
  const said = /(^|[.] )(Required(\.|, unless \S.+\.| where \S.+\.)|Without it: \S.+\.)/.test(text);
  return [
    ...(text.trim() === '' ? ['description'] : []),
    ...(Array.isArray(examples) && examples.length > 0 ? [] : ['examples']),
    ...(value === undefined && !said ? ['default'] : []),
    ...(value !== undefined && said ? ['either a default or what counts without one'] : []),
  ];
}
