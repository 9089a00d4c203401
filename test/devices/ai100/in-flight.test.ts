// Several calls of a program at once (queue_depth), and what a step takes from the heap.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { Tensor } from '../../../src/contracts/tensor.js';
import { loadControl } from '../../../src/devices/ai100/emulator/addon.js';
import { writeEmulatedQpc } from '../../../src/devices/ai100/emulator/qpc.js';
import { ai100Driver } from '../../../src/devices/ai100/index.js';
import { loadAddon } from '../../../src/devices/ai100/library.js';
import { packageRoot } from '../../../src/util/package-root.js';
import { skipped } from '../../skipped.js';
import { rejects } from '../conformance.js';
import { suiteOf } from '../suite.js';
import { emulated, type Shapes, unbuilt } from './emulator/programs.js';

const test = suiteOf('calls in flight');
const missing = unbuilt();
const model = join(packageRoot(), 'models', 'shapes-internvl');
const folder = mkdtempSync(join(tmpdir(), 'vlm-in-flight-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

async function echo(role: 'vision' | 'language', shapes: Shapes): Promise<string> {
  const { onnx: _, ...program } = emulated(role, join(model, `${role}.onnx`), shapes);
  const path = join(folder, `${role}-${shapes.half === true}`);
  await writeEmulatedQpc(path, { ...program, compute: 'echo' });
  return path;
}

const config = (depth: number) => ({ kind: 'ai100', emulated: true, queue_depth: depth, timeout_ms: 1500 });
const image = (value: number): { pixel_values: Tensor } => ({
  pixel_values: { dtype: 'float32', dims: [1, 3, 112, 112], data: new Float32Array(3 * 112 * 112).fill(value) },
});
const step = (id: number): Record<string, Tensor> => ({
  image_idx: { dtype: 'int64', dims: [1, 1], data: BigInt64Array.of(0n) },
  input_ids: { dtype: 'int64', dims: [1, 1], data: BigInt64Array.of(BigInt(id)) },
  position_ids: { dtype: 'int64', dims: [1, 1], data: BigInt64Array.of(BigInt(id)) },
});

if (missing === null) {
  const control = loadControl();
  const calls = (name: string): number => control.calls(name);

  test('images: calls begin before the first has ended, each has its own result; one more is refused', async () => {
    const path = await echo('vision', { tiles: [1], rowsPerTile: 16 });
    const session = await ai100Driver.open({ role: 'vision', path }, config(2));
    assert.is(session.callsInFlight, 2);
    await session.activate();
    const names = ['vision_embeds'];
    // The first two never end of themselves: whoever waited for one before the other would not get to the second.
    assert.ok(control.faults('qaicEnqueueExecObj 1 stall; qaicEnqueueExecObj 2 stall'));
    const both = [session.run(null, image(0.25), names), session.run(null, image(0.5), names)];
    await rejects(session.run(null, image(1), names), 'STATE_INVALID');
    await rejects(session.close(), 'STATE_INVALID');
    await rejects(session.deactivate(), 'STATE_INVALID');
    const results = await Promise.all(both);
    assert.equal(
      results.map(({ outputs }) => (outputs.vision_embeds as Tensor).data[7]),
      [0.25, 0.5],
    );
    // Both failed and share one recovery; then each was made again.
    assert.is(calls('qaicCreateProgram'), 1);
    assert.is(calls('qaicEnqueueExecObj'), 4);
    assert.ok(control.faults(''));
    await session.close();
  });

  test('prompts: a state of its own for each, one call at a time in it', async () => {
    const path = await echo('language', { ctxLen: 256, visionRows: 16 });
    const session = await ai100Driver.open({ role: 'language', path }, config(2));
    await session.activate();
    const [first, second] = [session.createState(1, 256), session.createState(1, 256)];
    assert.ok(control.faults(''));
    const ids = await Promise.all([
      session.run(first, step(3), ['logits']),
      session.run(second, step(5), ['logits']),
      rejects(session.run(first, step(4), ['logits']), 'STATE_INVALID'),
    ]);
    const logits = ids.slice(0, 2).map((r) => ('outputs' in r ? (r.outputs.logits as Tensor<'float32'>) : null));
    // The program hands its ids back, bit for bit.
    assert.equal(
      logits.map((t) => (t === null ? -1 : new Int32Array(t.data.buffer, t.data.byteOffset, 1)[0])),
      [3, 5],
    );
    // One fails: the state of the other is gone as well, as the program was made anew.
    assert.ok(control.faults('qaicExecObjWaitForCompletion 1 status 300'));
    await rejects(session.run(first, step(3), []), 'DEVICE_FAILED');
    await rejects(session.run(second, step(3), []), 'STATE_INVALID');
    assert.ok(control.faults(''));
    await session.close();
  });

  for (const [name, half] of [
    ['float32', false],
    ['float16', true],
  ] as const) {
    test(`a thousand steps take nothing from the heap of the binding: ${name}`, async () => {
      const addon = loadAddon();
      const path = await echo('language', { ctxLen: 256, visionRows: 16, half });
      const before = addon.allocations();
      const session = await ai100Driver.open({ role: 'language', path }, config(1));
      assert.ok(addon.allocations() > before, 'opening a program is counted');
      await session.activate();
      const state = session.createState(1, 256);
      const reductions = [{ kind: 'argmax' }, { kind: 'topk', k: 40 }] as const;
      for (const reduce of reductions) await session.run(state, step(1), ['logits'], { reduce });
      for (const reduce of reductions) {
        await session.run(state, step(1), ['logits'], { reduce });
        const start = addon.allocations();
        for (let i = 0; i < 1000; i++) await session.run(state, step(i % 256), ['logits'], { reduce });
        assert.is(addon.allocations() - start, 0, reduce.kind);
      }
      await session.close();
    });
  }
} else {
  skipped('compiler', missing);
}

test.run();
