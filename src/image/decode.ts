/**
 * Encoded bytes -> RGB with the bytes that Pillow's `Image.open(...)`, `ImageOps.exif_transpose` and `convert("RGB")`
 * give. sharp decodes and nothing more: ICC profiles are ignored, and where the two differ (CMYK, sixteen-bit grey,
 * GIF transparency) the raw channels are taken and converted here.
 */
import { type ErrorCode, VlmError } from '../contracts/errors.js';
import { decodeGif, GifDamage } from './gif.js';
import { type ImageFormat, type ImageHeader, readHeader } from './header.js';
import type { RgbImage } from './resample.js';
import { repaired } from './tiff.js';

export type { RgbImage } from './resample.js';

/** Names of the formats that are read, for messages and docs. */
export const SUPPORTED_FORMATS = 'JPEG, PNG, WebP, GIF, TIFF';

/** Bound on width * height when the caller gives none: 256 megapixels, 768 MB of RGB. */
export const DEFAULT_MAX_PIXELS = 2 ** 28;

export interface DecodeOptions {
  /** Largest width * height; looked up in the header, before anything is decoded. */
  readonly maxPixels?: number;
  /** File name or URL for messages. */
  readonly name?: string;
  /** Turn the picture as its EXIF orientation says. Default true, as Hugging Face's loader does. */
  readonly exif?: boolean;
}

export interface ImageSize {
  readonly width: number;
  readonly height: number;
  readonly format: ImageFormat;
}

/** Size after orientation, from the header alone. Throws IMAGE_UNSUPPORTED, IMAGE_UNREADABLE. */
export function readImageSize(bytes: Uint8Array, options: DecodeOptions = {}): ImageSize {
  const header = headerOf(bytes, options);
  const turned = orientationOf(header, options) >= 5;
  return {
    width: turned ? header.height : header.width,
    height: turned ? header.width : header.height,
    format: header.format,
  };
}

/** Decodes to RGB. Throws IMAGE_UNSUPPORTED, IMAGE_TOO_LARGE, IMAGE_UNREADABLE. */
export async function decodeImage(bytes: Uint8Array, options: DecodeOptions = {}): Promise<RgbImage> {
  const header = headerOf(bytes, options);
  checkPixels(header, options);
  const size = readImageSize(bytes, options);
  if (header.format === 'gif') {
    const data = decodeGif(bytes, header.width, header.height);
    if (data instanceof GifDamage) throw unreadable(options, 'gif', data.reason);
    return { width: size.width, height: size.height, data };
  }
  try {
    const { data, width, height } = await decodeWithSharp(bytes, header, orientationOf(header, options));
    if (width !== size.width || height !== size.height) {
      throw fail('IMAGE_UNREADABLE', options, {
        what: 'The picture has another size than its header says',
        expected: `${size.width}x${size.height}`,
        received: `${width}x${height}`,
      });
    }
    return { width, height, data };
  } catch (error) {
    throw error instanceof VlmError ? error : refused(options, header.format, error);
  }
}

/** Orientation -> mirroring left to right (flop) or top to bottom (flip), then clockwise turns: sharp's own order. */
const TURNS: readonly { readonly angle: number; readonly flop?: true; readonly flip?: true }[] = [
  { angle: 0 },
  { angle: 0, flop: true },
  { angle: 180 },
  { angle: 0, flip: true },
  { angle: 270, flop: true },
  { angle: 90 },
  { angle: 90, flop: true },
  { angle: 270 },
];

async function decodeWithSharp(bytes: Uint8Array, header: ImageHeader, orientation: number): Promise<RgbImage> {
  // Loaded on first use: a planner or a command line that only asks for sizes must not wait for libvips.
  const { default: sharp } = await import('sharp');
  const turn = TURNS[orientation - 1] ?? { angle: 0 };
  // The bound was held against our reading of the header: the library may not see more than that.
  let pipeline = sharp(repaired(bytes, header.repairs ?? []), {
    ignoreIcc: true,
    limitInputPixels: header.width * header.height,
    failOn: 'error',
  });
  if (turn.angle !== 0) pipeline = pipeline.rotate(turn.angle);
  if (turn.flip === true) pipeline = pipeline.flip();
  if (turn.flop === true) pipeline = pipeline.flop();
  if (header.colour === 'cmyk') {
    const { data, info } = await pipeline
      .pipelineColourspace('cmyk')
      .toColourspace('cmyk')
      .raw()
      .toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, data: fromCmyk(data, info.channels) };
  }
  if (header.colour === 'premultiplied') {
    const { data, info } = await pipeline
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, data: fromPremultiplied(data) };
  }
  if (header.colour === 'grey16' || header.colour === 'grey16-inverted') {
    const { data, info } = await pipeline
      .toColourspace('grey16')
      .raw({ depth: 'ushort' })
      .toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, data: fromGrey16(data, info.channels, header.colour) };
  }
  const { data, info } = await pipeline
    .removeAlpha()
    .toColourspace('srgb')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true });
  return { width: info.width, height: info.height, data: threeChannels(data, info.channels) };
}

