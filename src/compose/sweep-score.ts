/** The score of a point: the dataset that a sweep names, asked once, its answers judged. */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { VlmError } from '../contracts/errors.js';
import type { Plan } from '../contracts/recipe.js';
import { areFiles, type DatasetItem, datasetItems, namesRows } from '../dataset/source.js';
import { type InputGiven, type LoadedInputs, loadInputs } from '../runner/inputs/load.js';
import { answeredOf, type Expected, expectedOf, type PointScore, type ScoreSettings, scoreOf } from '../sweep/score.js';
import { composedStream } from './run.js';

/** What a reader of the results needs to know of the dataset. */
export interface ScoredBy {
  readonly dataset: string;
  readonly sha256: string;
  readonly rows: number;
  readonly as: ScoreSettings['as'];
  readonly margin: number;
}

/** Reads every row once, before anything is measured. Throws INPUT_UNREADABLE for one that cannot be judged. */
export async function checkScore(plan: Plan, settings: ScoreSettings): Promise<ScoredBy> {
  // It is read again for every point.
  if (!(await areFiles([settings.dataset], '/'))) {
    throw new VlmError('USAGE', {
      what: 'The dataset of a score is no file',
      where: settings.dataset,
      hint: 'a JSONL or CSV file: it is read again for every point',
    });
  }
  // A JSON document is told with what makes rows of it, and a file that is not there as such.
  if (existsSync(settings.dataset) && !namesRows(settings.dataset) && !/\.json$/i.test(settings.dataset)) {
    throw new VlmError('USAGE', {
      what: 'The dataset of a score holds no rows',
      expected: 'a .jsonl or .csv file',
      where: settings.dataset,
      hint: `pictures alone do not say what is expected: a row has the inputs, and "${settings.expect}"`,
    });
  }
  let rows = 0;
  for await (const _ of scoredRows(plan, settings)) rows++;
  if (rows === 0) {
    throw new VlmError('INPUT_UNREADABLE', {
      what: 'The dataset of the score has no row',
      where: settings.dataset,
      hint: `one line of JSON a question: the inputs of the recipe, and "${settings.expect}"`,
    });
  }
  const hash = createHash('sha256');
  await pipeline(createReadStream(settings.dataset), hash);
  const { as, margin } = settings;
  return { dataset: basename(settings.dataset), sha256: hash.digest('hex'), rows, as, margin };
}

/** After the measuring, in a run of its own: neither its time nor its memory is that of the point. */
export async function scorePoint(plan: Plan, settings: ScoreSettings): Promise<PointScore> {
  const rows: number[] = [];
  const asked: { readonly row: number; readonly expected: Expected }[] = [];
  let [failed, first] = [0, ''];
  const fail = (row: number, error: { readonly code: string; readonly what: string }): void => {
    rows[row] = 0;
    failed++;
    first ||= `${error.code}: ${error.what}`;
  };
  const items = async function* (): AsyncGenerator<LoadedInputs> {
    let row = 0;
    for await (const { item, expected } of scoredRows(plan, settings)) {
      const at = row++;
      const given = item.given as Readonly<Record<string, InputGiven>>;
      const loaded = await loadInputs(plan, given, { cwd: item.folder }).catch((error: unknown) =>
        VlmError.wrap(error, 'INTERNAL', { what: 'A row of the dataset could not be read' }),
      );
      if (loaded instanceof VlmError) {
        fail(at, loaded.toData());
        continue;
      }
      asked.push({ row: at, expected });
      yield loaded;
    }
  };
  const result = await composedStream(plan, {
    items: items(),
    lock: false,
    onItem: ({ index, error, text, outputs }) => {
      const question = asked[index];
      if (question === undefined) return;
      if (error !== undefined) fail(question.row, error);
      else rows[question.row] = rounded(scoreOf(question.expected, answeredOf(text, outputs), settings.as));
    },
  });
  if (result.error !== undefined) throw VlmError.fromData(result.error);
  const sum = rows.reduce((total, one) => total + one, 0);
  return { value: rounded(sum / rows.length), rows, failed, ...(first === '' ? {} : { error: first }) };
}

/** The rows whose inputs can be loaded. */
export async function* readableRows(
  plan: Plan,
  settings: ScoreSettings,
): AsyncGenerator<{ readonly id: string; readonly inputs: LoadedInputs }> {
  for await (const { item } of scoredRows(plan, settings)) {
    const given = item.given as Readonly<Record<string, InputGiven>>;
    const inputs = await loadInputs(plan, given, { cwd: item.folder }).catch(() => null);
    if (inputs !== null) yield { id: item.id, inputs };
  }
}

async function* scoredRows(
  plan: Plan,
  settings: ScoreSettings,
): AsyncGenerator<{ readonly item: DatasetItem; readonly expected: Expected }> {
  const { dataset, expect } = settings;
  if (Object.hasOwn(plan.inputs, expect)) {
    throw new VlmError('RECIPE_INVALID', {
      what: `"${expect}" is an input of the recipe, and cannot say what is expected`,
      where: 'parity.score.expect',
      hint: 'name another key of the rows with "expect:"',
    });
  }
  for await (const item of datasetItems([dataset], { imageInput: null, inputs: plan.inputs, cwd: dirname(dataset) })) {
    if (item.error !== undefined) throw VlmError.fromData(item.error);
    const expected = expectedOf(item.beside?.[expect]);
    if (expected !== null) yield { item, expected };
    else {
      throw new VlmError('INPUT_UNREADABLE', {
        what: 'A row of the dataset does not say what is expected',
        expected: `"${expect}": a text, a box [x1, y1, x2, y2] or a list of boxes`,
        received: `keys ${[...Object.keys(item.given), ...Object.keys(item.beside ?? {})].join(', ')}`,
        where: `${basename(dataset)}, row ${item.id}`,
        hint: 'parity.score.expect names the key',
      });
    }
  }
}

/** Six digits are more than any dataset can tell, and keep a row short. */
function rounded(score: number): number {
  return Math.round(score * 1e6) / 1e6;
}
