import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { ProgramRole } from '../../../../src/contracts/device.js';
import { isEmulatedFile } from '../../../../src/devices/ai100/description.js';
import { startEmulatorExecutor } from '../../../../src/devices/ai100/emulator/control.js';
import { type EmulatedQpc, writeEmulatedQpc } from '../../../../src/devices/ai100/emulator/qpc.js';
import { ai100Driver } from '../../../../src/devices/ai100/index.js';
import { decodeIoDesc } from '../../../../src/devices/ai100/io-desc.js';
import { visionInputs } from '../../../../src/families/internvl/programs.js';
import { generate } from '../../../../src/generation/index.js';
import { skipped } from '../../../skipped.js';
import { fixture, type GoldenCase, golden, goldenRequest, rejects } from '../../conformance.js';
import { suiteOf } from '../../suite.js';
import { emulated, unbuilt } from './programs.js';

const test = suiteOf('emulated card');
const root = mkdtempSync(join(tmpdir(), 'vlm-emulator-'));
const config = { kind: 'ai100', emulated: true };

const program = (role: ProgramRole, path: string, cores: number): EmulatedQpc =>
  emulated(role, path, { batches: [1, 4], seqLens: [8, 16], ctxLen: golden.ctx, visionRows: 16, cores });

const missing = unbuilt();
test.after(() => rmSync(root, { recursive: true, force: true }));

test('a written program holds its descriptor and its graph', async () => {
  const made = program('language', fixture('language-external.onnx'), 16);
  const folder = join(root, 'written');
  await writeEmulatedQpc(folder, made);
  const bytes = readFileSync(join(folder, 'programqpc.bin'));
  assert.is(bytes.subarray(0, 8).toString(), 'VLMEMQPC');
  const text = bytes.readUInt32LE(12);
  const io = decodeIoDesc(bytes.subarray(20 + text));
  assert.equal(
    io.bindings.map((b) => [b.name, b.size]),
    made.bindings.map((b) => [b.name, b.size]),
  );
  assert.is(io.allowedShapes.length, made.sets.length);
  assert.ok(existsSync(join(folder, 'language-external.onnx.data')));
});

test('a program larger than what can be read at once is opened by its first bytes', () => {
  const file = join(root, 'large.bin');
  writeFileSync(file, 'VLMEMQPC');
  // Sparse: takes no room.
  truncateSync(file, 5 * 2 ** 30);
  assert.is(isEmulatedFile(file), true);
  writeFileSync(file, 'short');
  assert.is(isEmulatedFile(file), false);
});

if (missing === null) {
  test('an image is padded to the smallest compiled count of tiles that holds it', async () => {
    const shapes = { tiles: [1, 3, 7], rowsPerTile: golden.rowsPerTile };
    const path = join(root, 'counts');
    await writeEmulatedQpc(path, emulated('vision', fixture('vision-rank3.onnx'), shapes));
    const program = await ai100Driver.inspect({ role: 'vision', path }, config);
    for (const [tiles, padded] of [
      [1, 1],
      [2, 3],
      [3, 3],
      [4, 7],
    ] as const) {
      const data = new Float32Array(tiles * 48);
      const { pixel_values } = visionInputs({ dtype: 'float32', dims: [tiles, 3, 4, 4], data }, program);
      assert.is(pixel_values?.dims[0], padded);
    }
  });

  test('an executor starts and ends', async () => {
    const executor = await startEmulatorExecutor();
    await executor.close();
  });

  test('the tokens of the reference, in batches too, through the binding', async () => {
    const folder = join(root, 'language');
    await writeEmulatedQpc(folder, program('language', fixture('language-rank3.onnx'), 16));
    const session = await ai100Driver.open({ role: 'language', path: folder }, config);
    assert.ok(session.describe().emulated);
    await session.activate();
    const options = { prefillSeqLen: 8, ctxLen: golden.ctx, maxNewTokens: 24 };
    for (const c of golden.cases) {
      const [result] = await generate(session, [goldenRequest(c)], options);
      assert.equal(Array.from(result?.ids ?? []), c.tokens);
    }
    const cases = golden.cases.slice(0, 4) as readonly GoldenCase[];
    const results = await generate(session, cases.map(goldenRequest), options);
    assert.equal(
      results.map((r) => Array.from(r.ids)),
      cases.map((c) => c.tokens),
    );
    // A card of 16 cores has no room for a second program until the first is deactivated.
    const other = await ai100Driver.open({ role: 'language', path: folder }, config);
    await rejects(other.activate(), 'DEVICE_FAILED');
    await session.deactivate();
    await other.activate();
    await other.deactivate();
    await other.close();
    await session.close();
  });
} else {
  skipped('compiler', missing);
}

test.run();
