/**
 * Random numbers of sampling: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), a
 * counter-based generator. The draw of step n is a function of the seed and n alone, so a text does not depend on what
 * else is in its batch, and the same seed gives the same text on any machine.
 */

const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;

/** Ten rounds over `counter` (4 words) with `key` (2 words); the result replaces `counter`. */
export function philox(counter: Uint32Array, key: Uint32Array): void {
  let [k0, k1] = [key[0] as number, key[1] as number];
  for (let round = 0; round < 10; round++) {
    const [c0, c1, c2, c3] = counter as unknown as [number, number, number, number];
    counter[0] = high(M1, c2) ^ c1 ^ k0;
    counter[1] = Math.imul(M1, c2);
    counter[2] = high(M0, c0) ^ c3 ^ k1;
    counter[3] = Math.imul(M0, c0);
    k0 = (k0 + W0) >>> 0;
    k1 = (k1 + W1) >>> 0;
  }
}

/** Upper 32 bits of the product of two 32-bit numbers. */
function high(a: number, b: number): number {
  const [ah, al, bh, bl] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
  const low = al * bl;
  const mid = ah * bl + (low >>> 16);
  const mid2 = al * bh + (mid % 65536);
  return ah * bh + Math.floor(mid / 65536) + Math.floor(mid2 / 65536);
}

/** Draws in [0, 1) of one sequence. */
export class Random {
  readonly #key: Uint32Array;
  readonly #counter = new Uint32Array(4);

  constructor(seed: number) {
    this.#key = Uint32Array.of(seed >>> 0, Math.floor(seed / 4294967296) >>> 0);
  }

  /** The draw of step `step`, with 53 bits. */
  at(step: number): number {
    this.#counter.fill(0);
    this.#counter[0] = step;
    philox(this.#counter, this.#key);
    const [a, b] = this.#counter as unknown as [number, number];
    return ((a >>> 5) * 67108864 + (b >>> 6)) / 9007199254740992;
  }
}
