/**
 * First frame of a GIF, decoded here because sharp drops the colours of transparent pixels: the reference keeps them
 * (a transparent pixel has the colour of its palette entry, the screen around a small frame that of entry 0 or, with
 * transparency, of the transparent entry).
 */
import { Bytes } from './bytes.js';
import { afterSubBlocks } from './header.js';

/** Why the file cannot be decoded; the caller makes an error of it. */
export class GifDamage {
  constructor(readonly reason: string) {}
}

interface Frame {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
  readonly interlaced: boolean;
  readonly transparent: number | null;
  readonly palette: Uint8Array;
  /** Where the LZW data starts: the byte with the code size. */
  readonly data: number;
}

/** RGB of the first frame on a screen of `width` x `height`. */
export function decodeGif(data: Uint8Array, width: number, height: number): Uint8Array | GifDamage {
  const frame = readFrame(data);
  if (frame instanceof GifDamage) return frame;
  if (frame.left + frame.width > width || frame.top + frame.height > height) {
    return new GifDamage('its first frame lies outside of its screen');
  }
  const indices = new Uint8Array(width * height).fill(frame.transparent ?? 0);
  if (frame.width > 0 && frame.height > 0) {
    const pixels = unpack(data, frame.data, frame.width * frame.height);
    if (pixels instanceof GifDamage) return pixels;
    const order = rowOrder(frame);
    for (let y = 0; y < frame.height; y++) {
      const row = pixels.subarray(y * frame.width, (y + 1) * frame.width);
      indices.set(row, (frame.top + (order[y] ?? y)) * width + frame.left);
    }
  }
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0, o = 0; i < indices.length; i++, o += 3) {
    const entry = (indices[i] ?? 0) * 3;
    rgb[o] = frame.palette[entry] ?? 0;
    rgb[o + 1] = frame.palette[entry + 1] ?? 0;
    rgb[o + 2] = frame.palette[entry + 2] ?? 0;
  }
  return rgb;
}

/**
 * 256 colours. The reference takes a picture without a palette, or with one that is nothing but the greys 0, 1, 2 …, as
 * a grey one: an index is its own grey. With any other palette the entries that it does not define are black.
 */
function paletteOf(data: Uint8Array, at: number, entries: number): Uint8Array {
  const given = data.subarray(at, at + entries * 3);
  if (given.every((v, i) => v === Math.floor(i / 3)))
    return Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3));
  const palette = new Uint8Array(768);
  palette.set(given);
  return palette;
}

function readFrame(data: Uint8Array): Frame | GifDamage {
  const bytes = new Bytes(data, true);
  const screen = bytes.u8(10) ?? 0;
  const entries = (screen & 0x80) !== 0 ? 2 << (screen & 7) : 0;
  let palette = paletteOf(data, 13, entries);
  let transparent: number | null = null;
  let at = 13 + entries * 3;
  for (;;) {
    const block = bytes.u8(at);
    if (block === 0x21) {
      const flags = bytes.u8(at + 3) ?? 0;
      if (bytes.u8(at + 1) === 0xf9 && (flags & 1) !== 0) transparent = bytes.u8(at + 6) ?? null;
      at = afterSubBlocks(bytes, at + 2);
    } else if (block === 0x2c) {
      const flags = bytes.u8(at + 9) ?? 0;
      const local = (flags & 0x80) !== 0 ? 2 << (flags & 7) : 0;
      if (local > 0) palette = paletteOf(data, at + 10, local);
      return {
        left: bytes.u16(at + 1) ?? 0,
        top: bytes.u16(at + 3) ?? 0,
        width: bytes.u16(at + 5) ?? 0,
        height: bytes.u16(at + 7) ?? 0,
        interlaced: (flags & 0x40) !== 0,
        transparent,
        palette,
        data: at + 10 + local * 3,
      };
    } else if (block === undefined || block === 0x3b) {
      return new GifDamage('it ends before its first frame');
    } else {
      at++;
    }
  }
}

function rowOrder(frame: Frame): readonly number[] {
  const rows = Array.from({ length: frame.height }, (_, y) => y);
  if (!frame.interlaced) return rows;
  const pass = (first: number, step: number) => rows.filter((y) => y % step === first);
  return [...pass(0, 8), ...pass(4, 8), ...pass(2, 4), ...pass(1, 2)];
}

const MAX_CODES = 4096;

/** LZW: `count` palette indices from the sub-blocks at `start`. */
function unpack(data: Uint8Array, start: number, count: number): Uint8Array | GifDamage {
  const literalBits = data[start] ?? 0;
  if (literalBits < 1 || literalBits > 11) return new GifDamage('its code size is impossible');
  const clear = 1 << literalBits;
  const prefix = new Uint16Array(MAX_CODES);
  const suffix = new Uint8Array(MAX_CODES);
  const length = new Uint16Array(MAX_CODES).fill(1, 0, clear);
  for (let i = 0; i < clear; i++) suffix[i] = i;
  const output = new Uint8Array(count);
  let written = 0;
  let at = start + 1;
  let blockLeft = 0;
  let bits = 0;
  let held = 0;
  let width = literalBits + 1;
  let next = clear + 2;
  let previous = -1;
  while (written < count) {
    while (held < width) {
      if (blockLeft === 0) blockLeft = data[at++] ?? 0;
      if (blockLeft === 0 || at >= data.length) return new GifDamage('its pixel data is cut off');
      bits |= (data[at++] ?? 0) << held;
      held += 8;
      blockLeft--;
    }
    const code = bits & ((1 << width) - 1);
    bits >>>= width;
    held -= width;
    if (code === clear) {
      width = literalBits + 1;
      next = clear + 2;
      previous = -1;
      continue;
    }
    if (code === clear + 1) return new GifDamage('its pixel data ends early');
    if (code > next || (code === next && previous < 0)) return new GifDamage('its pixel data is broken');
    const fresh = code === next;
    const base = fresh ? previous : code;
    const size = (length[base] ?? 1) + (fresh ? 1 : 0);
    let cursor = base;
    for (let i = written + (length[base] ?? 1) - 1; i >= written; i--) {
      if (i < count) output[i] = suffix[cursor] ?? 0;
      cursor = prefix[cursor] ?? 0;
    }
    const first = output[written] ?? 0;
    if (fresh && written + size - 1 < count) output[written + size - 1] = first;
    if (previous >= 0 && next < MAX_CODES) {
      prefix[next] = previous;
      suffix[next] = first;
      length[next] = (length[previous] ?? 1) + 1;
      next++;
      if (next === 1 << width && width < 12) width++;
    }
    written += size;
    previous = code;
  }
  return output;
}
