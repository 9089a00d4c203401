// The emulated card as its users meet it: settings, faults, the latency model, built-in programs, the log.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { ProgramSession } from '../../../../src/contracts/device.js';
import type { Tensor } from '../../../../src/contracts/tensor.js';
import { emulatorLibrary, loadControl } from '../../../../src/devices/ai100/emulator/addon.js';
import { writeEmulatedQpc } from '../../../../src/devices/ai100/emulator/qpc.js';
import { ai100Driver } from '../../../../src/devices/ai100/index.js';
import { loadAddon } from '../../../../src/devices/ai100/library.js';
import { generate } from '../../../../src/generation/index.js';
import { packageRoot } from '../../../../src/util/package-root.js';
import { skipped } from '../../../skipped.js';
import { fixture, type GoldenCase, golden, goldenRequest, rejects } from '../../conformance.js';
import { suiteOf } from '../../suite.js';
import { writeEchoPrograms } from '../faults/programs.js';
import { emulated, unbuilt } from './programs.js';

const test = suiteOf('emulated card, behaviour');
const missing = unbuilt();
const folder = mkdtempSync(join(tmpdir(), 'vlm-behaviour-'));
const vision = join(folder, 'vision');
const language = join(folder, 'language');
const config = { kind: 'ai100', emulated: true };

const pixels: Tensor = { dtype: 'float32', dims: [2, 4], data: Float32Array.of(1, 4, 2, 3, -1, -2, -0.5, -0.5) };
const see = (session: ProgramSession) => session.run(null, { pixel_values: pixels }, ['vision_embeds']);

async function opened(role: 'vision' | 'language', path: string, more: Record<string, unknown> = {}) {
  const session = await ai100Driver.open({ role, path }, { ...config, ...more });
  await session.activate();
  return session;
}