/** round(a * b / 255) for bytes, without a division. */
function multiply255(a: number, b: number): number {
  const t = a * b + 128;
  return ((t >> 8) + t) >> 8;
}

function fromCmyk(data: Uint8Array, channels: number): Uint8Array {
  const pixels = Math.floor(data.length / channels);
  const rgb = new Uint8Array(pixels * 3);
  for (let i = 0, p = 0, o = 0; i < pixels; i++, p += channels, o += 3) {
    const light = 255 - (data[p + 3] ?? 0);
    rgb[o] = light - multiply255(data[p] ?? 0, light);
    rgb[o + 1] = light - multiply255(data[p + 1] ?? 0, light);
    rgb[o + 2] = light - multiply255(data[p + 2] ?? 0, light);
  }
  return rgb;
}

/** RGBA whose colours were multiplied by their alpha: divided by it again, rounded down; clear is black. */
function fromPremultiplied(data: Uint8Array): Uint8Array {
  const pixels = data.length >> 2;
  const rgb = new Uint8Array(pixels * 3);
  for (let i = 0, p = 0, o = 0; i < pixels; i++, p += 4, o += 3) {
    const alpha = data[p + 3] ?? 0;
    for (const c of [0, 1, 2]) {
      rgb[o + c] = alpha === 0 ? 0 : Math.min(255, Math.floor((255 * (data[p + c] ?? 0)) / alpha));
    }
  }
  return rgb;
}

/** The reference clips sixteen-bit grey at 255 instead of scaling it, and does not turn white-is-zero round. */
function fromGrey16(data: Uint8Array, channels: number, colour: 'grey16' | 'grey16-inverted'): Uint8Array {
  const samples = new Uint16Array(data.buffer, data.byteOffset, data.length >> 1);
  const pixels = Math.floor(samples.length / channels);
  const rgb = new Uint8Array(pixels * 3);
  // libvips has turned it round: turned back, a sample is what the file holds.
  const flip = colour === 'grey16-inverted' ? 0xffff : 0;
  for (let i = 0; i < pixels; i++) rgb.fill(Math.min(255, (samples[i * channels] ?? 0) ^ flip), i * 3, i * 3 + 3);
  return rgb;
}

function threeChannels(data: Uint8Array, channels: number): Uint8Array {
  if (channels === 3) return data;
  const pixels = Math.floor(data.length / channels);
  const rgb = new Uint8Array(pixels * 3);
  const [g, b] = channels < 3 ? [0, 0] : [1, 2];
  for (let i = 0, p = 0, o = 0; i < pixels; i++, p += channels, o += 3) {
    rgb[o] = data[p] ?? 0;
    rgb[o + 1] = data[p + g] ?? 0;
    rgb[o + 2] = data[p + b] ?? 0;
  }
  return rgb;
}

function orientationOf(header: ImageHeader, options: DecodeOptions): number {
  // The reference turns TIFF files while it opens them, whether or not EXIF is asked for.
  return options.exif === false && header.format !== 'tiff' ? 1 : header.orientation;
}

function headerOf(bytes: Uint8Array, options: DecodeOptions): ImageHeader {
  const header = readHeader(bytes);
  if (header === null) {
    throw fail('IMAGE_UNSUPPORTED', options, {
      what: bytes.length === 0 ? 'The image file is empty' : 'This is no image that can be read',
      expected: SUPPORTED_FORMATS,
      received: bytes.length === 0 ? '0 bytes' : describe(bytes),
      hint: remedyFor(bytes),
    });
  }
  if ('damaged' in header) throw unreadable(options, header.damaged, header.reason);
  if (header.colour === 'unsupported') {
    throw fail('IMAGE_UNSUPPORTED', options, {
      what: 'The colour layout of this TIFF file is not supported',
      expected:
        'bilevel, palette, grey or RGB of whole numbers up to 16 bits, CMYK of 8 bits, YCbCr as JPEG; separate planes of RGB or CMYK',
      hint: 'convert it to PNG',
    });
  }
  return header;
}

