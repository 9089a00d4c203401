/**
 * Results of a dataset: results.jsonl (one line an item, in the order they finish) and dataset.json (whose results they
 * are). A line is written whole or not at all as far as a reader can tell: a torn last line, all that a kill or a full
 * disk can leave, is cut off when the store is opened again.
 */
import { createReadStream, readFileSync } from 'node:fs';
import { type FileHandle, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { VlmError } from '../contracts/errors.js';
import { writeFileAtomic } from '../util/atomic-write.js';
import { makeFolders } from '../util/folders.js';

export const RESULTS = 'results.jsonl';
const LOCK = '.vlm-run.lock';
const BEING_WRITTEN_MS = 5000;

/** What a store's rows come from; rows of another recipe are never mixed in. */
export interface StoreIdentity {
  readonly format: 1;
  readonly recipe: string;
  /** SHA-256 of the resolved recipe, the inputs given beside the dataset and the list of sources. */
  readonly sha256: string;
  readonly sources: readonly string[];
  readonly versions: Readonly<Record<string, string>>;
  /** Whatever else a reader of the results wants to know. */
  readonly [more: string]: unknown;
}

export interface ResultRow {
  readonly id: string;
  readonly ok: boolean;
  readonly [key: string]: unknown;
}

export class ResultStore {
  readonly path: string;
  /** Finished items, of an earlier run that ended early and then of this one: ids, and what was asked where that is known. */
  readonly done: Map<string, string | null>;
  readonly #folder: string;
  readonly #file: FileHandle;
  #size: number;
  #writing: Promise<void> = Promise.resolve();
  #failed: unknown;

  private constructor(folder: string, file: FileHandle, size: number, done: Map<string, string | null>) {
    this.#folder = folder;
    this.path = join(folder, RESULTS);
    this.#file = file;
    this.#size = size;
    this.done = done;
  }

  /**
   * `retry` is `resume` without the rows that failed: their items count as not done. Throws USAGE when the folder holds
   * results and `start` is to begin anew, or holds those of something else; OUTPUT_UNWRITABLE when another run writes
   * there or the folder cannot be written.
   */
  static async open(
    folder: string,
    identity: StoreIdentity,
    start: 'anew' | 'resume' | 'retry',
    about = 'dataset.json',
  ): Promise<ResultStore> {
    await makeFolders(folder).catch((cause: unknown) => {
      throw unwritable(folder, cause);
    });
    await takeLock(folder);
    try {
      const path = join(folder, RESULTS);
      const size = (await stat(path).catch(() => ({ size: 0 }))).size;
      if (size > 0 && start === 'anew') {
        throw new VlmError('USAGE', {
          what: 'The folder holds results already',
          where: path,
          hint: 'add --resume to go on with them, or name another folder',
        });
      }
      if (size > 0) await checkIdentity(folder, identity, about);
      if (size > 0 && start === 'retry') await dropFailed(path);
      const { done, whole } = await readDone(path);
      await writeFileAtomic(join(folder, about), `${JSON.stringify(identity, null, 2)}\n`);
      const file = await open(path, whole > 0 ? 'r+' : 'w').catch((cause: unknown) => {
        throw unwritable(path, cause);
      });
      await file.truncate(whole);
      return new ResultStore(folder, file, whole, done);
    } catch (error) {
      await rm(join(folder, LOCK), { force: true });
      throw error;
    }
  }

  /** Rows are written in the order given. A row that could not be written is taken back and the error thrown. */
  add(row: ResultRow): Promise<void> {
    const writing = this.#writing.then(() => this.#append(row));
    this.#writing = writing.catch(() => undefined);
    return writing;
  }

  async #append(row: ResultRow): Promise<void> {
    if (this.#failed !== undefined) throw unwritable(this.path, this.#failed);
    const bytes = new TextEncoder().encode(`${JSON.stringify(row)}\n`);
    try {
      let at = 0;
      while (at < bytes.length) {
        const { bytesWritten } = await this.#file.write(bytes, at, bytes.length - at, this.#size + at);
        at += bytesWritten;
      }
      this.#size += bytes.length;
      this.done.set(row.id, askedOf(row));
    } catch (error) {
      this.#failed = error;
      await this.#file.truncate(this.#size).catch(() => undefined);
      throw unwritable(this.path, error);
    }
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#file.sync().catch(() => undefined);
    await this.#file.close();
    await rm(join(this.#folder, LOCK), { force: true });
  }
}

/** Every whole row of a store, one after the other. */
export async function* rowsOf(folder: string): AsyncGenerator<ResultRow> {
  const path = join(folder, RESULTS);
  let line = 0;
  for await (const { text } of wholeLines(path)) {
    line++;
    yield rowOf(text, path, line);
  }
}

/** Finished ids, and how many bytes of the file are whole lines. */
async function readDone(path: string): Promise<{ readonly done: Map<string, string | null>; readonly whole: number }> {
  const done = new Map<string, string | null>();
  let whole = 0;
  let line = 0;
  if ((await stat(path).catch(() => null)) === null) return { done, whole };
  for await (const { text, bytes } of wholeLines(path)) {
    line++;
    const row = rowOf(text, path, line);
    done.set(row.id, askedOf(row));
    whole += bytes;
  }
  return { done, whole };
}

/** Leaves the rows that did not fail, in a new file that takes the place of the old one at once. */
async function dropFailed(path: string): Promise<void> {
  // Whoever holds the folder's lock is the only one here: what a killed run left of it is written over.
  const aside = join(dirname(path), `.${RESULTS}.retry.tmp`);
  try {
    const file = await open(aside, 'w');
    try {
      let line = 0;
      for await (const { text } of wholeLines(path)) {
        line++;
        if (rowOf(text, path, line).ok) await file.appendFile(`${text}\n`);
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(aside, path);
  } catch (error) {
    await rm(aside, { force: true });
    throw error instanceof VlmError ? error : unwritable(path, error);
  }
}

function askedOf({ asked }: ResultRow): string | null {
  return typeof asked === 'string' ? asked : null;
}

/** Lines that end with a newline, without it, and how many bytes each takes with it; a torn last one is left out. */
async function* wholeLines(path: string): AsyncGenerator<{ readonly text: string; readonly bytes: number }> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(path)) {
    const bytes = Buffer.concat([rest, chunk as Buffer]);
    let from = 0;
    for (let end = bytes.indexOf(10, from); end >= 0; end = bytes.indexOf(10, from)) {
      yield { text: bytes.toString('utf8', from, end), bytes: end + 1 - from };
      from = end + 1;
    }
    rest = bytes.subarray(from);
  }
}

function rowOf(text: string, path: string, line: number): ResultRow {
  try {
    const row: unknown = JSON.parse(text);
    if (typeof row === 'object' && row !== null && 'id' in row && typeof row.id === 'string') return row as ResultRow;
  } catch {
    // Told below.
  }
  throw new VlmError('INPUT_UNREADABLE', {
    what: 'A line of the results is not a result',
    received: text.slice(0, 60),
    where: `${path}:${line}`,
    hint: 'remove that line: its item runs again; or start anew in another folder',
  });
}

async function checkIdentity(folder: string, identity: StoreIdentity, about: string): Promise<void> {
  const path = join(folder, about);
  const text = await readFile(path, 'utf8').catch(() => null);
  if (text === null) {
    throw new VlmError('USAGE', {
      what: 'The results in this folder do not say what they are results of',
      where: path,
      hint: 'start anew in another folder',
    });
  }
  let sha256: unknown;
  try {
    ({ sha256 } = JSON.parse(text) as { sha256?: unknown });
  } catch {
    sha256 = undefined;
  }
  if (sha256 === identity.sha256) return;
  throw new VlmError('USAGE', {
    what: 'The results in this folder are those of another recipe, other inputs or another dataset',
    expected: `results of ${identity.recipe} as it is now`,
    where: path,
    hint: 'resume with the same recipe, options and dataset, or name another folder',
  });
}

/** A file with the owner's process. One that a killed process left is taken over. */
async function takeLock(folder: string): Promise<void> {
  const path = join(folder, LOCK);
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      const file = await open(path, 'wx');
      await file.writeFile(`${process.pid} ${startOf(process.pid)}`);
      await file.close();
      return;
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw unwritable(path, error);
    }
    const owner = await readFile(path, 'utf8').catch(() => null);
    if (owner === null) continue;
    if (await isHeld(path, owner)) throw inUse(folder, owner.split(' ')[0]);
    await removeStale(path, owner);
  }
  throw inUse(folder);
}

function inUse(folder: string, pid = ''): VlmError {
  return new VlmError('OUTPUT_UNWRITABLE', {
    what: 'Another run writes its results into this folder',
    ...(pid === '' ? {} : { received: `process ${pid}` }),
    where: folder,
    hint: `wait for it, or name another folder; when there is no such run, remove ${LOCK} there`,
  });
}

/** Process ids come again, in containers nearly every time: when the process began tells it from its namesakes. */
async function isHeld(path: string, owner: string): Promise<boolean> {
  const [pid = '', start = ''] = owner.split(' ');
  if (pid === '') return Date.now() - ((await stat(path).catch(() => null))?.mtimeMs ?? 0) < BEING_WRITTEN_MS;
  if (!isAlive(Number(pid))) return false;
  const now = startOf(Number(pid));
  return start === '' || now === '' || start === now;
}

/** Of two runs that find it stale at once, the slower one may take the lock of the faster: it gives it back. */
async function removeStale(path: string, owner: string): Promise<void> {
  const aside = `${path}.${process.pid}`;
  try {
    await rename(path, aside);
    if ((await readFile(aside, 'utf8')) !== owner) await rename(aside, path);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw unwritable(path, error);
  }
  await rm(aside, { force: true });
}

/** Clock ticks from the start of the system to that of the process; empty where there is no /proc. */
function startOf(pid: number): string {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name, in brackets, may hold anything; the 22nd field is the 20th after it.
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) === 'EPERM';
  }
}

function errorCode(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
}

function unwritable(path: string, cause: unknown): VlmError {
  return VlmError.wrap(cause, 'OUTPUT_UNWRITABLE', {
    what: 'Results cannot be written',
    received: cause instanceof Error ? cause.message : String(cause),
    where: path,
    hint: 'check that the folder may be written to and has room; --resume goes on from what is there',
  });
}
