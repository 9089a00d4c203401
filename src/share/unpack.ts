/**
 * Opens a pack. The archive is read twice: first without writing anything, to see that every name, size and digest is
 * as its manifest says and that all of it stays within the limits; then into a draft folder of the cache, which gets
 * its name, the digest of the archive, when the last file is written and found right. A folder that is there already
 * is checked against its manifest before it is used.
 */
import { createHash, type Hash, randomBytes } from 'node:crypto';
import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { createGunzip } from 'node:zlib';
import { VlmError } from '../contracts/errors.js';
import { cacheFolder } from '../devices/ai100/compile/cache.js';
import { rememberedDigest } from '../devices/ai100/compile/digests.js';
import { makeFolders } from '../util/folders.js';
import { LIMITS, MANIFEST, type PackManifest, packInvalid, parseManifest, RECIPE } from './pack-format.js';
import { isAlive, sortedNames } from './packer.js';
import { type TarVisitor, walkTar } from './tar.js';

export interface OpenedPack {
  readonly folder: string;
  readonly recipe: string;
  readonly manifest: PackManifest;
  readonly sha256: string;
}

export interface UnpackOptions {
  readonly cache?: string;
  /** Tests stand in for a full disk. */
  readonly openFile?: (path: string) => Promise<Pick<FileHandle, 'write' | 'close'>>;
}

const HOST = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);
const DRAFT = /^\.draft-[0-9a-f]{40}-(\w{8})-(\d+)-\w{8}$/;

/** Throws PACK_INVALID, and OUTPUT_UNWRITABLE when the cache cannot take it. */
export async function openPack(file: string, options: UnpackOptions = {}): Promise<OpenedPack> {
  const path = resolve(file);
  const cache = options.cache ?? cacheFolder();
  const info = await stat(path).catch(() => null);
  if (info === null || !info.isFile()) {
    throw new VlmError('PACK_INVALID', { what: 'There is no pack here', where: path, hint: 'check the path' });
  }
  const sha256 = await rememberedDigest(path, cache).catch((cause: unknown) => {
    throw new VlmError('PACK_INVALID', {
      what: 'The pack cannot be read',
      where: path,
      hint: 'check that you may',
      cause,
    });
  });
  const folder = join(cache, 'packs', sha256.slice(0, 40));
  const ready = await readyPack(folder, cache, path, info.size);
  if (ready !== null) return opened(folder, ready, sha256);
  const manifest = await inspect(path, info.size, sha256);
  await extract(path, info.size, folder, manifest, options);
  return opened(folder, manifest, sha256);
}

function opened(folder: string, manifest: PackManifest, sha256: string): OpenedPack {
  return { folder, recipe: join(folder, RECIPE), manifest, sha256 };
}

/** The manifest of a folder that is whole and holds nothing else; any other folder is removed. */
async function readyPack(folder: string, cache: string, path: string, size: number): Promise<PackManifest | null> {
  if (!existsSync(folder)) return null;
  try {
    const text = readFileSync(join(folder, MANIFEST));
    // Whoever changed a file could have changed the list of digests too: the archive has the last word.
    if (!text.equals(await firstFile(path, size))) throw damaged(MANIFEST);
    const manifest = parseManifest(text.toString('utf8'));
    for (const [name, { bytes, sha256 }] of Object.entries(manifest.files)) {
      const file = join(folder, name);
      if ((await stat(file)).size !== bytes || (await rememberedDigest(file, cache)) !== sha256) throw damaged(name);
    }
    // A file more may be read by a model folder that looks for it.
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
      const name = relative(folder, join(entry.parentPath, entry.name)).split(sep).join('/');
      const isListed = name === MANIFEST || Object.hasOwn(manifest.files, name);
      if (entry.isFile() ? !isListed : !entry.isDirectory()) throw damaged(name);
    }
    return manifest;
  } catch {
    await rm(folder, { recursive: true, force: true }).catch((error: unknown) => {
      throw unwritable(error, folder);
    });
    return null;
  }
}

