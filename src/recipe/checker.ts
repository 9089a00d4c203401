/**
 * From a schema to a function that lists what is wrong with a value. The schema of the built-in kinds was compiled when
 * the schemas were generated (loading ajv and compiling takes longer than all of `validate` may); any other one is
 * compiled here.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { VlmError } from '../contracts/errors.js';
import { packageRoot } from '../util/package-root.js';
import type { JsonSchema } from './schema.js';

/** The part of ajv's error objects that is read. */
export interface SchemaError {
  readonly instancePath: string;
  readonly schemaPath: string;
  readonly keyword: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly message?: string;
  readonly propertyName?: string;
}
export type SchemaCheck = (value: unknown) => readonly SchemaError[];

interface Validator {
  (value: unknown): boolean;
  errors?: readonly SchemaError[] | null;
}

/** How ajv is set up, here and where the validator is generated. */
export const AJV_OPTIONS = {
  allErrors: true,
  strict: true,
  strictTypes: false,
  strictRequired: false,
  validateFormats: false,
} as const;

const GENERATED = 'schemas/recipe.validate.cjs';

export async function schemaCheck(
  schema: JsonSchema,
  options: { readonly generated?: boolean } = {},
): Promise<SchemaCheck> {
  const validator = (options.generated === false ? null : generatedFor(schema)) ?? (await compiled(schema));
  return (value) => (validator(value) ? [] : (validator.errors ?? []));
}

/** The generated validator when it was made from exactly this schema. */
export function generatedFor(schema: JsonSchema): Validator | null {
  const file = join(packageRoot(), GENERATED);
  if (!existsSync(file)) return null;
  const module: unknown = createRequire(import.meta.url)(file);
  if (typeof module !== 'object' || module === null) return null;
  const { madeFrom, validate } = module as { readonly madeFrom?: unknown; readonly validate?: unknown };
  if (typeof validate !== 'function' || madeFrom !== JSON.stringify(schema)) return null;
  return validate as Validator;
}

async function compiled(schema: JsonSchema): Promise<Validator> {
  const { Ajv } = await import('ajv');
  try {
    return new Ajv({ ...AJV_OPTIONS, validateSchema: false }).compile(schema) as unknown as Validator;
  } catch (error) {
    throw new VlmError('INTERNAL', { what: 'A schema made from manifests is not valid JSON Schema', cause: error });
  }
}
