/** The version of a file's language. */
import type { Problems } from './problems.js';
import type { FileKind, SourceMap } from './source.js';

/** Another version is another language: nothing else can be said about such a file. */
export function checkVersion(tree: SourceMap, problems: Problems, what: FileKind): boolean {
  const entry = tree.entries.get('version');
  if (entry === undefined || entry.value.kind !== 'scalar') return true;
  const { value, span } = entry.value;
  const number = typeof value === 'string' && /^\d+(\.\d+)*$/.test(value) ? Number.parseFloat(value) : value;
  if (typeof number !== 'number' || number === 1) return true;
  problems.add('E_VERSION', `${what} version ${value} is not known`, {
    at: span,
    path: 'version',
    hint: number > 1 ? `this vlm-run reads version 1; a newer one may read this ${what}` : 'write "version: 1"',
  });
  return false;
}