/** The bytes of the manifest, with no more of the archive read than it takes. */
async function firstFile(path: string, size: number): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  const seen = new VlmError('CANCELLED', { what: 'The manifest was read' });
  const visitor: TarVisitor = {
    begin: (_, bytes) => {
      if (bytes > LIMITS.manifestBytes) throw packInvalid(`${MANIFEST} has ${bytes} bytes`);
    },
    data: (chunk) => void parts.push(chunk.slice()),
    end: () => {
      throw seen;
    },
  };
  await read(path, size, visitor).catch((error: unknown) => {
    if (error !== seen) throw error;
  });
  return Buffer.concat(parts);
}

function damaged(name: string): VlmError {
  return packInvalid('a file has other content than the manifest says', name);
}

/** First reading: nothing is written. */
async function inspect(path: string, size: number, sha256: string): Promise<PackManifest> {
  const visitor = new Inspection();
  const whole = await read(path, size, visitor);
  if (whole !== sha256) throw packInvalid('it changed while it was read');
  return visitor.manifest();
}

/** Files must come in the order of the manifest, each once, as long and with the digest that it lists. */
class Inspection implements TarVisitor {
  #manifest: PackManifest | null = null;
  #parts: Uint8Array[] = [];
  #expected: readonly string[] = [];
  #at = 0;
  #name = '';
  #hash: Hash = createHash('sha256');

  begin(name: string, size: number): void {
    this.#name = name;
    if (this.#manifest === null) {
      if (name !== MANIFEST) throw packInvalid(`it does not begin with ${MANIFEST}`, name);
      if (size > LIMITS.manifestBytes) throw packInvalid(`${MANIFEST} has ${size} bytes`);
      return;
    }
    const expected = this.#expected[this.#at];
    if (name !== expected) throw packInvalid(`it holds another file than ${expected ?? 'its manifest lists'}`, name);
    const bytes = this.#manifest.files[name]?.bytes;
    if (size !== bytes) throw packInvalid(`a file has ${size} bytes (manifest: ${bytes})`, name);
    this.#hash = createHash('sha256');
  }

