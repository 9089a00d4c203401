/** Files that are whole or not there: written beside their place, then renamed into it. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { VlmError } from '../contracts/errors.js';

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
  try {
    await mkdir(dirname(path), { recursive: true });
    const file = await open(part, 'wx');
    try {
      await file.writeFile(data);
    } finally {
      await file.close();
    }
    await rename(part, path);
  } catch (error) {
    await rm(part, { force: true }).catch(() => undefined);
    throw unwritable(path, error);
  }
}

/** The same without waiting: for the last moments of a process. */
export function writeFileAtomicSync(path: string, data: string | Uint8Array): void {
  const part = temporary(path);
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(part, data, { flag: 'wx' });
    renameSync(part, path);
  } catch (error) {
    rmSync(part, { force: true });
    throw unwritable(path, error);
  }
}
