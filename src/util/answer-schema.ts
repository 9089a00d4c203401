/** A JSON Schema of the user's own: draft 2020-12, or draft-07 when `$schema` says so. */

export const SCHEMA_DRAFTS = 'draft 2020-12, or draft-07 with `$schema`';

/** What a value has wrong, in words; nothing when it is valid. */
export type ValueCheck = (value: unknown) => readonly string[];

export type CompiledSchema =
  | { readonly ok: true; readonly check: ValueCheck }
  /** `path`: where in the schema, as far as that is known. */
  | { readonly ok: false; readonly message: string; readonly path: readonly string[]; readonly cause?: unknown };

export async function compileSchema(schema: object | boolean): Promise<CompiledSchema> {
  const declared = typeof schema === 'object' && '$schema' in schema ? String(schema.$schema) : '';
  const { Ajv } = await import('ajv');
  const { Ajv2020 } = await import('ajv/dist/2020.js');
  const { default: formats } = await import('ajv-formats');
  const Validator = declared.includes('draft-07') ? Ajv : Ajv2020;
  const ajv = new Validator({ allErrors: true, strict: false, logger: false });
  formats.default(ajv);
  let validate: ReturnType<typeof ajv.compile>;
  try {
    if (ajv.validateSchema(schema) !== true) {
      // Of a union's branches the deepest one says what was meant.
      const [first, ...rest] = ajv.errors ?? [];
      const { instancePath = '', message = '' } =
        rest.reduce((a, b) => (depth(b.instancePath) > depth(a?.instancePath ?? '') ? b : a), first) ?? {};
      return { ok: false, message, path: instancePath.split('/').slice(1).map(unescaped) };
    }
    validate = ajv.compile(schema);
  } catch (error) {
    return { ok: false, message: error instanceof Error ? error.message : String(error), path: [], cause: error };
  }
  return {
    ok: true,
    check: (value) =>
      validate(value)
        ? []
        : (validate.errors ?? []).map(
            (e) => `${e.instancePath === '' ? '/' : e.instancePath}: ${e.message ?? e.keyword}`,
          ),
  };
}

const depth = (pointer: string): number => pointer.split('/').length;

/** A step of a JSON Pointer. */
const unescaped = (step: string): string => step.replaceAll('~1', '/').replaceAll('~0', '~');
