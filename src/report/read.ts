/**
 * A store as a reader of results meets it: written by another version perhaps, by a sweep that still runs, or damaged.
 * A line that is no result is reported and left out; only a store without any identity or rows is refused.
 */
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { VlmError } from '../contracts/errors.js';
import { RESULTS } from '../dataset/store.js';
import type { PointStatus, Problem } from './types.js';

export const ABOUT = 'sweep.json';
const MAX_PROBLEMS = 50;
const MAX_LINE = 16 * 1024 * 1024;

export type Json = Readonly<Record<string, unknown>>;

export interface StoreRow {
  readonly id: string;
  readonly index: number;
  readonly status: PointStatus;
  readonly values: Json;
  readonly row: Json;
}

export interface ReadStore {
  readonly name: string;
  readonly about: Json;
  readonly rows: readonly StoreRow[];
  readonly problems: readonly Problem[];
}

/** `place`: the folder of a sweep's results, or a file in it. Throws INPUT_UNREADABLE. */
export async function readStore(place: string): Promise<ReadStore> {
  const folder = await folderOf(place);
  const name = basename(folder);
  const about = await readAbout(folder, place);
  const rows: StoreRow[] = [];
  const problems: Problem[] = [];
  let bad = 0;
  const tell = (line: number, what: string): void => {
    bad++;
    if (bad <= MAX_PROBLEMS) problems.push({ where: `${name}/${RESULTS}:${line}`, what });
  };
  for await (const { text, line, whole } of lines(join(folder, RESULTS))) {
    const row = text === null ? null : rowOf(text);
    if (row !== null) rows.push(row);
    else if (text === null) tell(line, `longer than ${MAX_LINE / 1024 / 1024} MB; left out`);
    else if (!whole) tell(line, 'the last line is torn: the sweep was killed, or still writes it');
    else if (text.trim() !== '') tell(line, `not a result of a sweep, left out: ${text.slice(0, 60)}`);
  }
  if (bad > MAX_PROBLEMS)
    problems.push({ where: `${name}/${RESULTS}`, what: `and ${bad - MAX_PROBLEMS} more such lines` });
  return { name, about, rows, problems };
}

async function folderOf(place: string): Promise<string> {
  const path = resolve(place);
  const found = await stat(path).catch((cause: unknown) => {
    throw new VlmError('INPUT_UNREADABLE', {
      what: 'There are no results of a sweep',
      expected: `a folder that \`vlm-run sweep --out\` wrote, with ${ABOUT} and ${RESULTS}`,
      where: place,
      hint: 'name the folder given to `vlm-run sweep --out`',
      cause,
    });
  });
  return found.isDirectory() ? path : dirname(path);
}

async function readAbout(folder: string, place: string): Promise<Json> {
  const text = await readFile(join(folder, ABOUT), 'utf8').catch((cause: unknown) => {
    throw new VlmError('INPUT_UNREADABLE', {
      what: 'The folder does not say of which sweep its results are',
      expected: `${ABOUT} beside ${RESULTS}`,
      where: place,
      hint: 'name the folder given to `vlm-run sweep --out`',
      cause,
    });
  });
  const about = parsed(text);
  if (about !== null && isObject(about['sweep']) && typeof about['sha256'] === 'string') return about;
  throw new VlmError('INPUT_UNREADABLE', {
    what: `${ABOUT} is not the description of a sweep`,
    received: text.slice(0, 60),
    where: join(place, ABOUT),
    hint: 'run the sweep again with --resume: it writes the file anew',
  });
}

/** Lines end with a newline and with nothing else: U+2028 may stand in a string. `text` is null where one is too long. */
async function* lines(
  path: string,
): AsyncGenerator<{ readonly text: string | null; readonly line: number; readonly whole: boolean }> {
  if ((await stat(path).catch(() => null)) === null) return;
  let parts: Buffer[] = [];
  let size = 0;
  let line = 0;
  const take = (): string | null => (size > MAX_LINE ? null : Buffer.concat(parts).toString('utf8'));
  const add = (bytes: Buffer): void => {
    size += bytes.length;
    if (size > MAX_LINE) parts = [];
    else if (bytes.length > 0) parts.push(bytes);
  };
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    let from = 0;
    for (let end = chunk.indexOf(10, from); end >= 0; end = chunk.indexOf(10, from)) {
      add(chunk.subarray(from, end));
      line++;
      yield { text: take(), line, whole: true };
      parts = [];
      size = 0;
      from = end + 1;
    }
    add(chunk.subarray(from));
  }
  if (size > 0) yield { text: take(), line: line + 1, whole: false };
}

function rowOf(text: string): StoreRow | null {
  const row = parsed(text);
  if (row === null) return null;
  const { id, index, status, values } = row;
  if (typeof id !== 'string' || typeof index !== 'number' || !Number.isInteger(index) || index < 0) return null;
  if (!isObject(values)) return null;
  if (status !== 'measured' && status !== 'failed' && status !== 'refused') return null;
  if (status === 'measured' && !isObject(row['figures'])) return null;
  return { id, index, status, values, row };
}

function parsed(text: string): Json | null {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
