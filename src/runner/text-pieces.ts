/**
 * Streamed text on its way out of a worker. Every message wakes the main thread, which costs more than a short token
 * does: the first piece of an item goes out at once, later ones are joined and go out every few milliseconds.
 */
export const TEXT_MS = 16;

export class TextPieces {
  readonly #send: (item: number, piece: string) => void;
  readonly #now: () => number;
  readonly #begun = new Set<number>();
  readonly #held = new Map<number, string>();
  #sent = 0;

  constructor(send: (item: number, piece: string) => void, now: () => number = () => performance.now()) {
    this.#send = send;
    this.#now = now;
  }

  add(item: number, piece: string): void {
    this.#held.set(item, (this.#held.get(item) ?? '') + piece);
    if (this.#begun.has(item)) {
      this.flushDue();
      return;
    }
    this.#begun.add(item);
    this.flush();
  }

  /** Called every step too: a step without text must not hold back what earlier ones gave. */
  flushDue(): void {
    if (this.#held.size > 0 && this.#now() - this.#sent >= TEXT_MS) this.flush();
  }

  flush(): void {
    if (this.#held.size === 0) return;
    for (const [item, piece] of this.#held) this.#send(item, piece);
    this.#held.clear();
    this.#sent = this.#now();
  }
}
