/** A sweep file: read, checked, defaults filled in. Knows where each part was written. */
import { dirname, resolve } from 'node:path';
import { type SourceLocation, VlmError } from '../contracts/errors.js';
import type { Diagnostic } from '../contracts/recipe.js';
import { formatDiagnostics } from '../recipe/format.js';
import { parseYaml } from '../recipe/parse.js';
import { Problems } from '../recipe/problems.js';
import { readText } from '../recipe/read.js';
import { type DocumentPath, keySpanAt, locationOf, sourceFile, toValue } from '../recipe/source.js';
import { checkSweep } from './check.js';
import { SWEEP_SCHEMA } from './schema.js';
import type { ScoreSettings } from './score.js';

export type Values = Readonly<Record<string, unknown>>;

/** Values of an axis as written: a list, a range or a logarithmic range. */
export type AxisValues =
  | readonly unknown[]
  | { readonly from: number; readonly to: number; readonly step?: number }
  | { readonly log: { readonly from: number; readonly to: number; readonly points: number } };

export interface Measure {
  readonly warmup: number;
  readonly repeats: number;
  readonly threads: number;
  readonly in_flight: number;
  readonly timeout_s: number;
  readonly max_spread: number;
  readonly order: 'random' | 'file';
  readonly seed: number;
}

export interface Sweep {
  /** Absolute path. */
  readonly file: string;
  readonly name: string;
  readonly description: string;
  /** Absolute path of the recipe. */
  readonly recipe: string;
  readonly inputs: readonly Values[];
  readonly grid: Readonly<Record<string, AxisValues>>;
  readonly zip: Readonly<Record<string, AxisValues>>;
  readonly list: readonly Values[];
  readonly exclude: readonly Values[];
  readonly measure: Measure;
  readonly parity: { readonly reference: Values | null; readonly score: ScoreSettings | null };
  /** Where a part of the file was written. */
  readonly placeOf: (path: DocumentPath) => SourceLocation & { readonly endColumn: number };
}

const SCHEMA_HINT = '`vlm-run sweep --schema` prints what a sweep file may say';

interface Written {
  readonly name: string;
  readonly description?: string;
  readonly recipe: string;
  readonly inputs?: readonly Values[];
  readonly grid?: Readonly<Record<string, AxisValues>>;
  readonly zip?: Readonly<Record<string, AxisValues>>;
  readonly list?: readonly Values[];
  readonly exclude?: readonly Values[];
  readonly measure?: Partial<Measure>;
  readonly parity?: { readonly reference?: Values; readonly score?: Partial<ScoreSettings> & { dataset: string } };
}

/** A sweep, or all that is wrong with its file. */
export type CheckedSweep =
  | { readonly sweep: Sweep; readonly diagnostics: readonly Diagnostic[] }
  | { readonly sweep: null; readonly diagnostics: readonly Diagnostic[]; readonly error: VlmError };

/** Throws RECIPE_UNREADABLE and RECIPE_INVALID, all problems at once. */
export async function readSweep(path: string): Promise<Sweep> {
  const checked = await checkSweepFile(path);
  if (checked.sweep === null) throw checked.error;
  return checked.sweep;
}

/** Problems of the file are diagnostics, never exceptions. */
export async function checkSweepFile(path: string): Promise<CheckedSweep> {
  const file = resolve(path);
  const read = await readText(file, 'sweep');
  const source = sourceFile(path, dirname(file), (read.ok ? read.text : (read.text ?? '')).replace(/^\uFEFF/, ''));
  const problems = new Problems();
  if (!read.ok) {
    const end = source.text.length;
    problems.add(read.code, read.message, {
      at: { file: source, start: end, end },
      hint: read.hint ?? (read.code === 'E_READ' ? 'paths start from the working directory' : undefined),
    });
    return invalid('RECIPE_UNREADABLE', problems.all());
  }
  const tree = parseYaml(source, problems, 'sweep');
  if (tree !== null) checkSweep(tree, problems);
  if (tree === null || problems.hasErrors) return invalid('RECIPE_INVALID', problems.all());
  const placeOf: Sweep['placeOf'] = (at) => locationOf(keySpanAt(tree, at));
  return { sweep: { ...withDefaults(file, toValue(tree) as Written), placeOf }, diagnostics: problems.all() };
}

function invalid(code: 'RECIPE_INVALID' | 'RECIPE_UNREADABLE', diagnostics: readonly Diagnostic[]): CheckedSweep {
  const errors = diagnostics.filter(({ severity }) => severity === 'error');
  const [first] = errors;
  const error = new VlmError(code, {
    what: errors.length === 1 ? 'The sweep has an error' : `The sweep has ${errors.length} errors`,
    received: formatDiagnostics(errors, { color: false }).trimEnd(),
    ...(first?.location === undefined ? {} : { location: first.location }),
    hint: first?.hint ?? SCHEMA_HINT,
  });
  return { sweep: null, diagnostics, error };
}

function withDefaults(file: string, written: Written): Omit<Sweep, 'placeOf'> {
  const folder = dirname(file);
  const defaultsOf = (properties: Readonly<Record<string, object>>): Values =>
    Object.fromEntries(
      Object.entries(properties).flatMap(([name, schema]) => ('default' in schema ? [[name, schema.default]] : [])),
    );
  const { measure, parity } = SWEEP_SCHEMA.properties;
  const score = written.parity?.score;
  return {
    file,
    name: written.name,
    description: written.description ?? '',
    recipe: resolve(folder, written.recipe),
    inputs: written.inputs ?? [{}],
    grid: written.grid ?? {},
    zip: written.zip ?? {},
    list: written.list ?? [],
    exclude: written.exclude ?? [],
    measure: { ...(defaultsOf(measure.properties) as unknown as Measure), ...written.measure },
    parity: {
      reference: written.parity?.reference ?? null,
      score:
        score === undefined
          ? null
          : {
              ...(defaultsOf(parity.properties.score.properties) as unknown as ScoreSettings),
              ...score,
              dataset: resolve(folder, score.dataset),
            },
    },
  };
}
