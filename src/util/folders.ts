/**
 * Folders that are made with those above them, level by level. Node's own `recursive` never returns where a folder can
 * be neither found nor made (Node 20, below /proc): it goes up and down again for ever.
 */
import { mkdirSync, statSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Throws what the system says of the first folder that cannot be made. */
export async function makeFolders(folder: string): Promise<void> {
  try {
    await mkdir(folder);
  } catch (error) {
    if (codeOf(error) === 'ENOENT' && dirname(folder) !== folder) {
      await makeFolders(dirname(folder));
      await mkdir(folder).catch((again: unknown) => refuseUnless(isFolder(folder), again));
      return;
    }
    refuseUnless((await stat(folder).catch(() => undefined))?.isDirectory() === true, error);
  }
}

/** The same without waiting. */
export function makeFoldersSync(folder: string): void {
  try {
    mkdirSync(folder);
  } catch (error) {
    if (codeOf(error) === 'ENOENT' && dirname(folder) !== folder) {
      makeFoldersSync(dirname(folder));
      try {
        mkdirSync(folder);
      } catch (again) {
        refuseUnless(isFolder(folder), again);
      }
      return;
    }
    refuseUnless(isFolder(folder), error);
  }
}

/** A folder that is there already is as good as one that was made; on systems that may not be written to, too. */
function refuseUnless(isThere: boolean, error: unknown): void {
  if (!isThere) throw error;
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