if (missing !== null) {
  skipped('compiler', missing);
} else {
  const control = loadControl();
  test.before(() => writeEchoPrograms(vision, language));
  test.after.each(() => {
    control.faults('');
    control.latency('');
  });
  test.after(() => rmSync(folder, { recursive: true, force: true }));

  test('a lost state, and vision rows that are reset, change the tokens', async () => {
    const path = join(folder, 'rank3');
    const shapes = { seqLens: [8], ctxLen: golden.ctx, visionRows: 16 };
    await writeEmulatedQpc(path, emulated('language', fixture('language-rank3.onnx'), shapes));
    const session = await opened('language', path);
    const source = golden.cases[3] as GoldenCase;
    // Rows pass with every prefill chunk; the second chunk is told to skip them, as the contract allows.
    const skipping: ProgramSession = {
      describe: () => session.describe(),
      activate: () => session.activate(),
      deactivate: () => session.deactivate(),
      createState: (b, c) => session.createState(b, c),
      close: () => session.close(),
      run: (state, { vision_embeds: rows, ...rest }, wanted, options) => {
        const first = Number(rest['position_ids']?.data[0]) === 0;
        return session.run(
          state,
          first && rows !== undefined ? { ...rest, vision_embeds: rows } : rest,
          wanted,
          options,
        );
      },
    };
    const answer = async (): Promise<number[]> => {
      const options = { prefillSeqLen: 8, ctxLen: golden.ctx, maxNewTokens: 24 };
      const [result] = await generate(skipping, [goldenRequest(source)], options);
      return Array.from(result?.ids ?? []);
    };
    assert.equal(await answer(), source.tokens);
    for (const name of ['state-lost', 'skipped-reset']) {
      control.faults(`deviate ${name}`);
      assert.not.equal(await answer(), source.tokens, name);
    }
    control.faults('');
    assert.equal(await answer(), source.tokens);
    await session.close();
  });

  test('the latency model counts a fixed time, bytes and tokens', async () => {
    const session = await opened('vision', vision, { timeout_ms: 150 });
    const text = await opened('language', language, { timeout_ms: 150 });
    const state = () => text.createState(1, 32);
    const one: Tensor = { dtype: 'int64', dims: [1, 1], data: BigInt64Array.of(1n) };
    const say = (own: ReturnType<typeof state>) => text.run(own, { input_ids: one, position_ids: one }, ['logits']);
    control.latency('1000:10:1000');
    await see(session);
    // 64 bytes in and out; past the timeout at 3 seconds.
    for (const model of ['3000000', '0:50000000']) {
      control.latency(model);
      assert.match((await rejects(see(session), 'DEVICE_FAILED')).message, 'timed out');
    }
    control.latency('0:0:3000000');
    await see(session);
    const own = state();
    assert.match((await rejects(say(own), 'DEVICE_FAILED')).message, 'timed out');
    own.release();
    control.latency('');
    await say(state());
    await session.close();
    await text.close();
  });

  test('an argmax program gives the place of the largest of each row', async () => {
    const path = join(folder, 'argmax');
    for (const [dtype, type, width] of [
      ['int32', 6, 4],
      ['int64', 7, 8],
    ] as const) {
      for (const half of [false, true]) {
        const binding = { index: 0, partial: false, quantScale: 0, quantOffset: 0 };
        const input = {
          ...binding,
          name: 'pixel_values',
          direction: 'in',
          dtype: half ? 1 : 0,
          dims: [2, 4],
          size: half ? 16 : 32,
        } as const;
        const output = {
          ...binding,
          index: 1,
          name: 'vision_embeds',
          direction: 'out',
          dtype: type,
          dims: [2],
          size: 2 * width,
        } as const;
        await writeEmulatedQpc(path, {
          role: 'vision',
          name: 'argmax',
          compute: 'argmax',
          cores: 1,
          devices: 1,
          memoryBytes: 1000,
          bindings: [input, output],
          sets: [
            [
              { type: input.dtype, dims: [2, 4] },
              { type, dims: [2] },
            ],
          ],
        });
        const session = await opened('vision', path);
        const { outputs } = await see(session);
        assert.is(outputs['vision_embeds']?.dtype, dtype);
        // The lowest place of a tie.
        assert.equal(Array.from(outputs['vision_embeds']?.data as Int32Array, Number), [1, 2]);
        await session.close();
      }
    }
  });

  test('the thread that computes cannot wait for itself: refused at once', async () => {
    const path = join(folder, 'own');
    const shapes = { tiles: [1], rowsPerTile: 4 };
    await writeEmulatedQpc(path, emulated('vision', fixture('vision-rank3.onnx'), shapes));
    const addon = loadAddon();
    const { library } = addon.openLibrary(emulatorLibrary());
    const executor = control.create();
    assert.is(control.take(executor, 0), null);
    const program = new addon.Program(library as object, [0]);
    assert.is(program.create(join(path, 'programqpc.bin')), null);
    assert.is(program.load(), null);
    const slots = program.allocate(Uint32Array.of(192, 256), 1);
    assert.is(program.activate(), null);
    const words = new Uint32Array(slots?.[0]?.control as ArrayBuffer);
    words.set([192, 4, 4, 1, 3, 4, 4]);
    words.set([256, 3, 4, 1, 4, 16], 11);
    assert.equal(program.runSync(0, 1_000_000), { status: 10, call: 'qaicExecObjWaitForCompletion' });
    control.close(executor);
    assert.is(control.take(executor, 0), false);
    program.release();
  });

  test('an executor that is gone fails the calls under way, and later ones', async () => {
    const path = join(folder, 'orphan');
    await writeEmulatedQpc(path, emulated('vision', fixture('vision-rank3.onnx'), { tiles: [1], rowsPerTile: 4 }));
    const session = await opened('vision', path);
    // Numbers are given one after another: the session's is the one before a new one.
    const next = control.create();
    control.close(next);
    control.close(next - 1);
    const image: Tensor = { dtype: 'float32', dims: [1, 3, 4, 4], data: new Float32Array(48) };
    const call = session.run(null, { pixel_values: image }, ['vision_embeds']);
    assert.match((await rejects(call, 'DEVICE_FAILED')).message, 'status 500');
    await session.close();
    control.take(next, 0);
  });

  test('a program that is made anew keeps its own executor, whatever was opened and closed since', async () => {
    const path = join(folder, 'both');
    await writeEmulatedQpc(path, emulated('vision', fixture('vision-rank3.onnx'), { tiles: [1], rowsPerTile: 4 }));
    const image: Tensor = { dtype: 'float32', dims: [1, 3, 4, 4], data: new Float32Array(48).fill(1) };
    const first = await opened('vision', path);
    const second = await opened('vision', path);
    control.faults('qaicExecObjWaitForCompletion 1 status 300');
    const rows = async () => {
      const { outputs } = await first.run(null, { pixel_values: image }, ['vision_embeds']);
      return Array.from(outputs['vision_embeds']?.data as Float32Array);
    };
    const before = await rows();
    await second.close();
    assert.equal(await rows(), before);
    await first.close();
  });

  test('a program of two cards runs on two, and not on one', async () => {
    const path = join(folder, 'two');
    const shapes = { tiles: [1], rowsPerTile: 4, cores: 16 };
    await writeEmulatedQpc(path, { ...emulated('vision', fixture('vision-rank3.onnx'), shapes), devices: 2 });
    const script = `
      const { ai100Driver } = await import(${JSON.stringify(join(packageRoot(), '.build/src/devices/ai100/index.js'))});
      const said = [];
      for (const ids of [[0, 1], [0], [0, 1, 1], [1, 2]]) {
        try {
          const session = await ai100Driver.open({ role: 'vision', path: ${JSON.stringify(path)} }, { kind: 'ai100', emulated: true, ids });
          await session.activate();
          const pixels = { dtype: 'float32', dims: [1, 3, 4, 4], data: new Float32Array(48) };
          const { outputs } = await session.run(null, { pixel_values: pixels }, ['vision_embeds']);
          said.push(outputs.vision_embeds.data.length);
          await session.close();
        } catch (e) { said.push(e.code); }
      }
      process.stdout.write(JSON.stringify(said));`;
    const env = { ...process.env, VLM_AICEMU_DEVICES: '2' };
    const made = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      env,
      encoding: 'utf8',
      timeout: 60_000,
    });
    assert.equal(JSON.parse(made.stdout), [64, 'DEVICE_FAILED', 'DEVICE_FAILED', 'DEVICE_UNAVAILABLE'], made.stderr);
  });

  test('mutated program files are refused or run, and never end the process', async () => {
    const whole = readFileSync(join(vision, 'programqpc.bin'));
    const path = join(folder, 'mutated.bin');
    let seed = 7;
    const below = (n: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 8) % n;
    };
    const codes = new Map<string, number>();
    for (let i = 0; i < 150; i++) {
      const bytes = Uint8Array.from(whole);
      for (let n = 1 + below(3); n > 0; n--) bytes[below(bytes.length)] = below(256);
      writeFileSync(path, below(8) === 0 ? bytes.subarray(0, below(bytes.length)) : bytes);
      let code = 'ran';
      try {
        const session = await ai100Driver.open({ role: 'vision', path }, config);
        try {
          await session.activate();
          await see(session);
        } finally {
          await session.close();
        }
      } catch (error) {
        code = (error as { code?: string }).code ?? `foreign: ${String(error)}`;
      }
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    const known = ['ran', 'PROGRAM_INVALID', 'SHAPE_NOT_ALLOWED', 'TENSOR_INVALID', 'DEVICE_FAILED', 'STATE_INVALID'];
    for (const code of codes.keys()) assert.ok(known.includes(code), code);
    assert.ok((codes.get('PROGRAM_INVALID') ?? 0) > 25);
    assert.is(control.liveHandles(), 0);
  });
}

test.run();
