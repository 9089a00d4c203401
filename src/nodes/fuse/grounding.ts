/**
 * InternVL's grounding markup: `<ref>red circle</ref><box>[[x1, y1, x2, y2], …]</box>`, numbers 0 to 1000 of the whole
 * image. What is not exactly that stays in the text as the model wrote it.
 */
import type { GroundedBox } from '../../contracts/ports.js';

export interface Grounding {
  /** The text for people: labels without markup. */
  readonly text: string;
  readonly boxes: readonly GroundedBox[];
}

type Numbers = readonly [number, number, number, number];

/** Tags that grounding is written with: kept when other special tokens are dropped. */
export const GROUNDING_TAGS: ReadonlySet<string> = new Set(['<ref>', '</ref>', '<box>', '</box>']);

const NUMBER = String.raw`-?\d+(?:\.\d+)?`;
const QUAD = String.raw`\[\s*${NUMBER}(?:\s*,\s*${NUMBER}){3}\s*\]`;
const BOX = String.raw`<box>\s*\[\s*${QUAD}(?:\s*,\s*${QUAD})*\s*,?\s*\]\s*</box>`;
/** Anything but the tags themselves: a label may hold a `<` of its own. */
const LABEL = `[^<]*(?:<(?!/?(?:ref|box)>)[^<]*)*`;
/** A label with its boxes, or boxes without a label. */
const ELEMENT = new RegExp(String.raw`<ref>(${LABEL})</ref>((?:\s*${BOX})+)|(${BOX})`, 'g');
const QUADS = new RegExp(QUAD, 'g');
const NUMBERS = new RegExp(NUMBER, 'g');

function clamp(value: number): number {
  return Math.min(1000, Math.max(0, value));
}

/** Boxes of one element, or null when a box has its corners the wrong way round. */
function readQuads(source: string): readonly Numbers[] | null {
  const quads: Numbers[] = [];
  for (const [quad] of source.matchAll(QUADS)) {
    const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = (quad.match(NUMBERS) ?? []).map((n) => clamp(Number(n)));
    if (x1 > x2 || y1 > y2) return null;
    quads.push([x1, y1, x2, y2]);
  }
  return quads;
}

/** Parses `text` against the image that its boxes refer to: index `image`, `size` in pixels. */
export function parseGrounding(
  text: string,
  size: { readonly width: number; readonly height: number },
  image = 0,
): Grounding {
  const boxes: GroundedBox[] = [];
  const clean = text.replace(
    ELEMENT,
    (whole, label: string | undefined, labelled: string | undefined, bare: string | undefined) => {
      const quads = readQuads(labelled ?? bare ?? '');
      if (quads === null) return whole;
      const name = (label ?? '').trim();
      for (const normalized of quads) boxes.push({ label: name, normalized, box: toPixels(normalized, size), image });
      return label ?? '';
    },
  );
  return { text: boxes.length === 0 ? text : clean.trim(), boxes };
}

function toPixels([x1, y1, x2, y2]: Numbers, size: { readonly width: number; readonly height: number }): Numbers {
  const { width, height } = size;
  return [(x1 * width) / 1000, (y1 * height) / 1000, (x2 * width) / 1000, (y2 * height) / 1000];
}
