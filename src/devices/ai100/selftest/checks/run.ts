/** Executions: values, sizes, shapes, precision, several at a time. */

import { elementCount } from '../../../../contracts/tensor.js';
import { floatsToHalves, halvesToFloats } from '../../../../util/float16.js';
import { elementBytes } from '../../description.js';
import type { Call, Shapes } from '../call.js';
import type { Kit } from '../kit.js';
import { DEVICE_ERROR, SUCCESS, statusText } from '../runtime.js';
import { type Check, Deviation, FACTS, type ProgramFacts, Undecided } from '../types.js';

/** Exact in float16: the compiler may compute in it whatever the boundary. */
const seed = (start: number, count: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => ((start + i * 7) % 64) / 4 - 8);

export function setOf(facts: ProgramFacts, at: number): Shapes {
  const sets = [...facts.sets].sort((a, b) => total(b) - total(a));
  const set = sets[at];
  if (set === undefined) throw new Undecided('the program was compiled for fewer shapes than the check needs');
  return set;
}

function total(set: Shapes): number {
  return Object.values(set).reduce((n, dims) => n + elementCount(dims), 0);
}

/** Runs an echo and compares, for a program of the kit; for another one it must only succeed. */
export function echo(call: Call, facts: ProgramFacts, shapes: Shapes, start: number): void {
  const what = 'the execution succeeds';
  if (!facts.own) {
    call.runs({ shapes }, what);
    return;
  }
  fill(call, shapes, start);
  call.runs({ shapes }, what);
  compare(call, shapes, start);
}

export function fill(call: Call, shapes: Shapes, start: number): void {
  const floats = seed(start, elementCount(shapes['plain'] ?? []));
  bytesOf(floats).copy(call.memory('plain'));
  bytesOf(floatsToHalves(seed(start + 1, elementCount(shapes['pixel_values'] ?? [])))).copy(
    call.memory('pixel_values'),
  );
  for (const name of ['plain_out', 'vision_embeds']) call.memory(name).fill(0xee);
}

export function compare(call: Call, shapes: Shapes, start: number): void {
  const plain = seed(start, elementCount(shapes['plain'] ?? []));
  const half = floatsToHalves(seed(start + 1, elementCount(shapes['pixel_values'] ?? [])));
  same('plain_out', bytesOf(plain), call.memory('plain_out'), 4);
  same('vision_embeds', bytesOf(half), call.memory('vision_embeds'), 2);
}

function same(name: string, wanted: Buffer, memory: Buffer, width: number): void {
  const found = memory.subarray(0, wanted.length);
  for (let at = 0; at < wanted.length; at += width) {
    const [a, b] = [wanted.subarray(at, at + width), found.subarray(at, at + width)];
    if (!a.equals(b)) {
      const untouched = memory.every((byte) => byte === 0xee);
      const received = untouched ? 'the buffer as it was' : `bytes ${b.toString('hex')}`;
      throw new Deviation(`${name}[${at / width}]: bytes ${a.toString('hex')}`, received, SUCCESS);
    }
  }
}

export function bytesOf(values: Float32Array | Uint16Array | BigInt64Array): Buffer {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
}

export function started(kit: Kit): { readonly facts: ProgramFacts; readonly call: Call } {
  const facts = kit.facts('any');
  return { facts, call: kit.exec(kit.open(facts)) };
}

const needs = ['program/lifecycle', 'io/allowed-shapes'];

