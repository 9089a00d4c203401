/**
 * Vision embeddings by content, in memory and on disk, each with a limit; what was used longest ago goes first. A file
 * is whole or not there, carries a digest of its rows, and is dropped when it does not fit it.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { EmbeddingCache } from '../contracts/node.js';
import type { Tensor } from '../contracts/tensor.js';
import { writeFileAtomic } from '../util/atomic-write.js';
import type { EmbeddingSettings } from './protocol.js';

type Rows = Tensor<'float32' | 'float16'>;

const SUFFIX = '.rows';
/** What a killed process left of a file that it was writing. */
const PART = /\.rows\.\d+\.[0-9a-f]{8}\.tmp$/;
const ABANDONED_MS = 3_600_000;
/** The folder is measured again when this part of its limit was written. */
const LOOKS = 16;

export class EmbeddingStore implements EmbeddingCache {
  readonly #settings: EmbeddingSettings;
  readonly #encoder: () => Promise<string>;
  readonly #memory = new Map<string, Rows>();
  #encoderDigest: Promise<string> | undefined;
  #bytes = 0;
  /** Bytes written since the folder was looked at. */
  #added = 0;
  #onDisk: Promise<number> | undefined;

  /** `encoder`: what tells the program that makes the rows from every other one; asked once. */
  constructor(settings: EmbeddingSettings, encoder: () => Promise<string>) {
    this.#settings = settings;
    this.#encoder = encoder;
  }

  async get(key: string): Promise<Rows | undefined> {
    const name = await this.#name(key);
    const known = this.#memory.get(name);
    if (known !== undefined) {
      // The youngest is the last one of the map.
      this.#memory.delete(name);
      this.#memory.set(name, known);
      return copy(known);
    }
    const read = await this.#read(name);
    if (read === undefined) return undefined;
    this.#remember(name, copy(read));
    return read;
  }

  async put(key: string, rows: Rows): Promise<void> {
    const name = await this.#name(key);
    this.#remember(name, copy(rows));
    await this.#write(name, rows);
  }

  async #name(key: string): Promise<string> {
    this.#encoderDigest ??= this.#encoder();
    return createHash('sha256')
      .update(`${await this.#encoderDigest}\n${key}`)
      .digest('hex');
  }

  #remember(name: string, rows: Rows): void {
    const { memoryBytes } = this.#settings;
    if (rows.data.byteLength > memoryBytes || this.#memory.has(name)) return;
    this.#memory.set(name, rows);
    this.#bytes += rows.data.byteLength;
    for (const [oldest, { data }] of this.#memory) {
      if (this.#bytes <= memoryBytes) break;
      this.#memory.delete(oldest);
      this.#bytes -= data.byteLength;
    }
  }

  async #read(name: string): Promise<Rows | undefined> {
    const { folder } = this.#settings;
    if (folder === null) return undefined;
    const path = join(folder, name + SUFFIX);
    const file = await readFile(path).catch(() => undefined);
    if (file === undefined) return undefined;
    const rows = decode(file);
    if (rows === undefined) {
      await rm(path, { force: true }).catch(() => undefined);
      return undefined;
    }
    const now = new Date();
    await utimes(path, now, now).catch(() => undefined);
    return rows;
  }

  /** A cache that cannot be written is none: the run goes on. */
  async #write(name: string, rows: Rows): Promise<void> {
    const { folder, diskBytes } = this.#settings;
    if (folder === null || rows.data.byteLength > diskBytes) return;
    try {
      const file = encode(rows);
      // Other processes write there too: what they added is found by looking again now and then.
      if (this.#added > diskBytes / LOOKS) {
        this.#onDisk = undefined;
        this.#added = 0;
      }
      this.#onDisk ??= sizeOf(folder);
      await writeFileAtomic(join(folder, name + SUFFIX), file);
      this.#added += file.length;
      const total = (await this.#onDisk) + file.length;
      this.#onDisk = Promise.resolve(total > diskBytes ? await evict(folder, diskBytes) : total);
    } catch {
      this.#onDisk = undefined;
    }
  }
}

function copy(rows: Rows): Rows {
  return { ...rows, data: rows.data.slice() } as Rows;
}

/** One line of JSON (dtype, dims, digest of the data), then the data as it lies in memory (little-endian machines only). */
function encode({ dtype, dims, data }: Rows): Uint8Array {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return Buffer.concat([Buffer.from(`${JSON.stringify({ dtype, dims, sha256 })}\n`), bytes]);
}

function decode(file: Buffer): Rows | undefined {
  const end = file.indexOf(10);
  if (end < 0) return undefined;
  // A buffer of its own: it moves to another thread, and typed arrays must begin at a multiple of their element.
  const bytes = new Uint8Array(file.subarray(end + 1));
  try {
    const { dtype, dims, sha256 } = JSON.parse(file.toString('utf8', 0, end)) as Readonly<Record<string, unknown>>;
    if (createHash('sha256').update(bytes).digest('hex') !== sha256 || !isDims(dims)) return undefined;
    const elements = dims.reduce((n, dim) => n * dim, 1);
    if (dtype === 'float32' && elements * 4 === bytes.length) {
      return { dtype, dims, data: new Float32Array(bytes.buffer) };
    }
    if (dtype === 'float16' && elements * 2 === bytes.length) {
      return { dtype, dims, data: new Uint16Array(bytes.buffer) };
    }
  } catch {
    // Not a file of ours.
  }
  return undefined;
}

function isDims(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((dim) => Number.isInteger(dim) && dim >= 0);
}

interface Entry {
  readonly path: string;
  readonly size: number;
  readonly usedAt: number;
}

async function entriesOf(folder: string): Promise<Entry[]> {
  const names = await readdir(folder).catch((): string[] => []);
  const entries: Entry[] = [];
  for (const name of names) {
    const isPart = PART.test(name);
    if (!name.endsWith(SUFFIX) && !isPart) continue;
    const path = join(folder, name);
    const found = await stat(path).catch(() => null);
    if (found === null) continue;
    // Nobody will use it: it goes first.
    const isAbandoned = isPart && Date.now() - found.mtimeMs > ABANDONED_MS;
    if (isAbandoned || !isPart) entries.push({ path, size: found.size, usedAt: isAbandoned ? 0 : found.mtimeMs });
  }
  return entries;
}

async function sizeOf(folder: string): Promise<number> {
  return (await entriesOf(folder)).reduce((sum, { size }) => sum + size, 0);
}

/** Down to nine tenths of the limit, so that not every new file asks for it again. Returns what is left. */
async function evict(folder: string, limit: number): Promise<number> {
  const entries = (await entriesOf(folder)).sort((a, b) => a.usedAt - b.usedAt);
  let total = entries.reduce((sum, { size }) => sum + size, 0);
  for (const { path, size } of entries) {
    if (total <= limit * 0.9) break;
    await rm(path, { force: true });
    total -= size;
  }
  return total;
}
