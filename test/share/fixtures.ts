// Archives as others make them, for tests of what is refused.
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { TAR_END, tarHeader, tarPadding } from '../../src/share/tar.js';

export interface RawEntry {
  readonly name: string;
  readonly data: Uint8Array | string;
  /** In place of the header that belongs to name and size. */
  readonly header?: Uint8Array;
}

const bytesOf = (data: Uint8Array | string): Uint8Array => (typeof data === 'string' ? Buffer.from(data) : data);
export const sha256 = (data: Uint8Array | string): string => createHash('sha256').update(data).digest('hex');

export function rawTar(entries: readonly RawEntry[]): Buffer {
  return Buffer.concat([
    ...entries.flatMap(({ name, data, header }) => {
      const bytes = bytesOf(data);
      return [header ?? tarHeader(name, bytes.length), bytes, tarPadding(bytes.length)];
    }),
    TAR_END,
  ]);
}

/** A header with some bytes replaced and the checksum made right again. */
export function altered(header: Uint8Array, changes: Readonly<Record<number, string>>): Uint8Array {
  const out = Buffer.from(header);
  for (const [at, text] of Object.entries(changes)) out.write(text, Number(at), 'latin1');
  out.write('        ', 148, 'latin1');
  const sum = out.reduce((n, byte) => n + byte, 0);
  out.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return out;
}

export interface PackParts {
  readonly files?: Readonly<Record<string, Uint8Array | string>>;
  /** Changes to the manifest, made after it lists the files truly. */
  readonly manifest?: (manifest: Record<string, unknown>) => unknown;
  /** Changes to the entries, the manifest first among them. */
  readonly entries?: (entries: RawEntry[]) => readonly RawEntry[];
}

export const LOCK_TEXT = '{}';

/** A pack whose parts are true unless they are changed. */
export function packBytes({ files = {}, manifest = (m) => m, entries = (e) => e }: PackParts = {}): Buffer {
  const all: Record<string, Uint8Array | string> = {
    'recipe.lock.json': LOCK_TEXT,
    'recipe.yaml': 'version: 1\n',
    ...files,
  };
  const names = Object.keys(all).sort();
  const listed = Object.fromEntries(
    names.map((name) => [name, { bytes: bytesOf(all[name] ?? '').length, sha256: sha256(all[name] ?? '') }]),
  );
  const text = JSON.stringify(manifest({ format: 1, name: 'p', model: { included: true }, files: listed }));
  const list = [{ name: 'pack.json', data: text }, ...names.map((name) => ({ name, data: all[name] ?? '' }))];
  return gzipSync(rawTar(entries(list)));
}
