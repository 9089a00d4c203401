/**
 * Items of a dataset, streamed: picture files (each one item), or the rows of JSONL and CSV files and of standard input,
 * whose keys are the recipe's inputs. Every item has an id that is the same at every reading of the same files.
 */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { dirname, extname, relative, resolve, sep } from 'node:path';
import { type ErrorData, VlmError } from '../contracts/errors.js';
import { linesOf, STDIN } from './lines.js';
import { filesOf } from './match.js';
import { type Row, tableRows } from './table.js';

/** What an item gives to the recipe's inputs: text, places (relative to `folder`), lists, conversations. */
export interface DatasetItem {
  readonly id: string;
  readonly given: Readonly<Record<string, unknown>>;
  /** Keys of the row that are no inputs: a label, a true answer. */
  readonly beside?: Readonly<Record<string, unknown>>;
  /** Folder that the places of `given` are relative to. */
  readonly folder: string;
  /** Digest of what it asks: the same wherever the dataset lies. */
  readonly asked: string;
  /** A row that could not be read: the item fails with it. */
  readonly error?: ErrorData;
}

export interface SourceOptions {
  /** Input that gets the picture, where an item is a picture file. */
  readonly imageInput: string | null;
  /** Names and types of the recipe's inputs. */
  readonly inputs: Readonly<Record<string, { readonly type: string }>>;
  readonly cwd: string;
  /** Ends the reading: of standard input and pipes too, which may have nothing to give for a long time. */
  readonly signal?: AbortSignal;
  /** A key of a row that is no input. */
  readonly onUnknownKey?: (key: string) => void;
}

const ROWS = /^\.(?:jsonl|ndjson|csv|tsv)$/i;

/**
 * Throws INPUT_UNREADABLE and USAGE for sources that name nothing or nothing of use: before anything runs, not when a
 * long list has come to its end.
 */
export async function checkSources(sources: readonly string[], options: SourceOptions): Promise<void> {
  for (const source of sources) {
    if (source === STDIN) continue;
    for await (const file of filesOf(resolve(options.cwd, source))) {
      await kindOf(file, options);
      break;
    }
  }
}

/** Whether a file's name says that it holds rows. */
export function namesRows(file: string): boolean {
  return ROWS.test(extname(file));
}

/** Whether all of it can be read again and again: files, no pipes. */
export async function areFiles(sources: readonly string[], cwd: string): Promise<boolean> {
  for (const source of sources) {
    const info = source === STDIN ? null : await stat(resolve(cwd, source)).catch(() => undefined);
    // What is not there by that name is a pattern, which matches files.
    if (info === null || (info !== undefined && !info.isFile() && !info.isDirectory())) return false;
  }
  return true;
}

/** Throws INPUT_UNREADABLE and USAGE; what is wrong with one row goes with its item. */
export async function* datasetItems(sources: readonly string[], options: SourceOptions): AsyncGenerator<DatasetItem> {
  const seen = new Map<string, number>();
  for (const source of sources) {
    if (source === STDIN) {
      for await (const item of itemsOf(STDIN, 'stdin', options)) yield unique(item, seen);
      continue;
    }
    for await (const file of filesOf(resolve(options.cwd, source))) {
      for await (const item of itemsOf(file, relativeName(file, options.cwd), options)) yield unique(item, seen);
    }
  }
}

/** The same id again becomes `id#2`, `id#3`: in the order of reading, so it is the same one at every reading. */
function unique(item: DatasetItem, seen: Map<string, number>): DatasetItem {
  const times = (seen.get(item.id) ?? 0) + 1;
  seen.set(item.id, times);
  return times === 1 ? item : unique({ ...item, id: `${item.id}#${times}` }, seen);
}

