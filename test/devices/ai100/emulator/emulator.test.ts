import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ProgramRole } from '../../../../src/contracts/device.js';
import { elementCount } from '../../../../src/contracts/tensor.js';
import { startEmulatorExecutor } from '../../../../src/devices/ai100/emulator/control.js';
import { type EmulatedQpc, writeEmulatedQpc } from '../../../../src/devices/ai100/emulator/qpc.js';
import { ai100Driver } from '../../../../src/devices/ai100/index.js';
import { decodeIoDesc } from '../../../../src/devices/ai100/io-desc.js';
import { readProgram } from '../../../../src/devices/cpu/program.js';
import { generate } from '../../../../src/generation/index.js';
import { fixture, type GoldenCase, golden, goldenRequest, rejects } from '../../conformance.js';

const test = suite('emulated card');
const root = mkdtempSync(join(tmpdir(), 'vlm-emulator-'));
const config = { kind: 'ai100', emulated: true };
const TYPES: Readonly<Record<string, number>> = { float32: 0, float16: 1, int32: 6, int64: 7 };
const WIDTHS: Readonly<Record<number, number>> = { 0: 4, 1: 2, 6: 4, 7: 8 };

function axis(name: string, port: string, at: number, batch: number, seq: number): number {
  if (port === 'vision_embeds' || port === 'vision_embeds_RetainedState') return at === 0 ? 1 : 16;
  if (port.startsWith('past_')) return at === 0 ? batch : golden.ctx;
  if (port === 'logits') return at === 0 ? batch : 1;
  if (port.startsWith('image_idx')) return 1;
  return name.includes('batch') || at === 0 ? batch : seq;
}

function program(role: ProgramRole, path: string, cores: number): EmulatedQpc {
  const { inputs, outputs } = readProgram({ role, path });
  const ports = [...inputs, ...outputs];
  const sets = [
    [1, 8],
    [1, 16],
    [1, 1],
    [4, 8],
    [4, 16],
    [4, 1],
  ].map(([batch = 1, seq = 1]) =>
    ports.map((p) => ({
      type: TYPES[p.dtype] ?? 0,
      dims: p.dims.map((d, i) => (typeof d === 'number' ? d : axis(d, p.name, i, batch, seq))),
    })),
  );
  const bytes = (set: number, i: number): number =>
    elementCount(sets[set]?.[i]?.dims ?? []) * (WIDTHS[sets[set]?.[i]?.type ?? 0] ?? 4);
  return {
    role,
    name: role,
    compute: 'executor',
    cores,
    devices: 1,
    memoryBytes: 1_000_000,
    onnx: path,
    sets,
    bindings: ports.map((p, index) => ({
      name: p.name,
      index,
      direction: index < inputs.length ? 'in' : 'out',
      dtype: TYPES[p.dtype] ?? 0,
      dims: sets[4]?.[index]?.dims ?? [],
      size: Math.max(...sets.map((_, s) => bytes(s, index))),
      partial: /^past_|_RetainedState$|^vision_embeds$/.test(p.name),
      quantScale: 0,
      quantOffset: 0,
    })),
  };
}

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

test.run();
