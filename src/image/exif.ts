/** Orientation tags and TIFF directories, read from bytes alone. */

/** A bounds-checked reader over bytes: anything past the end reads as undefined. */
export class Bytes {
  private readonly view: DataView;

  constructor(
    readonly data: Uint8Array,
    readonly little: boolean,
  ) {
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  u8(at: number): number | undefined {
    return this.data[at];
  }

  u16(at: number): number | undefined {
    return at >= 0 && at + 2 <= this.view.byteLength ? this.view.getUint16(at, this.little) : undefined;
  }

  u32(at: number): number | undefined {
    return at >= 0 && at + 4 <= this.view.byteLength ? this.view.getUint32(at, this.little) : undefined;
  }

  u64(at: number): number | undefined {
    return at >= 0 && at + 8 <= this.view.byteLength ? Number(this.view.getBigUint64(at, this.little)) : undefined;
  }

  text(at: number, length: number): string {
    return Buffer.from(this.data.subarray(at, at + length)).toString('latin1');
  }
}

const ENTRY_LIMIT = 4096;

/**
 * First value of each whole-number tag of the first directory of a TIFF stream (a TIFF file, or what EXIF holds).
 * Null when the bytes are no TIFF.
 */
export function tiffTags(data: Uint8Array): ReadonlyMap<number, number> | null {
  const order = Buffer.from(data.subarray(0, 2)).toString('latin1');
  if (order !== 'II' && order !== 'MM') return null;
  const bytes = new Bytes(data, order === 'II');
  const version = bytes.u16(2);
  if (version !== 42 && version !== 43) return null;
  const big = version === 43;
  const start = big ? bytes.u64(8) : bytes.u32(4);
  const tags = new Map<number, number>();
  if (start === undefined) return tags;
  const count = big ? bytes.u64(start) : bytes.u16(start);
  if (count === undefined) return tags;
  const step = big ? 20 : 12;
  const first = start + (big ? 8 : 2);
  for (let i = 0; i < Math.min(count, ENTRY_LIMIT); i++) {
    const tag = bytes.u16(first + i * step);
    const value = tagValue(bytes, first + i * step, big);
    if (tag === undefined) break;
    if (value !== undefined) tags.set(tag, value);
  }
  return tags;
}

function tagValue(bytes: Bytes, entry: number, big: boolean): number | undefined {
  const type = bytes.u16(entry + 2);
  const count = big ? bytes.u64(entry + 4) : bytes.u32(entry + 4);
  if (type === undefined || count === undefined || count < 1) return undefined;
  const sizes: Readonly<Record<number, number>> = { 1: 1, 3: 2, 4: 4, 16: 8 };
  const size = sizes[type];
  if (size === undefined) return undefined;
  const field = entry + (big ? 12 : 8);
  const inline = size * count <= (big ? 8 : 4);
  const at = inline ? field : big ? bytes.u64(field) : bytes.u32(field);
  if (at === undefined) return undefined;
  if (size === 1) return bytes.u8(at);
  if (size === 2) return bytes.u16(at);
  return size === 4 ? bytes.u32(at) : bytes.u64(at);
}

const ORIENTATION = 0x0112;

/** Orientation (1–8) out of EXIF bytes with or without their `Exif` prefix; undefined when there is no such tag. */
export function exifOrientation(data: Uint8Array): number | undefined {
  const prefixed = Buffer.from(data.subarray(0, 6)).toString('latin1') === 'Exif\0\0';
  return tiffTags(prefixed ? data.subarray(6) : data)?.get(ORIENTATION);
}

/** Orientation out of an XMP packet, which counts where EXIF has none. */
export function xmpOrientation(data: Uint8Array): number | undefined {
  const found = /tiff:Orientation(?:="|>)([0-9])/.exec(Buffer.from(data).toString('latin1'));
  return found?.[1] === undefined ? undefined : Number(found[1]);
}
