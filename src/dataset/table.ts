/** Rows of a CSV or TSV file under a header line that names inputs. */
import { pipeline } from 'node:stream';
import { CsvError, parse } from 'csv-parse';
import { VlmError } from '../contracts/errors.js';
import { MAX_ROW_BYTES, openRows, unreadable } from './lines.js';

export interface Row {
  readonly line: number;
  readonly row?: Readonly<Record<string, unknown>>;
  readonly problem?: string;
}

export interface TableOptions {
  readonly delimiter: string;
  /** Names of the recipe's inputs: a header with none of them is no header. */
  readonly inputs: readonly string[];
  readonly signal?: AbortSignal;
}

interface Parsed {
  readonly record: Readonly<Record<string, string>>;
  readonly info: { readonly lines: number; readonly error?: Error };
}

/** Where quoting goes wrong past mending: what follows in the file is not told from the cell. */
const LAST_ROW: ReadonlySet<string> = new Set(['CSV_QUOTE_NOT_CLOSED', 'CSV_MAX_RECORD_SIZE']);

/** Empty cells are not given. What is wrong with a row goes with it. Throws INPUT_UNREADABLE. */
export async function* tableRows(file: string, options: TableOptions): AsyncGenerator<Row> {
  const { delimiter, signal } = options;
  const parser = parse({
    delimiter,
    columns: (header: string[]) => columnsOf(header, file, options),
    bom: true,
    skip_empty_lines: true,
    relax_column_count: true,
    // A quote inside a cell that does not begin with one is a quote: 5" disk.
    relax_quotes: true,
    info: true,
    max_record_size: MAX_ROW_BYTES,
  });
  let line = 1;
  try {
    const source = await openRows(file, signal);
    pipeline(source, parser, () => undefined);
    for await (const { record, info } of parser as AsyncIterable<Parsed>) {
      line = info.lines;
      const cells = Object.entries(record).filter(([, value]) => value !== '');
      const wrong = info.error?.message;
      yield { line, row: Object.fromEntries(cells), ...(wrong === undefined ? {} : { problem: wrong }) };
    }
  } catch (cause) {
    if (signal?.aborted === true) return;
    if (cause instanceof VlmError) throw cause;
    if (!(cause instanceof CsvError) || !LAST_ROW.has(cause.code)) {
      throw unreadable(file, cause, 'a CSV file has a header line with the names of inputs');
    }
    yield { line: line + 1, problem: `${cause.message}; what comes after it in the file is part of the same cell` };
  } finally {
    parser.destroy();
  }
}

function columnsOf(header: readonly string[], file: string, { inputs, delimiter }: TableOptions): string[] {
  const names = header.map((name) => name.trim());
  const twice = names.find((name, i) => inputs.includes(name) && names.indexOf(name) !== i);
  if (twice === undefined && names.some((name) => inputs.includes(name))) return names;
  const between = delimiter === '\t' ? 'tabs' : `"${delimiter}"`;
  throw new VlmError('INPUT_UNREADABLE', {
    what: twice === undefined ? 'The first line of a table names no input of the recipe' : 'A column comes twice',
    expected: `a header with ${inputs.join(', ')} or some of them, and ${between} between its cells`,
    received: twice ?? names.join(delimiter).slice(0, 120),
    where: `${file}:1`,
  });
}
