/**
 * Port values at a thread boundary. The crossing rule: buffers move only through explicit transfer lists; the last
 * consumer of a value gets the original, every earlier one a copy made when its task is submitted (a queued task is
 * cloned only when it is posted, and by then the original may be gone).
 */
import * as workerThreads from 'node:worker_threads';
import type { NodeInputs, NodeOutputs } from '../contracts/node.js';
import type { PortValue } from '../contracts/ports.js';

type View = ArrayBufferView<ArrayBuffer>;

/** Visits every typed array of a plain-data value. */
function visitViews(value: unknown, visit: (view: View) => void): void {
  if (ArrayBuffer.isView(value)) {
    if (value.buffer instanceof ArrayBuffer) visit(value as View);
  } else if (Array.isArray(value)) {
    for (const v of value) visitViews(v, visit);
  } else if (typeof value === 'object' && value !== null && isPlain(value)) {
    for (const v of Object.values(value)) visitViews(v, visit);
  }
}

function isPlain(value: object): boolean {
  const proto: unknown = Object.getPrototypeOf(value);
  return proto === Object.prototype || proto === null;
}

/** The buffers of a value that may move: each once. */
export function transferList(value: unknown): ArrayBuffer[] {
  const seen = new Set<ArrayBuffer>();
  visitViews(value, (view) => {
    if (view.buffer.byteLength > 0) seen.add(view.buffer);
  });
  return [...seen];
}

/** A copy that shares no memory with the original. Views of a larger buffer shrink to what they show. */
export function copyValue<T>(value: T): T {
  return mapViews(value, () => true) as T;
}

/** Memory that a native library keeps (sharp's pictures): Node 21 and later refuse to move it, where older ones copied. */
function isHeld(buffer: ArrayBuffer): boolean {
  const { isMarkedAsUntransferable: held } = workerThreads as {
    readonly isMarkedAsUntransferable?: (value: object) => boolean;
  };
  return held?.(buffer) ?? false;
}

/**
 * Makes a value safe to transfer: views that show only a part of their buffer (slices, Node's pooled Buffers), views
 * that share one buffer with another view of the value, and views of memory that cannot move get a buffer of their own.
 * The rest is untouched.
 */
export function ownBuffers<T>(value: T): T {
  const uses = new Map<ArrayBuffer, number>();
  visitViews(value, (view) => uses.set(view.buffer, (uses.get(view.buffer) ?? 0) + 1));
  const shares = (view: View): boolean =>
    view.byteLength !== view.buffer.byteLength || (uses.get(view.buffer) ?? 0) > 1;
  return mapViews(value, (view) => shares(view) || isHeld(view.buffer)) as T;
}

function mapViews(value: unknown, copies: (view: View) => boolean): unknown {
  if (ArrayBuffer.isView(value)) {
    if (!(value.buffer instanceof ArrayBuffer)) return copyView(value);
    return copies(value as View) ? copyView(value) : value;
  }
  if (Array.isArray(value)) return value.map((v) => mapViews(v, copies));
  if (typeof value === 'object' && value !== null && isPlain(value)) {
    const out: Record<string, unknown> = {};
    for (const [k, v] of Object.entries(value)) out[k] = mapViews(v, copies);
    return out;
  }
  return value;
}

function copyView(view: ArrayBufferView): ArrayBufferView {
  // Buffer.prototype.slice is a view of the same memory, so a Buffer becomes a plain Uint8Array.
  if (view instanceof Uint8Array) return new Uint8Array(view);
  if (view instanceof DataView) {
    return new DataView(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
  }
  return (view as Float32Array).slice();
}

/** The first thing in a node's output that cannot cross threads or be recorded, as a path, or null. */
export function uncloneable(value: unknown, path: string, within: readonly object[] = []): string | null {
  if (['function', 'symbol', 'bigint'].includes(typeof value)) return `${path} (${typeof value})`;
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return null;
  if (!Array.isArray(value) && !isPlain(value)) return `${path} (${value.constructor?.name ?? 'object'})`;
  if (within.includes(value)) return `${path} (it holds itself)`;
  const outer = [...within, value];
  for (const [key, inner] of Object.entries(value)) {
    const found = uncloneable(inner, Array.isArray(value) ? `${path}[${key}]` : `${path}.${key}`, outer);
    if (found !== null) return found;
  }
  return null;
}

/** Bytes of all typed arrays of a value. */
export function byteSize(value: unknown): number {
  let bytes = 0;
  visitViews(value, (view) => {
    bytes += view.byteLength;
  });
  return bytes;
}

export type { NodeInputs, NodeOutputs, PortValue };
