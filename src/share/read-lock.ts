/** Reads and checks a lock file. */
import { readFileSync } from 'node:fs';
import { Ajv, type ValidateFunction } from 'ajv';
import { VlmError } from '../contracts/errors.js';
import type { Lock } from './format.js';
import { LOCK_SCHEMA } from './lock-schema.js';

let validator: ValidateFunction | undefined;
const MAX_BYTES = 64 * 1024 * 1024;

/** Throws LOCK_INVALID. */
export function readLock(path: string): Lock {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new VlmError('LOCK_INVALID', {
      what: 'There is no lock here',
      where: path,
      hint: 'make one with `vlm-run lock RECIPE`',
      cause,
    });
  }
  return parseLock(text, path);
}

export function parseLock(text: string, path: string): Lock {
  const fail = (received: string, hint = 'make it again with `vlm-run lock RECIPE`'): VlmError =>
    new VlmError('LOCK_INVALID', { what: 'This is not a lock that vlm-run can use', received, where: path, hint });
  if (text.length > MAX_BYTES) throw fail(`${text.length} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw fail(cause instanceof Error ? cause.message : String(cause));
  }
  const format: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, 'format') : undefined;
  if (typeof format === 'number' && format > 1) throw fail(`format ${format}`, 'a newer vlm-run reads it');
  validator ??= new Ajv({ allErrors: false, strict: false }).compile(LOCK_SCHEMA);
  const validate = validator;
  if (!validate(value)) {
    const [first] = validate.errors ?? [];
    throw fail(`${first?.instancePath || '/'} ${first?.message ?? 'is not valid'}`);
  }
  return value as unknown as Lock;
}