function checkPixels(header: ImageHeader, options: DecodeOptions): void {
  const limit = options.maxPixels ?? DEFAULT_MAX_PIXELS;
  if (header.width * header.height <= limit) return;
  throw fail('IMAGE_TOO_LARGE', options, {
    what: 'The picture has more pixels than allowed',
    expected: `at most ${limit} pixels`,
    received: `${header.width}x${header.height} = ${header.width * header.height}`,
    hint: 'make it smaller, or raise max_pixels',
  });
}

/** Beginnings of files that people try: [offset, bytes as text, name]. */
const SIGNATURES: readonly (readonly [number, string, string])[] = [
  [4, 'ftypavi', 'AVIF'],
  [4, 'ftyphe', 'HEIC'],
  [4, 'ftypmif1', 'HEIC'],
  [4, 'ftypmsf1', 'HEIC'],
  [4, 'ftyp', 'a video (MP4)'],
  [4, 'jP  ', 'JPEG 2000'],
  [4, 'JXL ', 'JPEG XL'],
  [0, '\xff\x4f\xff\x51', 'JPEG 2000'],
  [0, '\xff\x0a', 'JPEG XL'],
  [0, '%PDF', 'PDF'],
  [0, 'BM', 'BMP'],
  [0, '8BPS', 'Photoshop (PSD)'],
  [0, '\0\0\x01\0', 'an icon (ICO)'],
  [0, 'PK\x03\x04', 'a ZIP archive'],
];

function describe(bytes: Uint8Array): string {
  const head = Buffer.from(bytes.subarray(0, 1024)).toString('latin1');
  const known = SIGNATURES.find(([at, text]) => head.startsWith(text, at));
  if (known !== undefined) return known[2];
  if (/<svg[\s>]/i.test(head)) return 'SVG';
  if (/^\s*<(!doctype )?html/i.test(head)) return 'an HTML page';
  const isText = bytes.subarray(0, 1024).every((c) => c >= 32 || (c >= 9 && c <= 13));
  return isText ? 'text' : 'unknown data';
}

function remedyFor(bytes: Uint8Array): string {
  if (bytes.length === 0) return 'get it again: nothing of it arrived';
  const kind = describe(bytes);
  if (kind === 'an HTML page') return 'the address leads to a page, perhaps a login: give that of the picture itself';
  return kind === 'text' ? 'name the picture itself' : 'convert it to PNG or JPEG';
}

/** What sharp refused: a compression that its build lacks is another matter than damage. */
function refused(options: DecodeOptions, format: ImageFormat, error: unknown): VlmError {
  const reason = reasonOf(error);
  if (/exceeds pixel limit/i.test(reason)) {
    return unreadable(options, format, 'its header gives two sizes', error);
  }
  // The format itself is known from its first bytes: where the library does not recognise it, the rest is damaged.
  const unrecognised = /contains unsupported image format/i.test(reason);
  if (unrecognised || !/not configured|not supported|unsupported/i.test(reason))
    return unreadable(options, format, reason, error);
  return fail('IMAGE_UNSUPPORTED', options, {
    what: `This kind of ${format.toUpperCase()} cannot be read: ${reason}`,
    expected: SUPPORTED_FORMATS,
    hint: 'convert it to PNG or JPEG',
    cause: error,
  });
}

function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split('\n')[0]?.trim() ?? text;
}

function unreadable(options: DecodeOptions, format: ImageFormat, reason: string, cause?: unknown): VlmError {
  return fail('IMAGE_UNREADABLE', options, {
    what: `The ${format.toUpperCase()} picture is damaged: ${reason}`,
    hint: 'the file may be cut off; get it again or save it anew',
    ...(cause === undefined ? {} : { cause }),
  });
}

function fail(code: ErrorCode, options: DecodeOptions, details: ConstructorParameters<typeof VlmError>[1]): VlmError {
  return new VlmError(code, { ...details, ...(options.name === undefined ? {} : { where: options.name }) });
}
