/** Phase 2: `extends: other.yaml`. The recipe and everything below it as one tree; positions keep their file. */
import { dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { mergeMaps } from './merge.js';
import { parseRecipe } from './parse.js';
import type { Problems } from './problems.js';
import type { ReadText } from './read.js';
import { type SourceEntry, type SourceFile, type SourceMap, sourceFile } from './source.js';
import { checkVersion } from './version.js';

export const MAX_EXTENDS = 8;

/** How a file that was reached from another one is shown: like the other one, relative or absolute. */
export function displayPath(from: SourceFile, absolute: string): string {
  if (isAbsolute(from.path)) return absolute;
  return join(dirname(from.path), relative(from.folder, absolute));
}

/**
 * Parses `file` and merges it over what it extends. Null when a file of the chain cannot be used.
 * `files` collects every text that was read.
 */
export async function loadChain(
  file: SourceFile,
  read: ReadText,
  problems: Problems,
  files: SourceFile[],
  chain: readonly { readonly absolute: string; readonly shown: string }[],
): Promise<SourceMap | null> {
  files.push(file);
  const tree = parseRecipe(file, problems);
  if (tree === null) return null;
  const known = checkVersion(tree, problems, 'recipe');
  const entry = tree.entries.get('extends');
  if (entry === undefined) return known ? tree : null;
  const base = await openBase(entry, file, read, problems, chain);
  if (base === null || !known) return null;
  const under = await loadChain(base, read, problems, files, [
    ...chain,
    { absolute: resolve(base.folder, base.path.split(/[\\/]/).pop() ?? ''), shown: base.path },
  ]);
  if (under === null) return null;
  const own = new Map(tree.entries);
  own.delete('extends');
  return mergeMaps(under, { ...tree, entries: own }, problems);
}

async function openBase(
  { key, value }: SourceEntry,
  file: SourceFile,
  read: ReadText,
  problems: Problems,
  chain: readonly { readonly absolute: string; readonly shown: string }[],
): Promise<SourceFile | null> {
  const path = 'extends';
  if (value.kind !== 'scalar' || typeof value.value !== 'string' || value.value.trim() === '') {
    problems.add('E_TYPE', '"extends" must be the path of another recipe', {
      at: value.kind === 'scalar' && value.span.end > value.span.start ? value.span : key,
      path,
      hint: 'write "extends: other.yaml"; one recipe extends one other',
    });
    return null;
  }
  const at = value.span;
  const absolute = resolve(file.folder, value.value);
  const start = chain.findIndex((link) => link.absolute === absolute);
  if (start !== -1) {
    const circle = [...chain.slice(start).map((link) => link.shown), displayPath(file, absolute)].join(' → ');
    problems.add('E_EXTENDS', `recipes extend each other in a circle: ${circle}`, { at, path });
    return null;
  }
  if (chain.length > MAX_EXTENDS) {
    problems.add('E_EXTENDS', `more than ${MAX_EXTENDS} recipes extend one another`, { at, path });
    return null;
  }
  const result = await read(absolute);
  const shown = displayPath(file, absolute);
  if (result.ok) return sourceFile(shown, dirname(absolute), result.text);
  if (result.text !== undefined) {
    // The trouble has a place in that file: where the readable part of it ends.
    const base = sourceFile(shown, dirname(absolute), result.text);
    const end = result.text.length;
    problems.add(result.code, result.message, { at: { file: base, start: end, end }, hint: result.hint });
    return null;
  }
  const isAddress = /^[a-z][a-z0-9+.-]*:\/\//i.test(value.value);
  problems.add('E_EXTENDS', `${isAddress ? value.value : shown} cannot be extended: ${result.message}`, {
    at,
    path,
    hint: isAddress ? 'give the path of a file: no recipe is fetched' : result.hint,
  });
  return null;
}
