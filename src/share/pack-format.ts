/** What a pack is: names, limits, and the list of its files that stands first in it. */
import { VlmError } from '../contracts/errors.js';

export const MANIFEST = 'pack.json';
export const RECIPE = 'recipe.yaml';
export const LOCK = 'recipe.lock.json';

/** Checked before anything is written. Packs are refused by the same numbers when they are made. */
export const LIMITS = {
  files: 4096,
  /** All files together. */
  bytes: 16 * 1024 ** 3,
  /** Unpacked size over the size of the archive; small ones may be denser. */
  ratio: 100,
  ratioFrom: 16 * 1024 ** 2,
  manifestBytes: 4 * 1024 ** 2,
  nameBytes: 255,
} as const;

export interface PackManifest {
  readonly format: 1;
  readonly name: string;
  /** The model's files, or where they are published. */
  readonly model:
    | { readonly included: true }
    | { readonly included: false; readonly hub: string; readonly revision: string; readonly commit: string | null };
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>;
}

function invalid(received: string, where?: string): VlmError {
  return new VlmError('PACK_INVALID', {
    what: 'This pack cannot be used',
    received,
    ...(where === undefined ? {} : { where: where.slice(0, 120) }),
    hint: 'make it again with `vlm-run pack RECIPE`; nothing of it was used',
  });
}

/**
 * A name that means the same file inside the pack's folder on every system, or why not. Backslashes, colons and names
 * that end in a dot or space mean something else on some; control characters steer terminals.
 */
export function nameTrouble(name: string): string | null {
  if (new TextEncoder().encode(name).length > LIMITS.nameBytes) return 'a name is too long';
  if (name.startsWith('/')) return 'a name is absolute';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  if (/[\u0000-\u001f\u007f-\u009f\\:*?"<>|\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/.test(name)) {
    return 'a name has characters that it may not have';
  }
  if (name.normalize('NFC') !== name) return 'a name is not in its normal form';
  for (const part of name.split('/')) {
    if (part === '..') return 'a name leads out of the pack';
    if (part === '' || part === '.') return 'a name has empty parts';
    if (/[. ]$/.test(part) || part.startsWith(' ')) return 'a name begins or ends in a way that some systems drop';
  }
  return null;
}

/** Throws PACK_INVALID for names that are unsafe, or that some file system takes for one another. */
export function checkNames(names: readonly string[]): void {
  if (names.length > LIMITS.files) throw invalid(`${names.length} files (at most ${LIMITS.files})`);
  const folded = new Map<string, string>();
  const folders = new Set<string>();
  for (const name of names) {
    const trouble = nameTrouble(name);
    if (trouble !== null) throw invalid(trouble, name);
    const key = name.toLowerCase();
    const other = folded.get(key);
    if (other === name) throw invalid('a name is there twice', name);
    if (other !== undefined) throw invalid('two names differ only in upper and lower case', `${other}, ${name}`);
    folded.set(key, name);
    for (let at = key.indexOf('/'); at > 0; at = key.indexOf('/', at + 1)) folders.add(key.slice(0, at));
  }
  for (const [key, name] of folded) if (folders.has(key)) throw invalid('a name is a file and a folder', name);
}

/** Throws PACK_INVALID. Everything that is used of a manifest is checked here. */
export function parseManifest(text: string): PackManifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalid(`${MANIFEST} is not JSON`);
  }
  if (!isMap(value) || typeof value['format'] !== 'number') throw invalid(`${MANIFEST} has no format`);
  if (value['format'] !== 1) throw invalid(`format ${value['format']}: a newer vlm-run may read it`);
  const { name, model, files } = value;
  if (typeof name !== 'string' || !isMap(files)) throw invalid(`${MANIFEST} names no recipe or no files`);
  const listed: [string, { bytes: number; sha256: string }][] = [];
  let total = 0;
  for (const [file, facts] of Object.entries(files)) {
    const { bytes, sha256 } = isMap(facts) ? facts : {};
    if (typeof bytes !== 'number' || !Number.isSafeInteger(bytes) || bytes < 0)
      throw invalid('a size is no size', file);
    if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256)) throw invalid('a digest is no digest', file);
    total += bytes;
    listed.push([file, { bytes, sha256 }]);
  }
  if (total > LIMITS.bytes) throw invalid(`${total} bytes (at most ${LIMITS.bytes})`);
  const names = listed.map(([file]) => file);
  checkNames(names);
  for (const needed of [RECIPE, LOCK]) if (!names.includes(needed)) throw invalid(`${needed} is not in it`);
  if (names.includes(MANIFEST)) throw invalid(`${MANIFEST} lists itself`);
  return { format: 1, name, model: modelOf(model), files: Object.fromEntries(listed) };
}

function modelOf(model: unknown): PackManifest['model'] {
  if (isMap(model) && model['included'] === true) return { included: true };
  if (!isMap(model) || typeof model['hub'] !== 'string' || typeof model['revision'] !== 'string') {
    throw invalid(`${MANIFEST} has neither a model nor the name of one`);
  }
  const { hub, revision, commit } = model;
  return { included: false, hub, revision, commit: typeof commit === 'string' ? commit : null };
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export { invalid as packInvalid };