/** What a file is by its name; a pipe without one holds rows. */
async function kindOf(file: string, options: SourceOptions): Promise<'picture' | 'json' | ',' | '\t'> {
  const ending = extname(file).toLowerCase();
  if (ending === '.csv') return ',';
  if (ending === '.tsv') return '\t';
  if (ROWS.test(ending) || file === STDIN || !((await stat(file).catch(() => null))?.isFile() ?? true)) return 'json';
  if (ending === '.json') {
    throw new VlmError('INPUT_UNREADABLE', {
      what: 'A JSON document is no dataset',
      expected: 'JSONL: one object a line',
      where: file,
      hint: 'jq -c ".[]" list.json > list.jsonl writes a list in that form',
    });
  }
  if (options.imageInput === null) {
    throw new VlmError('USAGE', {
      what: 'A dataset of pictures needs an input of type image, and the recipe has none or several',
      received: relativeName(file, options.cwd),
      hint: 'name it with --dataset-input, or give a JSONL file whose keys are the inputs',
    });
  }
  return 'picture';
}

async function* itemsOf(file: string, name: string, options: SourceOptions): AsyncGenerator<DatasetItem> {
  const { imageInput, inputs, cwd, signal } = options;
  const kind = await kindOf(file, options);
  if (kind === 'picture') {
    yield { id: name, given: { [imageInput ?? '']: file }, folder: cwd, asked: askedOf(name) };
    return;
  }
  const known = { inputs: Object.keys(inputs), ...(signal === undefined ? {} : { signal }) };
  const rows = kind === 'json' ? jsonRows(file, signal) : tableRows(file, { delimiter: kind, ...known });
  const folder = file === STDIN ? cwd : dirname(file);
  for await (const { line, row, problem } of rows) {
    const fallback = `${name}:${line}`;
    if (problem !== undefined || row === undefined) yield broken(fallback, folder, problem ?? 'not a row', fallback);
    else yield itemOf(row, fallback, folder, options);
  }
}

function itemOf(
  row: Readonly<Record<string, unknown>>,
  fallback: string,
  folder: string,
  { inputs, onUnknownKey }: SourceOptions,
): DatasetItem {
  const { id: ownId, ...rest } = row;
  const idIsInput = Object.hasOwn(inputs, 'id');
  const given = idIsInput ? row : rest;
  const id = typeof ownId === 'string' || typeof ownId === 'number' ? String(ownId) : fallback;
  // Keys beside the inputs (a true answer, a label) are the user's own; they are no error.
  const known = Object.entries(given).filter(([key, value]) => Object.hasOwn(inputs, key) && value !== null);
  const beside = Object.fromEntries(Object.entries(given).filter(([key]) => !Object.hasOwn(inputs, key)));
  if (onUnknownKey !== undefined) for (const key in beside) onUnknownKey(key);
  if (known.length === 0) {
    const keys = Object.keys(given).join(', ');
    return broken(id, folder, `no key is an input of the recipe (${keys === '' ? 'an empty row' : keys})`, fallback);
  }
  const asked = Object.fromEntries(known);
  return { id, given: asked, beside, folder, asked: askedOf(asked) };
}

function broken(id: string, folder: string, problem: string, where: string): DatasetItem {
  const error = new VlmError('INPUT_UNREADABLE', {
    what: 'A row of the dataset cannot be used',
    expected: 'an object whose keys are inputs of the recipe',
    received: problem,
    where,
  });
  return { id, given: {}, folder, asked: askedOf(problem), error: error.toData() };
}

async function* jsonRows(file: string, signal?: AbortSignal): AsyncGenerator<Row> {
  for await (const { line, text, problem } of linesOf(file, signal)) {
    if (text === undefined) yield { line, problem: problem ?? 'no text' };
    else if (text.trim() !== '') yield { line, ...jsonRow(text) };
  }
}

function jsonRow(text: string): Omit<Row, 'line'> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      return { row: value as Readonly<Record<string, unknown>> };
    }
    return { problem: `${Array.isArray(value) ? 'a list' : typeof value} where an object was expected` };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}

function askedOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}

/** Ids name no folders of the machine: they are the same wherever the whole lies. */
function relativeName(file: string, cwd: string): string {
  return relative(cwd, file).replaceAll(sep, '/');
}
