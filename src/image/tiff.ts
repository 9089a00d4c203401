/**
 * TIFF directories: tags with their places, and what of a TIFF file the reference and libvips read differently. Where
 * libvips misreads a valid file or does work that is to be done here, the tag that makes it do so is rewritten in memory.
 */
import { Bytes } from './bytes.js';
import type { Found } from './header.js';

/** First value of a tag, and the place of that value. */
export interface TagValue {
  readonly value: number;
  readonly at: number;
  readonly size: number;
}

/** `value` is written over the number of `size` bytes at `at`. */
export interface Repair extends TagValue {
  readonly little: boolean;
}

const ENTRY_LIMIT = 4096;

/**
 * First value of each whole-number tag of the first directory of a TIFF stream (a TIFF file, or what EXIF holds).
 * Null when the bytes are no TIFF.
 */
export function tiffTags(data: Uint8Array): ReadonlyMap<number, TagValue> | null {
  const order = byteOrder(data);
  if (order === null) return null;
  const bytes = new Bytes(data, order === 'II');
  const version = bytes.u16(2);
  if (version !== 42 && version !== 43) return null;
  const big = version === 43;
  const start = big ? bytes.u64(8) : bytes.u32(4);
  const tags = new Map<number, TagValue>();
  if (start === undefined) return tags;
  const count = big ? bytes.u64(start) : bytes.u16(start);
  if (count === undefined) return tags;
  const step = big ? 20 : 12;
  const first = start + (big ? 8 : 2);
  for (let i = 0; i < Math.min(count, ENTRY_LIMIT); i++) {
    const tag = bytes.u16(first + i * step);
    const value = tagValue(bytes, first + i * step, big);
    if (tag === undefined) break;
    // The first of several is what libtiff takes.
    if (value !== undefined && !tags.has(tag)) tags.set(tag, value);
  }
  return tags;
}

function byteOrder(data: Uint8Array): 'II' | 'MM' | null {
  const order = Buffer.from(data.subarray(0, 2)).toString('latin1');
  return order === 'II' || order === 'MM' ? order : null;
}

function tagValue(bytes: Bytes, entry: number, big: boolean): TagValue | undefined {
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
  const value = size === 1 ? bytes.u8(at) : size === 2 ? bytes.u16(at) : size === 4 ? bytes.u32(at) : bytes.u64(at);
  return value === undefined ? undefined : { value, at, size };
}

const WIDTH = 256;
const HEIGHT = 257;
const BITS = 258;
const COMPRESSION = 259;
const PHOTOMETRIC = 262;
const ORIENTATION = 274;
const SAMPLES = 277;
const PLANAR = 284;
const EXTRA_SAMPLES = 338;
const SAMPLE_FORMAT = 339;

const WHITE_IS_ZERO = 0;
const RGB = 2;
const CMYK = 5;
const YCBCR = 6;
const SEPARATE_PLANES = 2;
const PREMULTIPLIED = 1;
const NOT_PREMULTIPLIED = 2;
const JPEG = 7;

export function readTiff(data: Uint8Array): Found {
  const tags = tiffTags(data);
  if (tags === null) return {};
  const repairs: Repair[] = [];
  const rewrite = (tag: number, value: number): void => {
    const place = tags.get(tag);
    if (place !== undefined) repairs.push({ ...place, value, little: byteOrder(data) === 'II' });
  };
  const orientation = tags.get(ORIENTATION)?.value;
  // libvips refuses a file for an orientation that makes no sense.
  if (orientation !== undefined && (orientation < 1 || orientation > 8)) rewrite(ORIENTATION, 1);
  // Separate planes of one sample are the same as none, but libvips then reads the samples as plain bytes.
  if (tags.get(PLANAR)?.value === SEPARATE_PLANES && (tags.get(SAMPLES)?.value ?? 1) === 1) rewrite(PLANAR, 1);
  const colour = colourOf(tags);
  if (colour === 'premultiplied') rewrite(EXTRA_SAMPLES, NOT_PREMULTIPLIED);
  return {
    width: tags.get(WIDTH)?.value,
    height: tags.get(HEIGHT)?.value,
    exif: orientation,
    colour,
    ...(repairs.length === 0 ? {} : { repairs }),
  };
}

function colourOf(tags: ReadonlyMap<number, TagValue>): Exclude<Found['colour'], undefined> {
  const value = (tag: number, otherwise: number) => tags.get(tag)?.value ?? otherwise;
  const bits = value(BITS, 1);
  const samples = value(SAMPLES, 1);
  const photometric = value(PHOTOMETRIC, WHITE_IS_ZERO);
  if (photometric === CMYK) return bits === 8 && samples >= 4 ? 'cmyk' : 'unsupported';
  if (value(SAMPLE_FORMAT, 1) !== 1 || bits > 16 || photometric > YCBCR) return 'unsupported';
  // Outside of JPEG libvips hands luma and chroma over as if they were red, green and blue.
  if (photometric === YCBCR && value(COMPRESSION, 1) !== JPEG) return 'unsupported';
  const separate = value(PLANAR, 1) === SEPARATE_PLANES && samples > 1;
  if (separate && (photometric !== RGB || bits < 8)) return 'unsupported';
  if (photometric === RGB && samples === 4 && value(EXTRA_SAMPLES, 0) === PREMULTIPLIED) return 'premultiplied';
  if (bits === 16 && samples === 1 && photometric <= 1) {
    return photometric === WHITE_IS_ZERO ? 'grey16-inverted' : 'grey16';
  }
  return 'plain';
}

/** The file with its repairs; the same bytes when there are none. */
export function repaired(data: Uint8Array, repairs: readonly Repair[]): Uint8Array {
  if (repairs.length === 0) return data;
  const copy = Uint8Array.from(data);
  const view = new DataView(copy.buffer);
  for (const { at, size, value, little } of repairs) {
    if (size === 1) view.setUint8(at, value);
    else if (size === 2) view.setUint16(at, value, little);
    else if (size === 4) view.setUint32(at, value, little);
    else view.setBigUint64(at, BigInt(value), little);
  }
  return copy;
}
