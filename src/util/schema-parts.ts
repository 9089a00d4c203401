/** Pieces of JSON Schema as the schemas of records are written: each with its description. */
export type Schema = Readonly<Record<string, unknown>>;

export const text = (description: string): Schema => ({ type: 'string', description });
export const count = (description: string): Schema => ({ type: 'integer', minimum: 0, description });
export const list = (items: Schema, description: string): Schema => ({ type: 'array', items, description });
export const map = (values: Schema, description: string): Schema => ({
  type: 'object',
  additionalProperties: values,
  description,
});

/** An object of these properties and no others; all but the optional ones are required. */
export const record = (
  description: string,
  properties: Readonly<Record<string, Schema>>,
  optional: readonly string[] = [],
): Schema => ({
  type: 'object',
  description,
  properties,
  required: Object.keys(properties).filter((key) => !optional.includes(key)),
  additionalProperties: false,
});
