/** Structured output: JSON found in the text and validated against the recipe's schema. Failures are data. */

import { VlmError } from '../../contracts/errors.js';
import type { AnswerValue } from '../../contracts/ports.js';

export type StructuredReader = (text: string) => NonNullable<AnswerValue['json']>;

const FENCE = /```(?:json|JSON)?[ \t]*\r?\n?([\s\S]*?)```/g;

function parse(text: string): { readonly value: unknown } | null {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return null;
  }
}

/** End of the object or list that starts at `from`, or -1. Strings may hold brackets. */
function balancedEnd(text: string, from: number): number {
  let depth = 0;
  let quoted = false;
  for (let i = from; i < text.length; i += 1) {
    const c = text[i];
    if (quoted) {
      if (c === '\\') i += 1;
      else if (c === '"') quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === '{' || c === '[') depth += 1;
    else if (c === '}' || c === ']') {
      depth -= 1;
      if (depth === 0) return i + 1;
    }
  }
  return -1;
}

/** The JSON of a text: the whole of it, a fenced block, or the first object or list in it. null when there is none. */
export function findJson(text: string): { readonly value: unknown } | null {
  const whole = parse(text.trim());
  if (whole !== null) return whole;
  for (const [, block] of text.matchAll(FENCE)) {
    const fenced = parse((block ?? '').trim());
    if (fenced !== null) return fenced;
  }
  for (const { index } of text.matchAll(/[{[]/g)) {
    const end = balancedEnd(text, index);
    const found = end < 0 ? null : parse(text.slice(index, end));
    if (found !== null) return found;
  }
  return null;
}

/** Makes a reader for a JSON Schema (draft 2020-12, or draft-07 when `$schema` says so). Throws OPTION_INVALID. */
export async function structuredReader(schema: object | boolean): Promise<StructuredReader> {
  const declared = typeof schema === 'object' && '$schema' in schema ? String(schema.$schema) : '';
  const { Ajv } = await import('ajv');
  const { Ajv2020 } = await import('ajv/dist/2020.js');
  const { default: formats } = await import('ajv-formats');
  const Validator = declared.includes('draft-07') ? Ajv : Ajv2020;
  const ajv = new Validator({ allErrors: true, strict: false, logger: false });
  formats.default(ajv);
  let validate: ReturnType<typeof ajv.compile>;
  try {
    validate = ajv.compile(schema);
  } catch (error) {
    throw new VlmError('OPTION_INVALID', {
      what: 'The JSON Schema of the answer cannot be used',
      received: error instanceof Error ? error.message : String(error),
      where: 'with.schema',
      hint: 'correct the schema: draft 2020-12, or draft-07 with `$schema`',
      cause: error,
    });
  }
  return (text) => {
    const found = findJson(text);
    if (found === null) return { valid: false, errors: ['the text holds no JSON'] };
    if (validate(found.value)) return { valid: true, value: found.value };
    const errors = (validate.errors ?? []).map(
      (e) => `${e.instancePath === '' ? '/' : e.instancePath}: ${e.message ?? e.keyword}`,
    );
    return { valid: false, value: found.value, errors };
  };
}
