/**
 * What a picture is, from its first bytes: format, stored size, orientation and the colour layouts that need a
 * conversion of our own. No pixel is decoded and no library is loaded, so planning stays instant.
 */
import { inflateSync } from 'node:zlib';
import { Bytes } from './bytes.js';
import { exifOrientation, xmpOrientation } from './exif.js';
import { type Repair, readTiff } from './tiff.js';

export type ImageFormat = 'jpeg' | 'png' | 'webp' | 'gif' | 'tiff';

export interface ImageHeader {
  readonly format: ImageFormat;
  /** Size as stored, before orientation. */
  readonly width: number;
  readonly height: number;
  /** EXIF orientation, 1 when there is none or it makes no sense. */
  readonly orientation: number;
  readonly colour: Colour;
  /** What is to be written over the file's header before libvips reads it. */
  readonly repairs?: readonly Repair[];
}

/** `plain`: eight-bit (or sixteen-bit colour) data that sharp hands over as the reference does. */
export type Colour = 'plain' | 'cmyk' | 'grey16' | 'grey16-inverted' | 'premultiplied' | 'unsupported';

/** A picture without a usable header: the format is known but the bytes are damaged. */
export interface DamagedHeader {
  readonly damaged: ImageFormat;
  readonly reason: string;
}

export interface Found {
  width?: number | undefined;
  height?: number | undefined;
  exif?: number | undefined;
  xmp?: number | undefined;
  colour?: Colour;
  repairs?: readonly Repair[];
}

/** Header of `data`, what is wrong with it, or null when the format is none of ours. */
export function readHeader(data: Uint8Array): ImageHeader | DamagedHeader | null {
  const format = sniff(data);
  if (format === null) return null;
  const found = READERS[format](data);
  const { width, height } = found;
  if (width === undefined || height === undefined) return { damaged: format, reason: 'the header is cut off' };
  if (width < 1 || height < 1) return { damaged: format, reason: `its size is ${width}x${height}` };
  const orientation = found.exif ?? found.xmp ?? 1;
  return {
    format,
    width,
    height,
    orientation: orientation >= 1 && orientation <= 8 ? orientation : 1,
    colour: found.colour ?? 'plain',
    ...(found.repairs === undefined ? {} : { repairs: found.repairs }),
  };
}

function sniff(data: Uint8Array): ImageFormat | null {
  const head = Buffer.from(data.subarray(0, 12)).toString('latin1');
  if (head.startsWith('\xff\xd8\xff')) return 'jpeg';
  if (head.startsWith('\x89PNG\r\n\x1a\n')) return 'png';
  if (head.startsWith('GIF87a') || head.startsWith('GIF89a')) return 'gif';
  if (head.startsWith('RIFF') && head.slice(8, 12) === 'WEBP') return 'webp';
  return /^(II[*+]\0|MM\0[*+])/.test(head) ? 'tiff' : null;
}

const READERS: Readonly<Record<ImageFormat, (data: Uint8Array) => Found>> = {
  jpeg: readJpeg,
  png: readPng,
  webp: readWebp,
  gif: readGif,
  tiff: readTiff,
};

const XMP_PREFIX = 'http://ns.adobe.com/xap/1.0/\0';

function readJpeg(data: Uint8Array): Found {
  const bytes = new Bytes(data, false);
  const found: Found = {};
  for (let at = 2; at < data.length; ) {
    if (bytes.u8(at) !== 0xff) {
      at++;
      continue;
    }
    const marker = bytes.u8(at + 1) ?? 0xff;
    if (marker === 0xff || marker === 0 || marker === 1 || (marker >= 0xd0 && marker <= 0xd8)) {
      at += marker === 0xff ? 1 : 2;
      continue;
    }
    if (marker === 0xd9 || marker === 0xda) break;
    const length = bytes.u16(at + 2);
    if (length === undefined || length < 2) break;
    const segment = data.subarray(at + 4, at + 2 + length);
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (isFrame && found.width === undefined) {
      found.height = bytes.u16(at + 5);
      found.width = bytes.u16(at + 7);
      if (bytes.u8(at + 9) === 4) found.colour = 'cmyk';
    } else if (marker === 0xe1 && bytes.text(at + 4, 6) === 'Exif\0\0') {
      found.exif ??= exifOrientation(segment);
    } else if (marker === 0xe1 && bytes.text(at + 4, XMP_PREFIX.length) === XMP_PREFIX) {
      found.xmp ??= xmpOrientation(segment);
    }
    at += 2 + length;
  }
  return found;
}