  data(chunk: Uint8Array): void {
    if (this.#manifest === null) this.#parts.push(chunk.slice());
    else this.#hash.update(chunk);
  }

  end(): void {
    if (this.#manifest === null) {
      this.#manifest = parseManifest(Buffer.concat(this.#parts).toString('utf8'));
      this.#expected = sortedNames(Object.keys(this.#manifest.files));
      return;
    }
    if (this.#hash.digest('hex') !== this.#manifest.files[this.#name]?.sha256) throw damaged(this.#name);
    this.#at++;
  }

  manifest(): PackManifest {
    const missing = this.#expected[this.#at];
    if (this.#manifest === null) throw packInvalid('it is empty');
    if (missing !== undefined) throw packInvalid('a file is missing', missing);
    return this.#manifest;
  }
}

/** Walks the archive; returns its digest. Throws PACK_INVALID at once when it unpacks to more than it may. */
async function read(path: string, size: number, visitor: TarVisitor): Promise<string> {
  const hash = createHash('sha256');
  const file = createReadStream(path, { highWaterMark: 1 << 18 });
  const gunzip = createGunzip();
  file.on('data', (chunk) => hash.update(chunk));
  file.on('error', (error) => gunzip.destroy(error));
  file.pipe(gunzip);
  try {
    await walkTar(limited(gunzip, size), visitor);
    if (gunzip.bytesWritten !== size) throw packInvalid('there is something after its end', path);
    return hash.digest('hex');
  } catch (error) {
    throw VlmError.wrap(error, 'PACK_INVALID', {
      what: 'This is not a pack that vlm-run wrote',
      received: error instanceof Error ? error.message : String(error),
      where: path,
      hint: 'it may be cut off or damaged: fetch it again',
    });
  } finally {
    file.destroy();
    gunzip.destroy();
  }
}

async function* limited(source: AsyncIterable<unknown>, archiveBytes: number): AsyncGenerator<Uint8Array> {
  // Headers and padding come on top of the files.
  const most = LIMITS.bytes + LIMITS.manifestBytes + (LIMITS.files + 4) * 1024;
  let bytes = 0;
  for await (const chunk of source) {
    const piece = chunk as Uint8Array;
    bytes += piece.length;
    if (bytes > most) throw packInvalid(`it unpacks to more than ${most} bytes`);
    if (bytes > LIMITS.ratioFrom && bytes > archiveBytes * LIMITS.ratio) {
      throw packInvalid(`it unpacks to more than ${LIMITS.ratio} times its size`);
    }
    yield piece;
  }
}

/** Second reading: into a draft, checked again as it is written. */
async function extract(
  path: string,
  size: number,
  folder: string,
  manifest: PackManifest,
  options: UnpackOptions,
): Promise<void> {
  const packs = dirname(folder);
  const id = folder.slice(-40);
  const draft = join(packs, `.draft-${id}-${HOST}-${process.pid}-${randomBytes(4).toString('hex')}`);
  try {
    await makeFolders(packs);
    await removeLeftovers(packs);
    await checkRoom(packs, manifest);
    await mkdir(draft);
    const visitor = new Extraction(draft, options.openFile ?? ((file: string) => open(file, 'wx', 0o644)));
    try {
      await read(path, size, visitor);
    } finally {
      await visitor.close();
    }
    visitor.manifest();
    await take(draft, folder);
  } catch (error) {
    throw unwritable(error, packs);
  } finally {
    await rm(draft, { recursive: true, force: true }).catch(() => undefined);
  }
}

class Extraction extends Inspection {
  readonly #folder: string;
  readonly #open: NonNullable<UnpackOptions['openFile']>;
  #file: Pick<FileHandle, 'write' | 'close'> | null = null;

  constructor(folder: string, openFile: NonNullable<UnpackOptions['openFile']>) {
    super();
    this.#folder = folder;
    this.#open = openFile;
  }

  override async begin(name: string, size: number): Promise<void> {
    // The name is one of the manifest's, which were checked.
    super.begin(name, size);
    const path = join(this.#folder, name);
    try {
      await makeFolders(dirname(path));
      this.#file = await this.#open(path);
    } catch (error) {
      throw unwritable(error, path);
    }
  }

  override async data(chunk: Uint8Array): Promise<void> {
    super.data(chunk);
    try {
      for (let at = 0; at < chunk.length && this.#file !== null; ) {
        at += (await this.#file.write(chunk, at, chunk.length - at)).bytesWritten;
      }
    } catch (error) {
      throw unwritable(error, this.#folder);
    }
  }

  override async end(): Promise<void> {
    await this.close();
    super.end();
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = null;
    await file?.close();
  }
}

/** Another process may have been faster: its folder is the same. */
async function take(draft: string, folder: string): Promise<void> {
  try {
    await rename(draft, folder);
  } catch (error) {
    if (!existsSync(join(folder, MANIFEST))) throw error;
  }
}

async function checkRoom(folder: string, manifest: PackManifest): Promise<void> {
  const needed = Object.values(manifest.files).reduce((n, file) => n + file.bytes, 0);
  const { bavail, bsize } = await statfs(folder);
  if (needed <= bavail * bsize) return;
  throw noRoom(folder, `${needed} bytes needed, ${bavail * bsize} free`);
}

function noRoom(where: string, received: string, cause?: unknown): VlmError {
  return new VlmError('OUTPUT_UNWRITABLE', {
    what: 'There is no room to unpack this pack',
    received,
    where,
    hint: 'make room, or set VLM_RUN_CACHE to a folder that has some; nothing was left behind',
    ...(cause === undefined ? {} : { cause }),
  });
}

function unwritable(error: unknown, where: string): VlmError {
  const code: unknown = error instanceof VlmError ? undefined : Reflect.get(Object(error), 'code');
  if (code === 'ENOSPC' || code === 'EDQUOT') return noRoom(where, code, error);
  return VlmError.wrap(error, 'OUTPUT_UNWRITABLE', {
    what: 'The pack cannot be unpacked',
    received: error instanceof Error ? error.message : String(error),
    where,
    hint: 'set VLM_RUN_CACHE to a folder that may be written to',
  });
}

/** Drafts of processes of this machine that are gone. */
async function removeLeftovers(packs: string): Promise<void> {
  for (const name of await readdir(packs)) {
    const [, host, pid] = DRAFT.exec(name) ?? [];
    if (host === HOST && pid !== undefined && !isAlive(Number(pid))) {
      await rm(join(packs, name), { recursive: true, force: true });
    }
  }
}
