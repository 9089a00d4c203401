/** Reads a recipe file without trusting it: a regular file of bounded size that holds UTF-8 text. */
// Not node:fs/promises: loading it takes longer than reading a recipe.
import { closeSync, constants, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import type { DiagnosticCode } from '../contracts/recipe.js';
import type { FileKind } from './source.js';
import { nearest } from './suggest.js';

export const MAX_RECIPE_BYTES = 1024 * 1024;

/** Why a file cannot be a recipe. `offset` points into `text` when the trouble has a place. */
export interface ReadFailure {
  readonly code: Extract<DiagnosticCode, 'E_READ' | 'E_SIZE' | 'E_ENCODING'>;
  readonly message: string;
  readonly hint?: string;
  /** The readable text up to the trouble, for the excerpt. */
  readonly text?: string;
}
export type ReadResult = { readonly ok: true; readonly text: string } | ({ readonly ok: false } & ReadFailure);

export type ReadText = (absolutePath: string) => Promise<ReadResult>;

const failure = (code: ReadFailure['code'], message: string, hint?: string, text?: string): ReadResult => ({
  ok: false,
  code,
  message,
  ...(hint === undefined ? {} : { hint }),
  ...(text === undefined ? {} : { text }),
});

export async function readText(path: string, what: FileKind = 'recipe'): Promise<ReadResult> {
  let file: number;
  try {
    // O_NONBLOCK: opening a named pipe that nobody writes to must not wait.
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    return openFailure(path, error);
  }
  try {
    const stat = fstatSync(file);
    if (stat.isDirectory()) {
      const recipes = recipesIn(path);
      return failure(
        'E_READ',
        `this is a folder, not a ${what} file`,
        recipes.length > 0 ? `it holds ${recipes.slice(0, 5).join(', ')}` : 'give the path of a .yaml file',
      );
    }
    if (!stat.isFile()) return failure('E_READ', 'this is not a regular file', 'give the path of a .yaml file');
    if (stat.size > MAX_RECIPE_BYTES) return tooLarge(stat.size, what);
    // The file may grow between stat and read: one byte more than allowed tells.
    const buffer = Buffer.allocUnsafe(MAX_RECIPE_BYTES + 1);
    let length = 0;
    for (;;) {
      const bytesRead = readSync(file, buffer, length, buffer.length - length, length);
      length += bytesRead;
      if (bytesRead === 0 || length === buffer.length) break;
    }
    return length > MAX_RECIPE_BYTES ? tooLarge(length, what) : decodeUtf8(buffer.subarray(0, length), what);
  } catch (error) {
    return failure('E_READ', `the file cannot be read (${errorCode(error)})`);
  } finally {
    closeSync(file);
  }
}

function tooLarge(bytes: number, what: FileKind): ReadResult {
  const mib = (bytes / 1024 / 1024).toFixed(1);
  return failure('E_SIZE', `the file is ${mib} MiB; a ${what} is at most 1 MiB of text`, `is this really a ${what}?`);
}

function openFailure(path: string, error: unknown): ReadResult {
  const code = errorCode(error);
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const near = nearest(basename(path), recipesIn(dirname(path)));
    return failure('E_READ', 'no such file', near === undefined ? undefined : `did you mean "${near}"?`);
  }
  const why = code === 'EACCES' || code === 'EPERM' ? 'permission denied' : code;
  return failure('E_READ', `the file cannot be opened (${why})`);
}

function errorCode(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : String(error);
}

function recipesIn(folder: string): string[] {
  try {
    const names = readdirSync(resolve(folder));
    return names.filter((n) => /\.ya?ml$/.test(n)).sort();
  } catch {
    return [];
  }
}

/** Strict UTF-8 without NUL; a byte order mark at the start is dropped. */
export function decodeUtf8(bytes: Uint8Array, what: FileKind = 'recipe'): ReadResult {
  const [a, b] = bytes;
  if ((a === 0xff && b === 0xfe) || (a === 0xfe && b === 0xff)) {
    return failure('E_ENCODING', `the file is UTF-16, a ${what} is UTF-8`, 'save it as UTF-8', '');
  }
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    const good = validPrefix(bytes);
    const byte = (bytes[good.bytes] ?? 0).toString(16).padStart(2, '0');
    return failure(
      'E_ENCODING',
      `byte 0x${byte} at offset ${good.bytes} is not UTF-8`,
      'save the file as UTF-8 (it may be Latin-1 or binary)',
      good.text,
    );
  }
  const nul = text.indexOf('\0');
  if (nul !== -1) {
    return failure('E_ENCODING', 'the file holds a NUL character: it is not text', undefined, text.slice(0, nul));
  }
  return { ok: true, text };
}

/** The longest start of `bytes` that is valid UTF-8. Validity of prefixes is not monotone inside a character: step back. */
function validPrefix(bytes: Uint8Array): { readonly bytes: number; readonly text: string } {
  const decodes = (length: number): string | null => {
    try {
      // `stream` accepts a character cut at the end, so this is monotone in `length`.
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(0, length), {
        stream: true,
      });
    } catch {
      return null;
    }
  };
  let low = 0;
  let high = bytes.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (decodes(middle) === null) high = middle - 1;
    else low = middle;
  }
  const text = decodes(low) ?? '';
  return { bytes: Buffer.byteLength(text), text: text.replace(/^\uFEFF/, '') };
}
