/**
 * Retained state on ONNX Runtime: one buffer per cache tensor, fed as past_* and given as the place of its renewed
 * value, so that a step writes its rows and copies nothing. A cache that something else reads as well (see
 * retained-state.ts) has two buffers that change places after each run.
 */
import type { Tensor as OrtTensor } from 'onnxruntime-node';
import type { DeviceState } from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';
import { type DType, elementCount } from '../../contracts/tensor.js';
import type { Call } from './call.js';
import { allocate, type DTypeArray, ortTensor } from './ort.js';
import type { RetainedPair } from './retained-state.js';

export interface CachePlan {
  readonly pair: RetainedPair;
  readonly dtype: DType;
}

interface Cache {
  readonly plan: CachePlan;
  readonly rowDims: readonly number[];
  front: DTypeArray;
  back: DTypeArray | null;
}

/** The tensors of one state as ONNX Runtime takes them: past_* feeds and where their renewed values go. */
export interface StateTensors {
  readonly feeds: Record<string, OrtTensor>;
  readonly fetches: Record<string, OrtTensor>;
}

export class CpuState implements DeviceState {
  readonly batch: number;
  readonly ctxLen: number;
  readonly owner: object;
  /** What the session prepared for calls on this state. */
  call: Call | null = null;
  readonly #caches: readonly Cache[];
  readonly #parent: CpuState | null;
  readonly #row: number;
  #swaps = 0;
  #seen = 0;
  #tensors: StateTensors | null = null;
  #released = false;
  readonly #rows: (CpuState | undefined)[] = [];

  private constructor(
    owner: object,
    batch: number,
    ctxLen: number,
    caches: readonly Cache[],
    parent: CpuState | null,
    row: number,
  ) {
    this.owner = owner;
    this.batch = batch;
    this.ctxLen = ctxLen;
    this.#caches = caches;
    this.#parent = parent;
    this.#row = row;
  }

  static create(owner: object, plans: readonly CachePlan[], batch: number, ctxLen: number): CpuState {
    checkSlots(plans, ctxLen);
    const caches = plans.map((plan): Cache => {
      const dims = cacheDims(plan, batch, ctxLen);
      const count = elementCount(dims);
      return {
        plan,
        rowDims: dims.slice(1),
        front: allocate(plan.dtype, count),
        back: plan.pair.inPlace ? null : allocate(plan.dtype, count),
      };
    });
    return new CpuState(owner, batch, ctxLen, caches, null, 0);
  }

  get released(): boolean {
    return this.#released || (this.#parent?.released ?? false);
  }

  row(index: number): CpuState {
    if (this.released) throw stateInvalid('A row was asked of a released state', 'a live state', 'a released one');
    if (!Number.isInteger(index) || index < 0 || index >= this.batch) {
      throw stateInvalid('A state has no such row', `a row from 0 to ${this.batch - 1}`, `row ${index}`);
    }
    const fixed = this.#caches.find(
      (c) => c.plan.pair.input.dims[0] !== 1 && typeof c.plan.pair.input.dims[0] === 'number',
    );
    if (fixed !== undefined && this.batch > 1) {
      throw stateInvalid(
        'The program cannot run one row of a batch alone',
        'a symbolic batch axis',
        `${fixed.plan.pair.bare} with ${fixed.plan.pair.input.dims[0]} rows fixed`,
      );
    }
    const known = this.#rows[index];
    if (known !== undefined && !known.#released) return known;
    const root = this.#parent ?? this;
    const view = new CpuState(this.owner, 1, this.ctxLen, this.#caches, root, this.#row + index);
    this.#rows[index] = view;
    return view;
  }

  release(): void {
    this.#released = true;
    this.#tensors = null;
    this.call = null;
    if (this.#parent !== null) return;
    for (const cache of this.#caches) {
      cache.front = allocate(cache.plan.dtype, 0);
      cache.back = null;
    }
  }

  /** Bytes of the caches, both buffers counted. */
  get bytes(): number {
    return this.#caches.reduce((n, c) => n + c.front.byteLength + (c.back?.byteLength ?? 0), 0);
  }

  tensors(): StateTensors {
    const root = this.#parent ?? this;
    if (this.#tensors === null || this.#seen !== root.#swaps) {
      this.#tensors = this.#build();
      this.#seen = root.#swaps;
    }
    return this.#tensors;
  }

  /** Called after each successful run: what was written into the second buffers becomes the state. */
  advance(): void {
    const root = this.#parent ?? this;
    let swapped = false;
    for (const cache of this.#caches) {
      if (cache.back === null) continue;
      if (this.#parent === null) {
        [cache.front, cache.back] = [cache.back, cache.front];
        swapped = true;
      } else {
        // Only this row moved on: the other rows are still in the first buffer.
        const size = elementCount(cache.rowDims);
        const at = this.#row * size;
        cache.front.set(cache.back.subarray(at, at + size) as never, at);
      }
    }
    if (swapped) root.#swaps++;
  }

  #build(): StateTensors {
    const feeds: Record<string, OrtTensor> = {};
    const fetches: Record<string, OrtTensor> = {};
    for (const { plan, rowDims, front, back } of this.#caches) {
      const size = elementCount(rowDims);
      const from = this.#row * size;
      const to = from + this.batch * size;
      const dims = [this.batch, ...rowDims];
      const feed = ortTensor(plan.dtype, front.subarray(from, to), dims);
      feeds[plan.pair.input.name] = feed;
      fetches[plan.pair.output.name] = back === null ? feed : ortTensor(plan.dtype, back.subarray(from, to), dims);
    }
    return { feeds, fetches };
  }
}

/** Single caches may be shorter than the context (chunked attention), but not all of them. */
function checkSlots(plans: readonly CachePlan[], ctxLen: number): void {
  const slots = plans.map(({ pair }) => (typeof pair.input.dims[2] === 'number' ? pair.input.dims[2] : ctxLen));
  const most = Math.max(0, ...slots);
  if (plans.length > 0 && most < ctxLen) {
    throw stateInvalid('The program is made for another context length', `ctx_len up to ${most}`, `ctx_len ${ctxLen}`);
  }
}

/** [batch, heads, slots, head_dim] of a cache; the first symbolic axis is the batch, any other one the slots. */
function cacheDims(plan: CachePlan, batch: number, ctxLen: number): number[] {
  return plan.pair.input.dims.map((d, axis) => {
    const wanted = axis === 0 ? batch : axis === 2 ? ctxLen : null;
    if (typeof d === 'string') return wanted ?? ctxLen;
    if (axis === 0 && d !== batch) {
      throw stateInvalid('The program is made for another batch size', `batch ${d}`, `batch ${batch}`);
    }
    if (axis === 2 && d > ctxLen) {
      throw stateInvalid('The program is made for another context length', `ctx_len ${d}`, `ctx_len ${ctxLen}`);
    }
    return d;
  });
}

export function stateInvalid(what: string, expected: string, received: string): VlmError {
  return new VlmError('STATE_INVALID', { what, expected, received });
}
