/** The runtime's functions as the kit calls them: memory laid out by hand, statuses looked at. */

import type { Addon, RawWord } from '../library.js';
import { failureLabel } from '../status.js';
import { Deviation } from './types.js';

/** Filled in around what a runtime may write, to see whether it writes more. */
export const CANARY = 0xa5;

export const SUCCESS = 0;
export const NO_DEVICE = 5;
export const TIMED_OUT = 9;
export const DEVICE_ERROR = 300;

export function statusText(call: string, status: number): string {
  return status === SUCCESS ? `${call}: success` : failureLabel({ call, status });
}

/** A pointer that a function writes: 8 bytes and a canary. */
export class Out {
  readonly bytes: Buffer = Buffer.alloc(24, CANARY);

  constructor(readonly width = 8) {
    this.bytes.fill(0, 0, width);
  }

  get value(): bigint {
    return this.bytes.readBigUInt64LE(0);
  }

  /** True while nothing past the value was written. */
  get whole(): boolean {
    return this.bytes.subarray(this.width).every((b) => b === CANARY);
  }
}

export class Runtime {
  readonly #addon: Addon;
  readonly #library: object;

  constructor(addon: Addon, library: object) {
    this.#addon = addon;
    this.#library = library;
  }

  call(name: string, ...words: readonly RawWord[]): number {
    return this.#addon.invoke(this.#library, name, words);
  }

  /** Throws Deviation where the call does not succeed. */
  ok(name: string, ...words: readonly RawWord[]): void {
    this.expect(SUCCESS, name, ...words);
  }

  expect(status: number, name: string, ...words: readonly RawWord[]): void {
    const received = this.call(name, ...words);
    if (received !== status) throw new Deviation(statusText(name, status), statusText(name, received), received);
  }

  /** Any status but success. */
  refused(name: string, ...words: readonly RawWord[]): number {
    const received = this.call(name, ...words);
    if (received === SUCCESS) {
      throw new Deviation(`${name} is refused`, statusText(name, received), received);
    }
    return received;
  }

  address(bytes: Buffer): bigint {
    return this.#addon.address(bytes);
  }

  read(address: bigint, size: number): Buffer | null {
    return address === 0n || size === 0 ? null : this.#addon.readMemory(address, size);
  }

  /** A C string of printable characters, or null. */
  text(address: bigint): string | null {
    const bytes = this.read(address, 256);
    const end = bytes?.indexOf(0) ?? -1;
    if (bytes === null || end < 0) return null;
    const found = bytes.subarray(0, end).toString('utf8');
    return /^[\x20-\x7e]*$/.test(found) ? found : null;
  }
}
