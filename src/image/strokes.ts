/**
 * A small stroke font for machines without any font (a bare container): capitals, digits and common signs on a grid
 * 4 wide and 6 high, y downwards. Small letters are drawn as capitals, everything unknown as a box.
 */
const GLYPHS: Readonly<Record<string, string>> = {
  ' ': '',
  A: 'M0 6L2 0L4 6M.8 4H3.2',
  B: 'M0 0V6H3L4 5V4L3 3H0M3 3L4 2V1L3 0H0',
  C: 'M4 1L3 0H1L0 1V5L1 6H3L4 5',
  D: 'M0 0V6H2.5L4 4.5V1.5L2.5 0Z',
  E: 'M4 0H0V6H4M0 3H3',
  F: 'M4 0H0V6M0 3H3',
  G: 'M4 1L3 0H1L0 1V5L1 6H3L4 5V3H2.5',
  H: 'M0 0V6M4 0V6M0 3H4',
  I: 'M1 0H3M2 0V6M1 6H3',
  J: 'M4 0V5L3 6H1L0 5',
  K: 'M0 0V6M4 0L0 3.5M1.3 2.5L4 6',
  L: 'M0 0V6H4',
  M: 'M0 6V0L2 3L4 0V6',
  N: 'M0 6V0L4 6V0',
  O: 'M1 0H3L4 1V5L3 6H1L0 5V1Z',
  P: 'M0 6V0H3L4 1V2L3 3H0',
  Q: 'M1 0H3L4 1V5L3 6H1L0 5V1ZM2.5 4.5L4 6',
  R: 'M0 6V0H3L4 1V2L3 3H0M2 3L4 6',
  S: 'M4 1L3 0H1L0 1V2L1 3H3L4 4V5L3 6H1L0 5',
  T: 'M0 0H4M2 0V6',
  U: 'M0 0V5L1 6H3L4 5V0',
  V: 'M0 0L2 6L4 0',
  W: 'M0 0L1 6L2 3L3 6L4 0',
  X: 'M0 0L4 6M4 0L0 6',
  Y: 'M0 0L2 3L4 0M2 3V6',
  Z: 'M0 0H4L0 6H4',
  0: 'M1 0H3L4 1V5L3 6H1L0 5V1ZM1 5L3 1',
  1: 'M1 1L2 0V6M1 6H3',
  2: 'M0 1L1 0H3L4 1V2L0 6H4',
  3: 'M0 0H4L2 2.5H3L4 3.5V5L3 6H1L0 5',
  4: 'M3 6V0L0 4H4',
  5: 'M4 0H0V2.5H3L4 3.5V5L3 6H1L0 5',
  6: 'M4 1L3 0H1L0 1V5L1 6H3L4 5V4L3 3H0',
  7: 'M0 0H4L1.5 6',
  8: 'M1 0H3L4 1V2L3 3H1L0 2V1ZM1 3H3L4 4V5L3 6H1L0 5V4Z',
  9: 'M0 5L1 6H3L4 5V1L3 0H1L0 1V2L1 3H4',
  '.': 'M2 5.9V6',
  ',': 'M2 5.5L1.5 6.8',
  ':': 'M2 1.9V2M2 4.9V5',
  '-': 'M1 3H3',
  _: 'M0 6.4H4',
  '/': 'M0 6L4 0',
  '(': 'M3 0L2 1V5L3 6',
  ')': 'M1 0L2 1V5L1 6',
  '%': 'M0 6L4 0M.5 .5V1M3.5 5V5.5',
  '#': 'M1 0V6M3 0V6M0 2H4M0 4H4',
  '+': 'M2 1V5M0 3H4',
  "'": 'M2 0V1.5',
  '"': 'M1.2 0V1.5M2.8 0V1.5',
  '!': 'M2 0V4M2 5.9V6',
  '?': 'M0 1L1 0H3L4 1V2L2 3.5V4M2 5.9V6',
  '…': 'M.3 5.9V6M2 5.9V6M3.7 5.9V6',
};
const UNKNOWN = 'M0 0H4V6H0Z';

/** Width of a line in units of its letter height. */
export function strokeWidth(text: string): number {
  return ([...text].length * 5.5 - 1.5) / 6;
}

/** SVG path of `text` with letters `height` high; the top left corner of the first letter is the origin. */
export function strokePath(text: string, height: number, colour: string): string {
  const scale = height / 6;
  const letters = [...text.toUpperCase()].map((letter, i) => {
    const path = GLYPHS[letter] ?? UNKNOWN;
    return path === ''
      ? ''
      : `<path transform="translate(${round(i * 5.5 * scale)} 0) scale(${round(scale)})" d="${path}"/>`;
  });
  const style = `fill="none" stroke="${colour}" stroke-width="1" stroke-linecap="round" stroke-linejoin="round"`;
  return `<g ${style}>${letters.join('')}</g>`;
}

function round(n: number): number {
  return Math.round(n * 1000) / 1000;
}
