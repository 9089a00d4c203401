/** Files that are whole or not there: written beside their place, then renamed into it. */
import { randomBytes } from 'node:crypto';
import {
  accessSync,
  closeSync,
  constants,
  lstatSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFile,
  writeFileSync,
} from 'node:fs';
import { rename, rm, writeFile as writeStraight } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { VlmError } from '../contracts/errors.js';
import { makeFolders, makeFoldersSync } from './folders.js';

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

interface Place {
  readonly path: string;
  /** A device or a pipe: nothing may take its place, it is written into. */
  readonly stays: boolean;
}

/** Where the bytes go. A link stays a link: the file that it leads to is replaced. */
function placeOf(path: string): Place {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return { path, stays: false };
  if (stat.isDirectory()) {
    throw new VlmError('OUTPUT_UNWRITABLE', {
      what: 'A result cannot be written',
      expected: 'the name of a file',
      received: 'a folder',
      where: path,
      hint: 'add a file name',
    });
  }
  if (!stat.isFile()) return { path, stays: true };
  return { path: lstatSync(path).isSymbolicLink() ? realpathSync(path) : path, stays: false };
}

/** Creates the folder if need be. Throws OUTPUT_UNWRITABLE. */
export async function writeFileAtomic(path: string, data: string | Uint8Array): Promise<void> {
  let part: string | undefined;
  try {
    const place = placeOf(path);
    if (place.stays) {
      await writeStraight(place.path, data);
      return;
    }
    part = temporary(place.path);
    parts.add(part);
    await makeFolders(dirname(part));
    // Made here and now, so that whoever gives it up finds it; only its bytes are written in the background.
    const file = openSync(part, 'wx');
    try {
      await writeTo(file, data);
    } finally {
      closeSync(file);
    }
    await rename(part, place.path);
  } catch (error) {
    if (part !== undefined) await rm(part, { force: true }).catch(() => undefined);
    throw unwritable(path, error);
  } finally {
    if (part !== undefined) parts.delete(part);
  }
}

/**
 * The same without waiting: for the last moments of a process. What is still being written in the folder is given up: it
 * would be left there half, or take this file's place with something older.
 */
export function writeFileAtomicSync(path: string, data: string | Uint8Array): void {
  let part: string | undefined;
  try {
    const place = placeOf(path);
    giveUpWrites(dirname(place.path));
    if (place.stays) {
      writeFileSync(place.path, data);
      return;
    }
    part = temporary(place.path);
    makeFoldersSync(dirname(part));
    writeFileSync(part, data, { flag: 'wx' });
    renameSync(part, place.path);
  } catch (error) {
    if (part !== undefined) removeIfThere(part);
    throw unwritable(path, error);
  }
}

/** Newer Node throws where a parent is a file, `force` or not: then there is nothing to remove. */
function removeIfThere(part: string): void {
  try {
    rmSync(part, { force: true });
  } catch {
    // What matters is why it was to be removed.
  }
}

/** Before the process is ended by force: what is being written (in this folder, or anywhere) leaves nothing half. */
export function giveUpWrites(folder?: string): void {
  for (const part of parts) if (folder === undefined || dirname(part) === folder) removeIfThere(part);
}

/** Whether `writeFileAtomic` will find its place: asked before hours of work. Throws OUTPUT_UNWRITABLE. */
export async function checkWritable(path: string): Promise<void> {
  try {
    const place = placeOf(path);
    if (place.stays) {
      accessSync(place.path, constants.W_OK);
      return;
    }
    const part = temporary(place.path);
    await makeFolders(dirname(part));
    closeSync(openSync(part, 'wx'));
    rmSync(part);
  } catch (error) {
    throw unwritable(path, error);
  }
}
