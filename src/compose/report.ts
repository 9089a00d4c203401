/** A report of a sweep's results: stores in, one text out. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { VlmError } from '../contracts/errors.js';
import type { ViewWanted } from '../report/axes.js';
import { csvOf } from '../report/csv.js';
import { htmlOf, type PageAssets } from '../report/html.js';
import { markdownOf } from '../report/markdown.js';
import { reportOf } from '../report/model.js';
import { readStore } from '../report/read.js';
import type { ReportModel } from '../report/types.js';
import { packageRoot } from '../util/package-root.js';
import { versions } from './run.js';

export const REPORT_FORMATS = ['html', 'md', 'csv'] as const;
export type ReportFormat = (typeof REPORT_FORMATS)[number];

export interface ReportRequest {
  readonly stores: readonly string[];
  readonly format: ReportFormat;
  readonly view?: ViewWanted;
}

export async function makeReport({
  stores,
  format,
  view,
}: ReportRequest): Promise<{ readonly model: ReportModel; readonly text: string }> {
  // One after the other: their number is the user's, and so is the memory.
  const read = [];
  for (const store of stores) read.push(await readStore(store));
  const model = reportOf(read, versions()['vlm-run'] ?? 'unknown', view);
  if (format === 'csv') return { model, text: csvOf(model) };
  if (format === 'md') return { model, text: markdownOf(model) };
  return { model, text: htmlOf(model, await pageAssets()) };
}

/** The plots' library and the page's own script and style, as they are inlined. */
async function pageAssets(): Promise<PageAssets> {
  const own = (name: string): Promise<string> => read(join(packageRoot(), 'assets', name));
  return {
    style: await own('report.css'),
    scripts: [
      await read(await browserBuild('d3')),
      await read(await browserBuild('@observablehq/plot')),
      await own('report.js'),
    ],
  };
}

/** Where a package keeps its standalone build, which no import of Node finds: it is exported for browsers as `umd`. */
async function browserBuild(name: string): Promise<string> {
  let folder: string;
  try {
    folder = dirname(createRequire(import.meta.url).resolve(name));
  } catch (cause) {
    throw broken(name, cause);
  }
  for (; dirname(folder) !== folder; folder = dirname(folder)) {
    const text = await readFile(join(folder, 'package.json'), 'utf8').catch(() => null);
    if (text === null) continue;
    const about = JSON.parse(text) as { readonly name?: string; readonly exports?: { readonly umd?: string } };
    if (about.name === name && about.exports?.umd !== undefined) return join(folder, about.exports.umd);
  }
  throw broken(name, undefined);
}

function read(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((cause: unknown) => {
    throw broken(path, cause);
  });
}

function broken(what: string, cause: unknown): VlmError {
  return new VlmError('INTERNAL', {
    what: 'A part of the report page is missing from the installation',
    where: what,
    hint: 'reinstall vlm-run',
    cause,
  });
}
