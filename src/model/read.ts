/** Files of a model folder: where they are, and what the JSON ones say. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type ErrorCode, VlmError } from '../contracts/errors.js';
import { asRecord } from '../text/json.js';

/** First of `names` in the first folder that has one of them. */
export function locate(folders: readonly string[], names: readonly string[]): string | null {
  for (const folder of folders) {
    for (const name of names) {
      const path = join(folder, name);
      if (statSync(path, { throwIfNoEntry: false })?.isFile() === true) return path;
    }
  }
  return null;
}

/** Reads and parses a JSON file. Throws `code`, naming the file and, for broken JSON, the place. */
export function readJson(path: string, code: ErrorCode): Readonly<Record<string, unknown>> {
  const text = readText(path, code);
  if (text.startsWith('version https://git-lfs.github.com/spec/')) {
    throw new VlmError(code, {
      what: 'The file is only a Git LFS pointer',
      where: path,
      hint: 'run `git lfs pull` in the model folder, or fetch the model with `vlm-run models pull`',
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new VlmError(code, {
      what: 'The file is not valid JSON',
      received: error instanceof Error ? error.message : String(error),
      where: path,
      hint: 'fetch the file again from the model’s repository',
      cause: error,
    });
  }
  const record = asRecord(value);
  if (record === undefined) {
    throw new VlmError(code, {
      what: 'The file does not hold a JSON object',
      where: path,
      hint: 'fetch the file again',
    });
  }
  return record;
}

export function readText(path: string, code: ErrorCode): string {
  try {
    return readFileSync(path, 'utf8').replace(/^\uFEFF/, '');
  } catch (error) {
    throw VlmError.wrap(error, code, {
      what: 'The file cannot be read',
      received: error instanceof Error ? error.message : String(error),
      where: path,
      hint: 'check that it exists and may be read',
    });
  }
}
