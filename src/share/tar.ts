/**
 * The tar of a pack: plain ustar, regular files alone, every field that could tell a machine, a person or a time zero.
 * The reader takes exactly the headers that the writer makes: it builds the header again from name and size and
 * compares all 512 bytes. Links, devices, folders, pax and GNU extensions, sparse files and whatever else tar has grown
 * are refused without being understood, which is why this is not a library for tar at large.
 */
import { VlmError } from '../contracts/errors.js';

const BLOCK = 512;
/** The size field holds eleven octal digits. */
export const MAX_FILE_BYTES = 8 ** 11 - 1;

const encoder = new TextEncoder();

/** Throws PACK_INVALID for a name that ustar cannot hold. */
export function tarHeader(name: string, size: number): Uint8Array {
  const header = new Uint8Array(BLOCK);
  const [prefix, base] = splitName(name);
  const put = (text: string, at: number): void => header.set(encoder.encode(text), at);
  put(base, 0);
  put('0000644\0', 100);
  put('0000000\0', 108);
  put('0000000\0', 116);
  put(`${size.toString(8).padStart(11, '0')}\0`, 124);
  put('00000000000\0', 136);
  put('        ', 148);
  put('0', 156);
  put('ustar\u000000', 257);
  put('0000000\0', 329);
  put('0000000\0', 337);
  put(prefix, 345);
  let sum = 0;
  for (const byte of header) sum += byte;
  put(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

/** Up to 100 bytes of name, or up to 155 of folders and 100 of the rest. */
function splitName(name: string): readonly [string, string] {
  const fits = (text: string, bytes: number): boolean => encoder.encode(text).length <= bytes;
  if (fits(name, 100)) return ['', name];
  for (let at = name.indexOf('/'); at > 0; at = name.indexOf('/', at + 1)) {
    if (fits(name.slice(0, at), 155) && fits(name.slice(at + 1), 100)) return [name.slice(0, at), name.slice(at + 1)];
  }
  throw new VlmError('PACK_INVALID', {
    what: 'A file name is too long for a pack',
    expected: 'at most 100 bytes, or folders of at most 155 and a name of at most 100',
    received: name.slice(0, 120),
  });
}

/** Zeros after a file of `size` bytes, up to the next block. */
export function tarPadding(size: number): Uint8Array {
  return new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);
}

export const TAR_END = new Uint8Array(2 * BLOCK);

/** What a reader does with the files it meets. It sees a file only after everything before it was accepted. */
export interface TarVisitor {
  begin(name: string, size: number): Promise<void> | void;
  data(chunk: Uint8Array): Promise<void> | void;
  end(): Promise<void> | void;
}

/** Walks through an archive. Throws PACK_INVALID at the first byte that is not as the writer makes it. */
export async function walkTar(source: AsyncIterable<Uint8Array>, visitor: TarVisitor): Promise<void> {
  const reader = new Blocks(source);
  for (;;) {
    const header = await reader.take(BLOCK);
    if (header.every((byte) => byte === 0)) return endOf(reader);
    const { name, size } = readHeader(header);
    await visitor.begin(name, size);
    for (let left = size; left > 0; ) {
      const chunk = await reader.some(left);
      left -= chunk.length;
      await visitor.data(chunk);
    }
    const padding = await reader.take(tarPadding(size).length);
    if (padding.some((byte) => byte !== 0)) throw refused('there is something between two files', name);
    await visitor.end();
  }
}

async function endOf(reader: Blocks): Promise<void> {
  const second = await reader.take(BLOCK);
  if (second.some((byte) => byte !== 0) || !(await reader.atEnd())) {
    throw refused('there is something after its end');
  }
}

const KINDS: Readonly<Record<string, string>> = {
  '1': 'a hard link',
  '2': 'a symbolic link',
  '3': 'a character device',
  '4': 'a block device',
  '5': 'a folder',
  '6': 'a pipe',
  g: 'a pax header',
  x: 'a pax header',
  K: 'a GNU extension',
  L: 'a GNU extension',
  S: 'a sparse file',
};

function readHeader(header: Uint8Array): { readonly name: string; readonly size: number } {
  const kind = String.fromCharCode(header[156] ?? 0);
  const base = field(header, 0, 100);
  const prefix = field(header, 345, 155);
  const name = prefix === '' ? base : `${prefix}/${base}`;
  if (KINDS[kind] !== undefined) throw refused(`it holds ${KINDS[kind]}`, name);
  const digits = String.fromCharCode(...header.subarray(124, 135));
  if (!/^[0-7]{11}$/.test(digits)) throw refused('a size is not written as it should be', name);
  const size = Number.parseInt(digits, 8);
  const expected = tarHeader(name, size);
  const isOurs = header.length === BLOCK && header.every((byte, i) => byte === expected[i]);
  if (!isOurs) throw refused('a header is not one that vlm-run writes', name);
  return { name, size };
}

function field(header: Uint8Array, at: number, length: number): string {
  const bytes = header.subarray(at, at + length);
  const end = bytes.indexOf(0);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(end < 0 ? bytes : bytes.subarray(0, end));
  } catch {
    throw refused('a name is not UTF-8');
  }
}

function refused(why: string, where?: string): VlmError {
  return new VlmError('PACK_INVALID', {
    what: 'This is not a pack that vlm-run wrote',
    received: why,
    ...(where === undefined ? {} : { where: where.slice(0, 120) }),
    hint: 'make it again with `vlm-run pack RECIPE`; nothing of it was used',
  });
}

/** Bytes in the portions that are asked for. */
class Blocks {
  readonly #source: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Exactly `count` bytes (small counts: they are joined). */
  async take(count: number): Promise<Uint8Array> {
    const out = new Uint8Array(count);
    for (let have = 0; have < count; ) {
      const chunk = await this.some(count - have);
      out.set(chunk, have);
      have += chunk.length;
    }
    return out;
  }

  /** At least one byte and at most `most`. */
  async some(most: number): Promise<Uint8Array> {
    if (!(await this.#fill())) throw refused('it ends too early');
    const chunk = this.#rest.subarray(0, most);
    this.#rest = this.#rest.subarray(chunk.length);
    return chunk;
  }

  async atEnd(): Promise<boolean> {
    return !(await this.#fill());
  }

  async #fill(): Promise<boolean> {
    while (this.#rest.length === 0) {
      const next = await this.#source.next();
      if (next.done === true) return false;
      this.#rest = next.value;
    }
    return true;
  }
}
