/**
 * Items of a dataset, streamed: picture files (each one item), or the rows of JSONL and CSV files, whose keys are the
 * recipe's inputs. Every item has an id that is the same at every reading of the same files.
 */
import { createReadStream } from 'node:fs';
import { dirname, extname, relative, resolve, sep } from 'node:path';
import { createInterface } from 'node:readline';
import { parse } from 'csv-parse';
import { type ErrorData, VlmError } from '../contracts/errors.js';
import { filesOf } from './match.js';

/** What an item gives to the recipe's inputs: text, places (relative to `folder`), lists, conversations. */
export interface DatasetItem {
  readonly id: string;
  readonly given: Readonly<Record<string, unknown>>;
  /** Folder that the places of `given` are relative to. */
  readonly folder: string;
  /** A row that could not be read: the item fails with it. */
  readonly error?: ErrorData;
}

export interface SourceOptions {
  /** Input that gets the picture, where an item is a picture file. */
  readonly imageInput: string | null;
  /** Names and types of the recipe's inputs. */
  readonly inputs: Readonly<Record<string, { readonly type: string }>>;
  readonly cwd: string;
}

const ROWS = /^\.(?:jsonl|ndjson|csv|tsv)$/i;
/** A row of a table longer than this is no row: a file of another kind. */
const MAX_ROW_CHARS = 16 * 1024 * 1024;

/** Throws INPUT_UNREADABLE and USAGE; what is wrong with one row goes with its item. */
export async function* datasetItems(sources: readonly string[], options: SourceOptions): AsyncGenerator<DatasetItem> {
  const seen = new Map<string, number>();
  for (const source of sources) {
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

async function* itemsOf(file: string, name: string, options: SourceOptions): AsyncGenerator<DatasetItem> {
  const kind = extname(file).toLowerCase();
  if (!ROWS.test(kind)) {
    if (options.imageInput === null) {
      throw new VlmError('USAGE', {
        what: 'A dataset of pictures needs an input of type image, and the recipe has none or several',
        received: name,
        hint: 'name it with --dataset-input, or give a JSONL file whose keys are the inputs',
      });
    }
    yield { id: name, given: { [options.imageInput]: file }, folder: options.cwd };
    return;
  }
  const rows = kind === '.csv' || kind === '.tsv' ? csvRows(file, kind === '.tsv' ? '\t' : ',') : jsonRows(file);
  const folder = dirname(file);
  for await (const { line, row, problem } of rows) {
    const fallback = `${name}:${line}`;
    if (problem !== undefined || row === undefined) yield broken(fallback, folder, problem ?? 'not a row', fallback);
    else yield itemOf(row, fallback, folder, options);
  }
}

interface Row {
  readonly line: number;
  readonly row?: Readonly<Record<string, unknown>>;
  readonly problem?: string;
}

function itemOf(
  row: Readonly<Record<string, unknown>>,
  fallback: string,
  folder: string,
  { inputs }: SourceOptions,
): DatasetItem {
  const { id: ownId, ...rest } = row;
  const idIsInput = inputs['id'] !== undefined;
  const given = idIsInput ? row : rest;
  const id = typeof ownId === 'string' || typeof ownId === 'number' ? String(ownId) : fallback;
  // Keys beside the inputs (a true answer, a label) are the user's own; they are no error.
  const known = Object.entries(given).filter(([key, value]) => inputs[key] !== undefined && value !== null);
  if (known.length === 0) {
    const keys = Object.keys(given).join(', ');
    return broken(id, folder, `no key is an input of the recipe (${keys === '' ? 'an empty row' : keys})`, fallback);
  }
  return { id, given: Object.fromEntries(known), folder };
}

function broken(id: string, folder: string, problem: string, where: string): DatasetItem {
  const error = new VlmError('INPUT_UNREADABLE', {
    what: 'A row of the dataset cannot be used',
    expected: 'an object whose keys are inputs of the recipe',
    received: problem,
    where,
  });
  return { id, given: {}, folder, error: error.toData() };
}

async function* jsonRows(file: string): AsyncGenerator<Row> {
  let line = 0;
  for await (const text of linesOf(file)) {
    line++;
    if (text.trim() === '') continue;
    yield { line, ...jsonRow(text) };
  }
}

function jsonRow(text: string): Omit<Row, 'line'> {
  if (text.length > MAX_ROW_CHARS) return { problem: `a row of ${text.length} characters` };
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

async function* linesOf(file: string): AsyncGenerator<string> {
  const stream = createReadStream(file);
  const failed = new Promise<never>((_, reject) => {
    stream.once('error', (cause) => {
      reject(new VlmError('INPUT_UNREADABLE', { what: 'A dataset cannot be read', where: file, cause }));
    });
  });
  failed.catch(() => undefined);
  const lines = createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })[Symbol.asyncIterator]();
  try {
    for (;;) {
      const step = await Promise.race([lines.next(), failed]);
      if (step.done === true) break;
      yield step.value.replace(/^\uFEFF/, '');
    }
  } finally {
    stream.destroy();
  }
}

/** Rows under a header line; empty cells are not given. */
async function* csvRows(file: string, delimiter: string): AsyncGenerator<Row> {
  const parser = createReadStream(file).pipe(
    parse({
      delimiter,
      columns: true,
      bom: true,
      skip_empty_lines: true,
      relax_column_count: true,
      info: true,
      max_record_size: MAX_ROW_CHARS,
    }),
  );
  try {
    for await (const { record, info } of parser as AsyncIterable<CsvRow>) {
      const cells = Object.entries(record).filter(([, value]) => value !== '');
      const wrong = info.error === undefined ? undefined : info.error.message;
      yield { line: info.lines, row: Object.fromEntries(cells), ...(wrong === undefined ? {} : { problem: wrong }) };
    }
  } catch (cause) {
    throw new VlmError('INPUT_UNREADABLE', {
      what: 'A dataset cannot be read',
      received: cause instanceof Error ? cause.message : String(cause),
      where: file,
      hint: 'a CSV file has a header line with the names of inputs, and quotes around cells with commas or newlines',
      cause,
    });
  }
}

interface CsvRow {
  readonly record: Readonly<Record<string, string>>;
  readonly info: { readonly lines: number; readonly error?: Error };
}

/** Ids name no folders of the machine: they are the same wherever the whole lies. */
function relativeName(file: string, cwd: string): string {
  return relative(cwd, file).replaceAll(sep, '/');
}
