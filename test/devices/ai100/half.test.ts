import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadAddon } from '../../../src/devices/ai100/library.js';
import { argmax, topk } from '../../../src/devices/cpu/reduce.js';
import { packageRoot } from '../../../src/util/package-root.js';
import { skipped } from '../../skipped.js';
import { buildRuntime, folder, lacking, visionProgram } from './fake.js';

const test = suite('ai100 numbers');
const missing = lacking();

/** The nearest of all halves, by search: shares nothing with the conversion under test. */
function nearest(table: readonly number[], value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const negative = value < 0 || Object.is(value, -0);
  const sign = negative ? 0x8000 : 0;
  const size = Math.abs(value);
  let [low, high] = [0, 0x7c00];
  // Infinity stands where the next finite value would: 65536.
  const at = (i: number): number => (i === 0x7c00 ? 65536 : (table[i] as number));
  if (size >= 65536) return sign | 0x7c00;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (at(middle) <= size) low = middle;
    else high = middle;
  }
  const [down, up] = [size - at(low), at(high) - size];
  return sign | (down < up || (down === up && low % 2 === 0) ? low : high);
}

if (missing !== null) skipped('compiler', missing);
else {
  spawnSync(process.execPath, [join(packageRoot(), 'scripts/native/ai100.mjs')], { stdio: 'inherit' });
  const addon = loadAddon();
  const halves = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const exact = Array.from(halves, (h) => {
    const [e, m] = [(h >> 10) & 31, h & 1023];
    const size =
      e === 31
        ? m === 0
          ? Number.POSITIVE_INFINITY
          : Number.NaN
        : e === 0
          ? m * 2 ** -24
          : (1 + m / 1024) * 2 ** (e - 15);
    return h & 0x8000 ? -size : size;
  });

  for (const portable of [false, true]) {
    const way = portable ? 'portable' : addon.isa;
    test(`every half becomes its float (${way})`, () => {
      const floats = new Float32Array(65536);
      addon.toFloats(halves, floats, portable);
      for (let i = 0; i < 65536; i++) {
        if (!Object.is(floats[i], exact[i])) assert.unreachable(`half ${i}: ${floats[i]}, expected ${exact[i]}`);
      }
    });

    test(`floats become the nearest half, ties to even (${way})`, () => {
      const values: number[] = [0, -0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e-45, 3e38];
      const bits = new Uint32Array(1);
      const float = new Float32Array(bits.buffer);
      // Every half, the tie above it, and the floats beside both.
      for (let h = 0; h < 0x7c00; h++) {
        const tie = ((exact[h] as number) + (h === 0x7bff ? 65536 : (exact[h + 1] as number))) / 2;
        for (const v of [exact[h] as number, tie]) {
          float[0] = v;
          const base = bits[0] as number;
          for (const d of [-1, 0, 1]) {
            if (base + d < 0) continue;
            bits[0] = base + d;
            values.push(float[0] as number, -(float[0] as number));
          }
        }
      }
      const from = Float32Array.from(values);
      const into = new Uint16Array(from.length);
      addon.toHalves(from, into, portable);
      for (const [i, v] of from.entries()) {
        const given = into[i] as number;
        const expected = nearest(exact, v);
        if (given !== expected) assert.unreachable(`${v} became ${given}, expected ${expected}`);
      }
    });
  }

  test('arrays that are too short and of the wrong kind are refused', () => {
    assert.throws(() => addon.toFloats(new Uint16Array(2), new Float32Array(1)));
    assert.throws(() => addon.toHalves(new Float32Array(1), new Float32Array(1) as never));
  });

  test('argmax and top-k choose as the cpu device does, in both widths', () => {
    const temp = folder();
    const opened = addon.openLibrary(buildRuntime(temp.path));
    const program = new addon.Program(opened.library as object, [0]);
    assert.is(program.create(visionProgram(join(temp.path, 'v.bin'))), null);
    const [width, rows] = [37, 3];
    const buffers = program.allocate(Uint32Array.of(width * rows * 4, width * rows * 2), 1)?.[0]?.buffers ?? [];
    const wide = new Float32Array(buffers[0] as ArrayBuffer);
    const narrow = new Uint16Array(buffers[1] as ArrayBuffer);
    const odd = [Number.NaN, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, 0, -0, 1, 1];
    for (let round = 0; round < 60; round++) {
      for (let i = 0; i < wide.length; i++) {
        const pick = round < 2 ? round : round < 20 ? i * 7 + round : (i * 31 + round * round) % 50;
        wide[i] = pick < odd.length ? (odd[pick] as number) : ((i * 13 + round) % 11) / 2;
      }
      addon.toHalves(wide, narrow);
      for (const k of [1, 2, 5, width]) {
        const expected = { ids: new Int32Array(rows * k), values: new Float32Array(rows * k) };
        for (let r = 0; r < rows; r++) {
          if (k > 1) topk(wide, r, width, k, expected.ids, expected.values);
          else {
            const best = argmax(wide, r, width);
            expected.ids[r] = best;
            expected.values[r] = wide[r * width + best] as number;
          }
        }
        for (const half of [false, true]) {
          const given = { ids: new Int32Array(rows * k), values: new Float32Array(rows * k) };
          program.best(0, Uint32Array.of(half ? 1 : 0, half ? 1 : 0, rows, width, k), given.ids, given.values);
          assert.equal(Array.from(given.ids), Array.from(expected.ids));
          assert.equal(Array.from(given.values), Array.from(expected.values));
        }
      }
    }
    assert.throws(() => program.best(0, Uint32Array.of(1, 0, rows, width, 1), new Int32Array(3), new Float32Array(3)));
    assert.throws(() => program.runSync(1, 1000));
    assert.is(program.runSync(0, 1000)?.call, 'inactive');
    assert.is(program.release(), null);
    temp.remove();
  });
}

test.run();