function readPng(data: Uint8Array): Found {
  const bytes = new Bytes(data, false);
  const found: Found = {};
  for (let at = 8; at + 8 <= data.length; ) {
    const length = bytes.u32(at) ?? 0;
    const kind = bytes.text(at + 4, 4);
    const chunk = data.subarray(at + 8, at + 8 + length);
    if (kind === 'IHDR') {
      found.width = bytes.u32(at + 8);
      found.height = bytes.u32(at + 12);
      // Sixteen-bit grey without alpha is clipped by the reference; with alpha it keeps the high byte, as colour does.
      if (bytes.u8(at + 16) === 16 && bytes.u8(at + 17) === 0) found.colour = 'grey16';
    } else if (kind === 'eXIf') {
      found.exif ??= exifOrientation(chunk);
    } else if (kind === 'tEXt' || kind === 'zTXt' || kind === 'iTXt') {
      readPngText(kind, chunk, found);
    } else if (kind === 'IEND') {
      break;
    }
    at += 12 + length;
  }
  return found;
}

/** Older tools keep EXIF as a hexadecimal text chunk, others keep XMP. */
function readPngText(kind: string, chunk: Uint8Array, found: Found): void {
  const keyword = Buffer.from(chunk.subarray(0, 80)).toString('latin1').split('\0', 1)[0] ?? '';
  const rest = chunk.subarray(keyword.length + 1);
  if (kind === 'iTXt' && keyword === 'XML:com.adobe.xmp') {
    found.xmp ??= xmpOrientation(rest);
  } else if (keyword === 'Raw profile type exif' && kind !== 'iTXt') {
    const text = kind === 'zTXt' ? inflateText(rest.subarray(1)) : Buffer.from(rest).toString('latin1');
    const [, , , ...lines] = text.split('\n');
    found.exif ??= exifOrientation(Buffer.from(lines.join(''), 'hex'));
  }
}

function inflateText(data: Uint8Array): string {
  try {
    return inflateSync(data, { maxOutputLength: 1 << 22 }).toString('latin1');
  } catch {
    return ''; // a damaged comment does not make the picture unreadable
  }
}

function readWebp(data: Uint8Array): Found {
  const bytes = new Bytes(data, true);
  const found: Found = {};
  for (let at = 12; at + 8 <= data.length; ) {
    const kind = bytes.text(at, 4);
    const length = bytes.u32(at + 4) ?? 0;
    const body = at + 8;
    if (kind === 'VP8X') {
      found.width = uint24(bytes, body + 4);
      found.height = uint24(bytes, body + 7);
    } else if (kind === 'VP8 ' && found.width === undefined) {
      found.width = masked(bytes.u16(body + 6), 0x3fff);
      found.height = masked(bytes.u16(body + 8), 0x3fff);
    } else if (kind === 'VP8L' && found.width === undefined) {
      const bits = bytes.u32(body + 1);
      found.width = bits === undefined ? undefined : (bits & 0x3fff) + 1;
      found.height = bits === undefined ? undefined : ((bits >>> 14) & 0x3fff) + 1;
    } else if (kind === 'EXIF') {
      found.exif ??= exifOrientation(data.subarray(body, body + length));
    } else if (kind === 'XMP ') {
      found.xmp ??= xmpOrientation(data.subarray(body, body + length));
    }
    at = body + length + (length & 1);
  }
  return found;
}

function uint24(bytes: Bytes, at: number): number | undefined {
  const low = bytes.u16(at);
  const high = bytes.u8(at + 2);
  return low === undefined || high === undefined ? undefined : (low | (high << 16)) + 1;
}

function masked(value: number | undefined, mask: number): number | undefined {
  return value === undefined ? undefined : value & mask;
}

function readGif(data: Uint8Array): Found {
  const bytes = new Bytes(data, true);
  let width = bytes.u16(6) ?? 0;
  let height = bytes.u16(8) ?? 0;
  const flags = bytes.u8(10);
  if (flags === undefined) return {};
  let at = 13 + ((flags & 0x80) !== 0 ? 3 << ((flags & 7) + 1) : 0);
  // A first frame that reaches past the screen widens it. Stray bytes between blocks are skipped.
  for (let block = bytes.u8(at); block !== undefined && block !== 0x2c && block !== 0x3b; block = bytes.u8(at)) {
    at = block === 0x21 ? afterSubBlocks(bytes, at + 2) : at + 1;
  }
  if (bytes.u8(at) === 0x2c) {
    width = Math.max(width, (bytes.u16(at + 1) ?? 0) + (bytes.u16(at + 5) ?? 0));
    height = Math.max(height, (bytes.u16(at + 3) ?? 0) + (bytes.u16(at + 7) ?? 0));
  }
  return { width, height };
}

/** Where a chain of GIF sub-blocks that starts at `at` ends. */
export function afterSubBlocks(bytes: Bytes, at: number): number {
  let end = at;
  for (let size = bytes.u8(end); size !== undefined && size !== 0; size = bytes.u8(end)) end += size + 1;
  return end + 1;
}
