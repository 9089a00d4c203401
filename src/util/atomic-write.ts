/** Files that are whole or not there: written beside their place, then renamed into it. */
import { randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync, renameSync, rmSync, writeFile, writeFileSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { VlmError } from '../contracts/errors.js';

const writeTo = promisify(writeFile);
/** Files that are being written, and are not in their places yet. */
const parts = new Set<string>();

function temporary(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`);
}

function unwritable(path: string, cause: unknown): VlmError {
  return VlmError.wrap(cause, 'OUTPUT_UNWRITABLE', {
    what: 'A result cannot be written',
    received: cause instanceof Error ? cause.message : String(cause),
    where: path,
    hint: 'check that the folder exists, may be written to and has room',
  });
}

/** Creates the folder if need be. Throws OUTPUT_UNWRITABLE. */
export async function writeFileAtomic(path: string, data: string | Uint8Array): Promise<void> {
  const part = temporary(path);
  parts.add(part);
  try {
    await mkdir(dirname(path), { recursive: true });
    // Made here and now, so that whoever gives it up finds it; only its bytes are written in the background.
    const file = openSync(part, 'wx');
    try {
      await writeTo(file, data);
    } finally {
      closeSync(file);
    }
    await rename(part, path);
  } catch (error) {
    await rm(part, { force: true }).catch(() => undefined);
    throw unwritable(path, error);
  } finally {
    parts.delete(part);
  }
}

/**
 * The same without waiting: for the last moments of a process. What is still being written in the folder is given up: it
 * would be left there half, or take this file's place with something older.
 */
export function writeFileAtomicSync(path: string, data: string | Uint8Array): void {
  const part = temporary(path);
  try {
    for (const other of parts) if (dirname(other) === dirname(path)) rmSync(other, { force: true });
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(part, data, { flag: 'wx' });
    renameSync(part, path);
  } catch (error) {
    rmSync(part, { force: true });
    throw unwritable(path, error);
  }
}
