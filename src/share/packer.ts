/**
 * Writes the archive of a pack. The same files give the same bytes: sorted, without times and owners, under a fixed
 * gzip header. It appears under its name when it is whole, and not before; what a killed process left beside it is
 * removed by the next one.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, readdir, rename, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import { VlmError } from '../contracts/errors.js';
import { makeFolders } from '../util/folders.js';
import { checkNames, LIMITS, MANIFEST, type PackManifest } from './pack-format.js';
import { MAX_FILE_BYTES, TAR_END, tarHeader, tarPadding } from './tar.js';

/** Bytes, or a file of known size and digest. */
export type PackSource =
  | { readonly bytes: Uint8Array }
  | { readonly path: string; readonly size: number; readonly sha256: string };

export interface PackRequest {
  readonly path: string;
  readonly name: string;
  readonly model: PackManifest['model'];
  readonly files: ReadonlyMap<string, PackSource>;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
  /** Tests stand in for a full disk. */
  readonly openFile?: (path: string) => Promise<Pick<FileHandle, 'write' | 'sync' | 'close'>>;
}

export interface WrittenPack {
  readonly path: string;
  readonly sha256: string;
  readonly bytes: number;
  readonly unpackedBytes: number;
  readonly files: number;
}

/** Magic, deflate, no flags, no time, no hint of compressor or system. */
const GZIP_HEADER = Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255);
const LEVEL = 6;
const HOST = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);

/** Throws PACK_INVALID for what no pack may hold, OUTPUT_UNWRITABLE, CANCELLED. */
export async function writePack(request: PackRequest): Promise<WrittenPack> {
  const { manifest, total } = manifestOf(request);
  const folder = dirname(request.path);
  const part = join(folder, `.${basename(request.path)}.${HOST}-${process.pid}-${randomBytes(4).toString('hex')}.tmp`);
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    await makeFolders(folder);
    await removeStale(request.path);
    const file = await (request.openFile ?? ((path: string) => open(path, 'wx')))(part);
    try {
      for await (const chunk of gzipped(tarOf(request, manifest, total))) {
        if (request.signal?.aborted === true) throw new VlmError('CANCELLED', { what: 'Packing was stopped' });
        hash.update(chunk);
        bytes += chunk.length;
        await writeAll(file, chunk);
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(part, request.path);
  } catch (error) {
    await rm(part, { force: true }).catch(() => undefined);
    throw unwritable(request.path, error);
  }
  const unpackedBytes = total;
  return { path: request.path, sha256: hash.digest('hex'), bytes, unpackedBytes, files: request.files.size };
}

function unwritable(path: string, error: unknown): VlmError {
  const isFull = error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
  return VlmError.wrap(error, 'OUTPUT_UNWRITABLE', {
    what: isFull ? 'There is no room for the pack' : 'The pack cannot be written',
    received: error instanceof Error ? error.message : String(error),
    where: path,
    hint: isFull
      ? 'make room, or write it elsewhere with --out; nothing was left behind'
      : 'check that the folder exists and may be written to',
  });
}

async function writeAll(file: Pick<FileHandle, 'write'>, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length; ) {
    const { bytesWritten } = await file.write(chunk, at, chunk.length - at);
    at += bytesWritten;
  }
}

function sizeOf(source: PackSource): number {
  return 'bytes' in source ? source.bytes.length : source.size;
}

function manifestOf(request: PackRequest): { readonly manifest: Uint8Array; readonly total: number } {
  const { files, name, model } = request;
  const names = [...files.keys()];
  checkNames(names);
  const total = names.reduce((n, key) => n + sizeOf(files.get(key) ?? { bytes: new Uint8Array() }), 0);
  const large = [...files].find(([, source]) => sizeOf(source) > MAX_FILE_BYTES);
  if (total > LIMITS.bytes || large !== undefined) {
    throw new VlmError('PACK_INVALID', {
      what: 'This is too much for a pack',
      expected: `at most ${LIMITS.bytes} bytes in all and ${MAX_FILE_BYTES} in a file`,
      received: large === undefined ? `${total} bytes` : `${large[0]} has ${sizeOf(large[1])}`,
      hint: 'leave the model out: name it with model.hub in the recipe',
    });
  }
  const listed = sortedNames(names).map((key): [string, PackManifest['files'][string]] => {
    const source = files.get(key) ?? { bytes: new Uint8Array() };
    const sha256 = 'bytes' in source ? createHash('sha256').update(source.bytes).digest('hex') : source.sha256;
    return [key, { bytes: sizeOf(source), sha256 }];
  });
  const manifest: PackManifest = { format: 1, name, model, files: Object.fromEntries(listed) };
  return { manifest: new TextEncoder().encode(`${JSON.stringify(manifest, null, 2)}\n`), total };
}

/** By code units: the same order on every machine. */
export function sortedNames(names: Iterable<string>): readonly string[] {
  return [...names].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

async function* tarOf(request: PackRequest, manifest: Uint8Array, total: number): AsyncGenerator<Uint8Array> {
  let done = 0;
  yield tarHeader(MANIFEST, manifest.length);
  yield manifest;
  yield tarPadding(manifest.length);
  for (const name of sortedNames(request.files.keys())) {
    const source = request.files.get(name);
    if (source === undefined) continue;
    yield tarHeader(name, sizeOf(source));
    for await (const chunk of 'bytes' in source ? [source.bytes] : unchanged(source)) {
      done += chunk.length;
      request.onProgress?.(done, total);
      yield chunk;
    }
    yield tarPadding(sizeOf(source));
  }
  yield TAR_END;
}

/** The bytes of a file, which must still be those that the manifest lists. */
async function* unchanged(source: Extract<PackSource, { path: string }>): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of createReadStream(source.path, { highWaterMark: 1 << 20 })) {
    const bytes = chunk as Uint8Array;
    hash.update(bytes);
    size += bytes.length;
    if (size > source.size) break;
    yield bytes;
  }
  if (size === source.size && hash.digest('hex') === source.sha256) return;
  throw new VlmError('MODEL_INVALID', {
    what: 'A file changed while it was packed',
    where: source.path,
    hint: 'pack again when nothing writes to it',
  });
}

async function* gzipped(source: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  const input = Readable.from(source, { objectMode: false });
  const gzip = createGzip({ level: LEVEL });
  input.on('error', (error) => gzip.destroy(error));
  input.pipe(gzip);
  let at = 0;
  try {
    for await (const piece of gzip) {
      const chunk = new Uint8Array(piece as Uint8Array);
      for (let i = 0; at < GZIP_HEADER.length && i < chunk.length; i++, at++) chunk[i] = GZIP_HEADER[at] ?? 0;
      yield chunk;
    }
  } finally {
    input.destroy();
    gzip.destroy();
  }
}

/** What processes of this machine that are gone left while they wrote the same pack. */
async function removeStale(path: string): Promise<void> {
  const pattern = new RegExp(
    `^\\.${basename(path).replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}\\.(\\w{8})-(\\d+)-\\w{8}\\.tmp$`,
  );
  for (const name of await readdir(dirname(path))) {
    const [, host, pid] = pattern.exec(name) ?? [];
    if (host === HOST && pid !== undefined && !isAlive(Number(pid))) {
      await rm(join(dirname(path), name), { force: true });
    }
  }
}

export function isAlive(pid: number): boolean {
  if (pid === process.pid) return true;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
