/** Draws labelled boxes over a picture: a PNG, or an SVG that carries the picture in itself. */
import { VlmError } from '../contracts/errors.js';
import type { GroundedBox } from '../contracts/ports.js';
import { type DecodeOptions, decodeImage, readImageSize } from './decode.js';
import { readHeader } from './header.js';
import { strokePath, strokeWidth } from './strokes.js';

export interface OverlayOptions extends DecodeOptions {
  readonly format: 'png' | 'svg';
  /** Which picture this is: boxes of others are left out. Default 0. */
  readonly image?: number;
  /** `strokes` draws labels without any font; `auto` (default) does so where the machine has none. */
  readonly font?: 'auto' | 'strokes';
}

interface Area {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Colours that stay apart from each other and from most photographs; labels are white or black on them. */
const COLOURS = ['#e6194b', '#0a7cff', '#12a150', '#f5a524', '#9333ea', '#00b8d9', '#ff5c00', '#d6409f'] as const;

/** The picture (turned as its EXIF says) with the boxes of one image over it. */
export async function drawOverlay(
  bytes: Uint8Array,
  boxes: readonly GroundedBox[],
  options: OverlayOptions,
): Promise<Uint8Array> {
  const mine = boxes.filter((box) => box.image === (options.image ?? 0));
  if (options.format === 'svg') {
    const { width, height } = readImageSize(bytes, options);
    const picture = `<image width="${width}" height="${height}" href="${await dataUrl(bytes, options)}"/>`;
    return Buffer.from(svg(width, height, picture + marks(width, height, mine, false)));
  }
  const image = await decodeImage(bytes, options);
  const { width, height } = image;
  const { default: sharp } = await import('sharp');
  const strokes = options.font === 'strokes' || !(await hasFonts());
  const layer = Buffer.from(svg(width, height, marks(width, height, mine, strokes)));
  try {
    return await sharp(image.data, { raw: { width, height, channels: 3 }, limitInputPixels: false })
      .composite([{ input: layer, limitInputPixels: false }])
      .png({ compressionLevel: 6 })
      .toBuffer();
  } catch (error) {
    throw VlmError.wrap(error, 'NODE_FAILED', {
      what: 'The overlay picture could not be drawn',
      ...(options.name === undefined ? {} : { where: options.name }),
      hint: 'ask for overlay: svg, which needs no drawing',
    });
  }
}

function svg(width: number, height: number, content: string): string {
  const size = `width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size}>${content}</svg>`;
}

/** The picture as it is where every viewer shows it the same way, otherwise as PNG of the decoded pixels. */
async function dataUrl(bytes: Uint8Array, options: OverlayOptions): Promise<string> {
  const header = readHeader(bytes);
  if (header !== null && 'format' in header && header.orientation === 1 && header.colour === 'plain') {
    const { format } = header;
    if (format !== 'tiff') return `data:image/${format};base64,${Buffer.from(bytes).toString('base64')}`;
  }
  const { width, height, data } = await decodeImage(bytes, options);
  const { default: sharp } = await import('sharp');
  const png = await sharp(data, { raw: { width, height, channels: 3 }, limitInputPixels: false })
    .png()
    .toBuffer();
  return `data:image/png;base64,${png.toString('base64')}`;
}

function marks(width: number, height: number, boxes: readonly GroundedBox[], strokes: boolean): string {
  const line = Math.max(2, Math.round(Math.min(width, height) / 180));
  const size = Math.max(11, Math.min(48, Math.round(Math.min(width, height) / 26)));
  const names = [...new Set(boxes.map((box) => box.label))];
  const placed: Area[] = [];
  const frames: string[] = [];
  const labels: string[] = [];
  for (const { box, label } of boxes) {
    const colour = COLOURS[names.indexOf(label) % COLOURS.length] ?? COLOURS[0];
    const frame = clip(box, width, height, line);
    const at = `x="${frame.x}" y="${frame.y}" width="${frame.width}" height="${frame.height}" rx="${line}"`;
    frames.push(
      `<rect ${at} stroke="#fff" stroke-opacity="0.7" stroke-width="${line + 2}"/>`,
      `<rect ${at} stroke="${colour}" stroke-width="${line}"/>`,
    );
    if (label.trim() === '') continue;
    const text = fitText(label, width - 2 * size, size, strokes);
    const area = place(frame, textWidth(text, size, strokes) + size * 0.8, size * 1.5, width, height, placed);
    placed.push(area);
    labels.push(labelMark(text, area, size, colour, strokes));
  }
  return `<g fill="none">${frames.join('')}</g>${labels.join('')}`;
}

/** The box inside the picture, its line too. */
function clip(box: GroundedBox['box'], width: number, height: number, line: number): Area {
  const inside = (v: number, limit: number) =>
    Math.min(Math.max(Number.isFinite(v) ? v : 0, line / 2), limit - line / 2);
  const [x1, y1, x2, y2] = [
    inside(box[0], width),
    inside(box[1], height),
    inside(box[2], width),
    inside(box[3], height),
  ];
  return {
    x: round(Math.min(x1, x2)),
    y: round(Math.min(y1, y2)),
    width: round(Math.max(1, Math.abs(x2 - x1))),
    height: round(Math.max(1, Math.abs(y2 - y1))),
  };
}

/** Where a label goes: above its box, inside it at the top, below it; the first place inside the picture and free. */
function place(
  frame: Area,
  width: number,
  height: number,
  limitX: number,
  limitY: number,
  taken: readonly Area[],
): Area {
  const x = round(Math.max(0, Math.min(frame.x, limitX - width)));
  const spots = [frame.y - height, frame.y, frame.y + frame.height, frame.y + frame.height - height].map((y) => ({
    x,
    y: round(y),
    width: round(width),
    height: round(height),
  }));
  const fitting = spots.filter((s) => s.y >= 0 && s.y + height <= limitY);
  const free = fitting.find((s) => !taken.some((t) => overlap(s, t)));
  return free ?? fitting[0] ?? { x, y: 0, width: round(width), height: round(height) };
}

function overlap(a: Area, b: Area): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

function labelMark(text: string, area: Area, size: number, colour: string, strokes: boolean): string {
  const ink = luminance(colour) > 0.45 ? '#000' : '#fff';
  const left = area.x + size * 0.4;
  const ground = `<rect x="${area.x}" y="${area.y}" width="${area.width}" height="${area.height}" rx="${round(size / 5)}" fill="${colour}"/>`;
  if (strokes) {
    const top = area.y + (area.height - size * 0.7) / 2;
    return `${ground}<g transform="translate(${round(left)} ${round(top)})">${strokePath(text, size * 0.7, ink)}</g>`;
  }
  const baseline = area.y + area.height / 2 + size * 0.36;
  const font = `font-family="DejaVu Sans, Helvetica, Arial, Noto Sans CJK SC, sans-serif" font-size="${size}"`;
  return `${ground}<text x="${round(left)}" y="${round(baseline)}" ${font} fill="${ink}">${escapeXml(text)}</text>`;
}

/** Estimated, on the safe side for common fonts: kinds of letters by their share of the font size. */
function textWidth(text: string, size: number, strokes: boolean): number {
  if (strokes) return strokeWidth(text) * size * 0.7;
  return [...text].reduce((sum, c) => sum + letterWidth(c), 0) * size;
}

function letterWidth(letter: string): number {
  if ((letter.codePointAt(0) ?? 0) >= 0x1100) return 1.05;
  if (/[ilj.,:;'|!I[\]()]/.test(letter)) return 0.36;
  if (/[ tfr]/.test(letter)) return 0.42;
  if (/[mwMW@%…]/.test(letter)) return 0.98;
  return /[A-Z&]/.test(letter) ? 0.76 : 0.64;
}

function fitText(label: string, limit: number, size: number, strokes: boolean): string {
  const letters = [...label.replace(/\s+/g, ' ').trim()];
  let text = letters.join('');
  while (letters.length > 1 && textWidth(text, size, strokes) > limit) {
    letters.pop();
    text = `${letters.join('').trimEnd()}…`;
  }
  return text;
}

function luminance(colour: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16) / 255);
  return 0.2126 * (r ?? 0) + 0.7152 * (g ?? 0) + 0.0722 * (b ?? 0);
}

/** Text for XML: markup escaped, characters that XML forbids dropped. */
export function escapeXml(text: string): string {
  const allowed = [...text].filter((c) => {
    const code = c.codePointAt(0) ?? 0;
    return code >= 0x20
      ? code !== 0x7f && (code < 0xd800 || code > 0xdfff) && code !== 0xfffe && code !== 0xffff
      : false;
  });
  const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
  return allowed.map((c) => entities[c] ?? c).join('');
}

function round(n: number): number {
  return Math.round(n * 100) / 100;
}

let fonts: Promise<boolean> | undefined;

/** Whether text drawn on this machine leaves any trace. */
function hasFonts(): Promise<boolean> {
  fonts ??= (async () => {
    try {
      const { default: sharp } = await import('sharp');
      const probe = svg(24, 24, '<text x="2" y="20" font-family="sans-serif" font-size="20">H</text>');
      const { channels } = await sharp(Buffer.from(probe)).stats();
      return (channels[3]?.max ?? 0) > 0;
    } catch {
      return false;
    }
  })();
  return fonts;
}
