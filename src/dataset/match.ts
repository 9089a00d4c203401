/** Files that a path, a folder or a pattern names, one after the other, in a fixed order: sorted within each folder. */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, sep } from 'node:path';
import { VlmError } from '../contracts/errors.js';

/** File names that are taken as pictures when a whole folder is named. */
const PICTURE = /\.(?:jpe?g|png|webp|gif|tiff?)$/i;

/** `*` any characters but `/`, `?` one of them, `**` any folders, `{a,b}` one of several. */
export function isPattern(path: string): boolean {
  return /[*?]|\{[^{}]*,[^{}]*\}/.test(path);
}

/** The pattern of one path segment as a regular expression. Hidden files need a pattern that begins with a dot. */
export function segmentPattern(segment: string): RegExp {
  const body = segment
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*/g, '.*')
    .replace(/\?/g, '.')
    .replace(/\\\{([^{}]*,[^{}]*)\\\}/g, (_, words: string) => `(?:${words.replaceAll(',', '|')})`);
  return new RegExp(`^${segment.startsWith('.') ? '' : '(?!\\.)'}${body}$`);
}

/**
 * Yields paths of files. A path that names nothing throws INPUT_UNREADABLE; a pattern that matches nothing does too:
 * a dataset of no files is a typing mistake.
 */
export async function* filesOf(path: string): AsyncGenerator<string> {
  // A file may have a * or ? in its own name, and the shell gives such names as they are.
  const found = await stat(path).catch((cause: unknown) => {
    if (isPattern(path)) return null;
    throw unreadable(path, 'A dataset names a file that cannot be read', cause);
  });
  if (found !== null) {
    if (found.isDirectory()) yield* picturesIn(path);
    else yield path;
    return;
  }
  const segments = path.split(/[/\\]+/);
  const fixed = segments.findIndex(isPattern);
  const base = segments.slice(0, fixed).join(sep);
  let any = false;
  for await (const file of walk(base === '' && path.startsWith('/') ? '/' : base, segments.slice(fixed))) {
    any = true;
    yield file;
  }
  if (!any) throw unreadable(path, 'A pattern matches no file');
}

async function* picturesIn(folder: string): AsyncGenerator<string> {
  const names = (await entries(folder)).filter((entry) => !entry.isDirectory() && PICTURE.test(entry.name));
  if (names.length === 0) throw unreadable(folder, 'A folder holds no picture');
  for (const { name } of names) yield join(folder, name);
}

async function* walk(folder: string, segments: readonly string[]): AsyncGenerator<string> {
  const [segment = '', ...rest] = segments;
  if (segment === '**') {
    yield* walk(folder, rest);
    for (const entry of await entries(folder)) {
      // Links to folders are not followed: they may lead back up.
      if (entry.isDirectory() && !entry.name.startsWith('.')) yield* walk(join(folder, entry.name), segments);
    }
    return;
  }
  const pattern = segmentPattern(segment);
  for (const entry of await entries(folder)) {
    if (!pattern.test(entry.name)) continue;
    const path = join(folder, entry.name);
    if (rest.length > 0) {
      if (entry.isDirectory() || entry.isSymbolicLink()) yield* walk(path, rest);
    } else if (!entry.isDirectory()) yield path;
  }
}

async function entries(folder: string): Promise<readonly import('node:fs').Dirent[]> {
  const list = await readdir(folder === '' ? '.' : folder, { withFileTypes: true }).catch(() => []);
  return list.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function unreadable(path: string, what: string, cause?: unknown): VlmError {
  const folder = dirname(path);
  return new VlmError('INPUT_UNREADABLE', {
    what,
    where: path,
    hint: `look for ${basename(path)} in ${folder === '.' ? 'the current folder' : folder}`,
    ...(cause === undefined ? {} : { cause }),
  });
}