export const RUN_CHECKS: readonly Check[] = [
  {
    name: 'run/echo',
    assumption: 'setData, enqueue, wait; outputs are then in the heap buffers (type 0) that setData named',
    source: FACTS.runtime,
    needs,
    program: 'any',
    run: (kit) => {
      const { facts, call } = started(kit);
      for (const start of [0, 3]) echo(call, facts, setOf(facts, 0), start);
      const received = facts.own ? 'the values came back, twice' : 'two executions; values are not known';
      return { received, status: SUCCESS };
    },
  },
  {
    name: 'run/size-of-the-shape',
    assumption: 'buffers made once at the largest shape serve smaller ones: only size and dims change',
    source: FACTS.field,
    needs: ['run/echo'],
    program: 'any',
    run: (kit) => {
      const { facts, call } = started(kit);
      const [large, small] = [setOf(facts, 0), setOf(facts, 1)];
      for (const [start, shapes] of [small, large, small].entries()) echo(call, facts, shapes, start);
      return { received: 'small, large, small: right', status: SUCCESS };
    },
  },
  {
    name: 'run/size-too-small',
    assumption: 'a buffer smaller than its shape is refused',
    source: FACTS.field,
    needs: ['run/echo'],
    program: 'any',
    run: (kit) => wrongSize(kit, 0, (bytes, width) => bytes - width),
  },
  {
    name: 'run/size-too-large',
    assumption: 'a buffer of the largest shape’s size with the dims of a smaller one is refused',
    source: FACTS.field,
    needs: ['run/echo'],
    program: 'echo',
    run: (kit) => wrongSize(kit, 1, (_, __, most) => most),
  },
  {
    name: 'run/skipped-not-allowed',
    assumption: 'a buffer that is neither retained state nor partial cannot be skipped',
    source: FACTS.field,
    needs: ['run/echo'],
    program: 'echo',
    run: (kit) => {
      const { facts, call } = started(kit);
      const done = call.run({ shapes: setOf(facts, 0), skipped: new Set(['plain']) });
      if (done.status === SUCCESS) throw new Deviation('skipping `plain` is refused', 'success', SUCCESS);
      return { received: statusText(done.call, done.status), status: done.status };
    },
  },
  {
    name: 'precision/f16',
    assumption: 'data type 1 is IEEE half, two bytes, little-endian',
    source: FACTS.runtime,
    needs: ['run/echo'],
    program: 'echo',
    run: (kit) => {
      const { facts, call } = started(kit);
      const shapes = setOf(facts, 0);
      fill(call, shapes, 0);
      const values = [1, -2, 0.5, 65504, -65504, 2 ** -14, 1 / 3, 1 + 2 ** -10, 0, -0, 3.140625, 2048];
      const halves = floatsToHalves(Float32Array.from(values));
      bytesOf(halves).copy(call.memory('pixel_values'));
      call.runs({ shapes }, 'the execution succeeds');
      same('vision_embeds', bytesOf(halves), call.memory('vision_embeds'), 2);
      return { received: `${values.length} values, among them the largest and the smallest normal`, status: SUCCESS };
    },
  },
  {
    name: 'precision/f32',
    assumption: 'data type 0 is float32 at the boundary; inside, no less than float16 is computed with',
    source: FACTS.runtime,
    needs: ['run/echo'],
    program: 'echo',
    run: (kit) => {
      const { facts, call } = started(kit);
      const shapes = setOf(facts, 0);
      fill(call, shapes, 0);
      const values = Float32Array.from({ length: elementCount(shapes['plain'] ?? []) }, (_, i) => (i + 1) / 3);
      bytesOf(values).copy(call.memory('plain'));
      call.runs({ shapes }, 'the execution succeeds');
      const memory = call.memory('plain_out');
      const worst = Math.max(...[...values].map((v, i) => Math.abs(memory.readFloatLE(i * 4) - v) / v));
      // Half a unit in the last place of float16: what one rounding to it may cost.
      if (!(worst <= 2 ** -11)) {
        throw new Deviation('relative error of at most 2^-11', worst.toExponential(2), SUCCESS);
      }
      const halves = halvesToFloats(floatsToHalves(values));
      const exact = worst === 0 ? 'exact' : values.some((v, i) => v !== halves[i]) ? 'rounded as float16' : 'near';
      return { received: `${exact}, largest relative error ${worst.toExponential(2)}`, status: SUCCESS };
    },
  },
  {
    name: 'queue/several-in-flight',
    assumption: 'exec objects of one program are enqueued before the first is waited for, each with buffers of its own',
    source: FACTS.programs,
    needs: ['run/echo'],
    program: 'any',
    run: (kit) => {
      const facts = kit.facts('any');
      const opened = kit.open(facts);
      const shapes = setOf(facts, 0);
      const calls = [0, 1, 2].map(() => kit.exec(opened));
      for (const [i, call] of calls.entries()) {
        if (facts.own) fill(call, shapes, i * 5);
        good('qaicExecObjSetDataExt', call.setData({ shapes }));
      }
      for (const call of calls) good('qaicEnqueueExecObj', call.enqueue());
      for (const call of calls) good('qaicExecObjWaitForCompletion', call.wait());
      if (facts.own) for (const [i, call] of calls.entries()) compare(call, shapes, i * 5);
      return { received: 'three in flight, each right', status: SUCCESS };
    },
  },
];

function good(call: string, status: number): void {
  if (status !== SUCCESS) throw new Deviation(statusText(call, SUCCESS), statusText(call, status), status);
}

