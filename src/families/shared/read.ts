/** Reading of parsed configuration files: a value of the right type, or MODEL_INVALID that names file and key. */
import { VlmError } from '../../contracts/errors.js';

export type Json = Readonly<Record<string, unknown>>;

/** One parsed file (or a section of one) and its name, for messages. */
export interface Section {
  readonly file: string;
  readonly values: Json;
}

export function isRecord(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function wrong(section: Section, key: string, expected: string): VlmError {
  const value = section.values[key];
  return new VlmError('MODEL_INVALID', {
    what: `\`${key}\` of the model's configuration is ${value === undefined ? 'missing' : 'not usable'}`,
    expected,
    received: value === undefined ? 'nothing' : JSON.stringify(value).slice(0, 80),
    where: section.file,
    hint: 'fetch the file again from the model’s repository, or correct the value',
  });
}

/** A number; `fallback` stands for an absent or null key. */
export function readNumber(section: Section, key: string, fallback?: number): number {
  const value = section.values[key] ?? fallback;
  if (typeof value !== 'number' || !Number.isFinite(value)) throw wrong(section, key, 'a number');
  return value;
}

export function readCount(section: Section, key: string, fallback?: number): number {
  const value = readNumber(section, key, fallback);
  if (!Number.isInteger(value) || value < 1) throw wrong(section, key, 'a whole number from 1 on');
  return value;
}

export function readFlag(section: Section, key: string, fallback: boolean): boolean {
  const value = section.values[key] ?? fallback;
  if (typeof value !== 'boolean') throw wrong(section, key, 'true or false');
  return value;
}

export function readText(section: Section, key: string, fallback?: string): string {
  const value = section.values[key] ?? fallback;
  if (typeof value !== 'string') throw wrong(section, key, 'a string');
  return value;
}

/** A section inside a file; `{}` when absent and `optional`. */
export function readSection(section: Section, key: string, optional = false): Section {
  const value = section.values[key] ?? (optional ? {} : undefined);
  if (!isRecord(value)) throw wrong(section, key, 'an object');
  return { file: `${section.file} ${key}`, values: value };
}

/** Three numbers, one a channel; one number stands for all three. */
export function readChannels(section: Section, key: string, fallback: Channels): Channels {
  const value = section.values[key] ?? fallback;
  const list: readonly unknown[] = Array.isArray(value) ? value : [value, value, value];
  const [r, g, b] = list;
  if (list.length !== 3 || typeof r !== 'number' || typeof g !== 'number' || typeof b !== 'number') {
    throw wrong(section, key, 'three numbers, one a channel');
  }
  return [r, g, b];
}
export type Channels = readonly [number, number, number];

/** A side length: a number, or two equal ones ([448, 448]). */
export function readSide(section: Section, key: string): number {
  const value = section.values[key];
  if (Array.isArray(value)) {
    const [height, width]: readonly unknown[] = value;
    if (value.length === 2 && height === width) return readCount({ ...section, values: { [key]: height } }, key);
    throw wrong(section, key, 'a square');
  }
  return readCount(section, key);
}

/** One id or a list of ids -> a list; undefined when absent. */
export function readIds(section: Section | undefined, key: string): readonly number[] | undefined {
  const value = section?.values[key];
  if (value === undefined || value === null || section === undefined) return undefined;
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  const ids = list.filter((id): id is number => typeof id === 'number' && Number.isInteger(id) && id >= 0);
  if (ids.length !== list.length) throw wrong(section, key, 'a token id or a list of them');
  return ids;
}
