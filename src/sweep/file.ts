/** A sweep file: read, checked, defaults filled in. */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Ajv } from 'ajv';
import { parseDocument } from 'yaml';
import { VlmError } from '../contracts/errors.js';
import { SWEEP_SCHEMA } from './schema.js';

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
  readonly parity: { readonly reference: Values } | null;
}

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
  readonly parity?: { readonly reference: Values };
}

const MAX_BYTES = 4 * 1024 * 1024;

/** Throws RECIPE_UNREADABLE and RECIPE_INVALID, all problems at once. */
export async function readSweep(path: string): Promise<Sweep> {
  const file = resolve(path);
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new VlmError('RECIPE_UNREADABLE', {
      what: 'The sweep cannot be read',
      where: path,
      cause,
      hint: 'paths start from the working directory; `vlm-run sweep --schema` prints what a sweep file may say',
    });
  });
  if (text.length > MAX_BYTES) {
    throw new VlmError('RECIPE_UNREADABLE', {
      what: 'The sweep file is too large',
      received: `${text.length} characters`,
      where: path,
    });
  }
  const document = parseDocument(text, { uniqueKeys: true });
  const problems = document.errors.map((error) => error.message);
  if (problems.length === 0) problems.push(...check(document.toJS({ maxAliasCount: 100 })));
  if (problems.length > 0) {
    throw new VlmError('RECIPE_INVALID', {
      what: problems.length === 1 ? 'The sweep has an error' : `The sweep has ${problems.length} errors`,
      received: problems.join('\n'),
      where: path,
      hint: '`vlm-run sweep --schema` prints what a sweep file may say',
    });
  }
  return withDefaults(file, document.toJS({ maxAliasCount: 100 }) as Written);
}

function check(value: unknown): string[] {
  const ajv = new Ajv({ allErrors: true, allowUnionTypes: true, strict: false });
  const validate = ajv.compile(SWEEP_SCHEMA);
  if (validate(value)) return [];
  return (validate.errors ?? []).map(({ instancePath, message, params }) => {
    const extra = 'additionalProperty' in params ? ` (${String(params['additionalProperty'])})` : '';
    return `${instancePath === '' ? 'the file' : instancePath.slice(1).replaceAll('/', '.')} ${message ?? 'is wrong'}${extra}`;
  });
}

function withDefaults(file: string, written: Written): Sweep {
  const folder = dirname(file);
  const defaults = Object.fromEntries(
    Object.entries(SWEEP_SCHEMA.properties.measure.properties).map(([name, schema]) => [name, schema.default]),
  ) as unknown as Measure;
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
    measure: { ...defaults, ...written.measure },
    parity: written.parity ?? null,
  };
}
