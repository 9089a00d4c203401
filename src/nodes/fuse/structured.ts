/** Structured output: JSON found in the text and validated against the recipe's schema. Failures are data. */

import { VlmError } from '../../contracts/errors.js';
import type { AnswerValue } from '../../contracts/ports.js';
import { compileSchema, SCHEMA_DRAFTS } from '../../util/answer-schema.js';

export type StructuredReader = (text: string) => NonNullable<AnswerValue['json']>;

const FENCE = /```(?:json|JSON)?[ \t]*\r?\n?([\s\S]*?)```/g;

function parse(text: string): { readonly value: unknown } | null {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return null;
  }
}

/**
 * For each place of a text, where the bracket that is open there closes: the place behind it, 0 when none does. Read
 * from the end, so that every place is settled once however many brackets there are. Strings may hold brackets; a place
 * is taken to lie outside of a string.
 */
function closings(text: string): Int32Array {
  const closing = new Int32Array(text.length + 3);
  /** For each place taken to lie in a string: the place behind that string. */
  const behind = new Int32Array(text.length + 3);
  for (let i = text.length - 1; i >= 0; i -= 1) {
    const c = text[i];
    behind[i] = c === '"' ? i + 1 : (behind[c === '\\' ? i + 2 : i + 1] ?? 0);
    if (c === '}' || c === ']') closing[i] = i + 1;
    else {
      const next = c === '{' || c === '[' ? closing[i + 1] : c === '"' ? behind[i + 1] : i + 1;
      closing[i] = next === undefined || next === 0 ? 0 : (closing[next] ?? 0);
    }
  }
  return closing;
}

/** The first object or list inside words. */
function embedded(text: string): { readonly value: unknown } | null {
  const closing = closings(text);
  for (const { index } of text.matchAll(/[{[]/g)) {
    const end = closing[index + 1] ?? 0;
    const found = end === 0 ? null : parse(text.slice(index, end));
    if (found !== null) return found;
  }
  return null;
}

/** The JSON of a text: the whole of it, a fenced block, or the first object or list in it. null when there is none. */
export function findJson(text: string): { readonly value: unknown } | null {
  const whole = parse(text.trim());
  if (whole !== null) return whole;
  for (const [, block] of text.matchAll(FENCE)) {
    const fenced = parse((block ?? '').trim());
    if (fenced !== null) return fenced;
  }
  return embedded(text);
}

/** Makes a reader for a JSON Schema (draft 2020-12, or draft-07 when `$schema` says so). Throws OPTION_INVALID. */
export async function structuredReader(schema: object | boolean): Promise<StructuredReader> {
  const compiled = await compileSchema(schema);
  if (!compiled.ok) {
    throw new VlmError('OPTION_INVALID', {
      what: 'The JSON Schema of the answer cannot be used',
      received: compiled.path.length === 0 ? compiled.message : `/${compiled.path.join('/')}: ${compiled.message}`,
      where: 'with.schema',
      hint: `correct the schema: ${SCHEMA_DRAFTS}`,
      cause: compiled.cause,
    });
  }
  return (text) => {
    const found = findJson(text);
    if (found === null) return { valid: false, errors: ['the text holds no JSON'] };
    const errors = compiled.check(found.value);
    return errors.length === 0 ? { valid: true, value: found.value } : { valid: false, value: found.value, errors };
  };
}