function wrongSize(
  kit: Kit,
  set: number,
  size: (bytes: number, width: number, most: number) => number,
): { received: string; status: number } {
  const { facts, call } = started(kit);
  const shapes = setOf(facts, set);
  const port = call.ports.find((p) => {
    if (p.binding.direction !== 'in' || p.name.startsWith('past_')) return false;
    const bytes = elementCount(shapes[p.name] ?? p.binding.dims) * elementBytes(p.binding.type);
    return size(bytes, 1, p.bytes) !== bytes;
  });
  if (port === undefined) throw new Undecided('no input whose size differs from the shape’s');
  if (facts.own) fill(call, shapes, 0);
  const width = elementBytes(port.binding.type);
  const bytes = elementCount(shapes[port.name] ?? port.binding.dims) * width;
  const given = size(bytes, width, port.bytes);
  const done = call.run({ shapes, sizes: { [port.name]: given } });
  if (done.status === SUCCESS) {
    throw new Deviation(`${port.name}: ${given} bytes for a shape of ${bytes} is refused`, 'success', SUCCESS);
  }
  return { received: statusText(done.call, done.status), status: done.status };
}

/** Within the buffers, and in no list: one row less than the largest. */
function unlisted(facts: ProgramFacts): Shapes {
  const set = setOf(facts, 0);
  if (facts.own) {
    return Object.fromEntries(Object.entries(set).map(([n, [rows = 0, ...rest]]) => [n, [rows - 1, ...rest]]));
  }
  for (const { name, direction } of facts.ports) {
    const dims = set[name] ?? [];
    const axis = dims.findIndex((d) => d > 2);
    if (direction === 'out' || name.startsWith('past_') || axis < 0) continue;
    const less = dims.map((d, i) => (i === axis ? d - 1 : d));
    if (!facts.sets.some((s) => (s[name] ?? []).join() === less.join())) return { ...set, [name]: less };
  }
  throw new Undecided('every smaller shape of this program was compiled');
}

export const SHAPE_CHECKS: readonly Check[] = [
  {
    name: 'shape/unlisted-enqueued',
    assumption: 'a shape that was not compiled passes setData and enqueue',
    source: FACTS.field,
    needs: ['run/size-of-the-shape'],
    program: 'any',
    run: (kit) => {
      const { facts, call } = started(kit);
      good('qaicExecObjSetDataExt', call.setData({ shapes: unlisted(facts) }));
      good('qaicEnqueueExecObj', call.enqueue());
      call.wait();
      return { received: 'both succeeded', status: SUCCESS };
    },
  },
  {
    name: 'shape/unlisted-refused-300',
    assumption: 'completion of a shape that was not compiled answers 300',
    source: FACTS.field,
    needs: ['shape/unlisted-enqueued'],
    program: 'any',
    run: (kit) => {
      const { facts, call } = started(kit);
      call.setData({ shapes: unlisted(facts) });
      call.enqueue();
      const status = call.wait();
      const name = 'qaicExecObjWaitForCompletion';
      if (status !== DEVICE_ERROR) {
        throw new Deviation(statusText(name, DEVICE_ERROR), statusText(name, status), status);
      }
      return { received: statusText(name, status), status };
    },
  },
  {
    name: 'recovery/refused-after-error',
    assumption: 'after a device error the program runs no more until it is made anew',
    source: FACTS.field,
    needs: ['shape/unlisted-refused-300'],
    program: 'any',
    run: (kit) => {
      const { facts, call } = started(kit);
      call.run({ shapes: unlisted(facts) });
      const { call: name, status } = call.run({ shapes: setOf(facts, 0) });
      if (status === SUCCESS) throw new Deviation('the next execution is refused', 'success', status);
      return { received: statusText(name, status), status };
    },
  },
  {
    name: 'recovery/made-anew',
    assumption: 'after a device error: exec object released, program deactivated, released, created anew; then it runs',
    source: FACTS.field,
    needs: ['shape/unlisted-refused-300', 'swap/deactivate-frees'],
    program: 'any',
    run: (kit) => {
      const facts = kit.facts('any');
      const opened = kit.open(facts);
      const call = kit.exec(opened);
      call.run({ shapes: unlisted(facts) });
      kit.end();
      echo(kit.exec(kit.open(facts)), facts, setOf(facts, 0), 1);
      return { received: 'runs again', status: SUCCESS };
    },
  },
];
