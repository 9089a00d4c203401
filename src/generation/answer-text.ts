/**
 * The text of one answer while it grows: pieces are handed out as soon as no stop string can begin in them, and the
 * text ends exactly before the first stop string. A second text keeps special tokens and is cut at the same place.
 */
import type { TextStream } from '../contracts/node.js';

export class AnswerText {
  readonly #visible: TextStream;
  readonly #raw: TextStream;
  readonly #stops: readonly string[];
  /** Decoded but not handed out yet: it may be the beginning of a stop string. */
  #held = '';
  #text = '';
  #rawPieces: { readonly at: number; readonly visible: number; readonly text: string }[] = [];
  #decoded = 0;
  #stopped = false;

  constructor(visible: TextStream, raw: TextStream, stops: readonly string[]) {
    this.#visible = visible;
    this.#raw = raw;
    this.#stops = stops.filter((s) => s.length > 0);
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  /** Text that can be shown now. Sets `stopped` when a stop string is complete. */
  push(id: number): string {
    return this.#take(this.#visible.push(id), this.#raw.push(id));
  }

  /** The sequence has ended: what was held back, up to a stop string. */
  end(): string {
    if (this.#stopped) return '';
    const piece = this.#take(this.#visible.flush(), this.#raw.flush());
    if (this.#stopped) return piece;
    const rest = this.#held;
    this.#held = '';
    this.#text += rest;
    return piece + rest;
  }

  get text(): string {
    return this.#text;
  }

  get rawText(): string {
    const end = this.#text.length;
    let out = '';
    for (const { at, visible, text } of this.#rawPieces) {
      if (at + visible <= end) {
        // A special token right behind the cut belongs to the stop string's side when text follows before it.
        out += text;
        continue;
      }
      if (at < end) out += text.slice(0, end - at);
      break;
    }
    return out;
  }

  #take(piece: string, raw: string): string {
    if (raw !== '' || piece !== '') {
      this.#rawPieces.push({ at: this.#decoded, visible: piece.length, text: raw });
    }
    this.#decoded += piece.length;
    if (piece === '') return '';
    this.#held += piece;
    const cut = this.#firstStop();
    if (cut >= 0) {
      this.#stopped = true;
      return this.#release(cut);
    }
    return this.#release(this.#held.length - this.#beginning());
  }

  #release(length: number): string {
    const out = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    this.#text += out;
    return out;
  }

  #firstStop(): number {
    let first = -1;
    for (const stop of this.#stops) {
      const at = this.#held.indexOf(stop);
      if (at >= 0 && (first < 0 || at < first)) first = at;
    }
    return first;
  }

  /** Length of the longest end of the held text that a stop string begins with. */
  #beginning(): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let n = Math.min(stop.length - 1, this.#held.length); n > longest; n--) {
        if (this.#held.endsWith(stop.slice(0, n))) {
          longest = n;
          break;
        }
      }
    }
    return longest;
  }
}
