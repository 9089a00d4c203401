import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Tensor } from '../../../src/contracts/tensor.js';
import { ai100Driver } from '../../../src/devices/ai100/index.js';
import { packageRoot } from '../../../src/util/package-root.js';
import { skipped } from '../../skipped.js';
import { rejects } from '../conformance.js';
import { buildRuntime, folder, lacking, languageProgram, visionProgram } from './fake.js';

const test = suite('ai100 session');
const missing = lacking();
const config = { kind: 'ai100' };

if (missing !== null) {
  skipped('compiler', missing);
} else {
  spawnSync(process.execPath, [join(packageRoot(), 'scripts/native/ai100.mjs')], { stdio: 'inherit' });
  const temp = folder();
  const runtime = buildRuntime(temp.path);
  const vision = visionProgram(join(temp.path, 'vision.bin'));
  const language = languageProgram(join(temp.path, 'language.bin'));
  const ids = (...values: number[]): Tensor => ({
    dtype: 'int64',
    dims: [1, values.length],
    data: BigInt64Array.from(values, BigInt),
  });
  const pixels = (tiles: number): Tensor => ({
    dtype: 'float32',
    dims: [tiles, 4],
    data: Float32Array.from({ length: 4 * tiles }, (_, i) => i / 2),
  });

  test.before.each(() => {
    process.env.QAIC_LIB = runtime;
    delete process.env.FAKE_FAIL;
  });
  test.after(() => temp.remove());

  test('devices are listed with the version of the runtime', async () => {
    const devices = await ai100Driver.list();
    assert.is(devices.length, 1);
    assert.is(devices[0]?.id, 'ai100:0');
    assert.is(devices[0]?.details.runtime, '1.22.3 fake');
    assert.is(devices[0]?.emulated, false);
  });

  test('inspecting says what an open session says', async () => {
    const session = await ai100Driver.open({ role: 'language', path: language }, config);
    const inspected = await ai100Driver.inspect({ role: 'language', path: language }, config);
    assert.equal(inspected, session.describe());
    assert.is(inspected.calls, 'padded');
    assert.equal(
      inspected.allowedShapes?.map((s) => [s.name, s.symbols.seq_len, s.symbols.ctx_len]),
      [
        ['Prefill', 8, 32],
        ['Decode', 1, 32],
      ],
    );
    assert.is(inspected.stateBytesPerToken, 2 * 8 * 2);
    await session.close();
    await session.close();
    await rejects(session.activate(), 'DEVICE_CLOSED');
  });

  test('a vision call goes through float16 buffers, in each compiled size', async () => {
    const session = await ai100Driver.open({ role: 'vision', path: vision }, config);
    await session.activate();
    for (const tiles of [2, 3, 2]) {
      const { outputs } = await session.run(null, { pixel_values: pixels(tiles) }, ['vision_embeds']);
      assert.is(outputs.vision_embeds?.dtype, 'float16');
      assert.equal(outputs.vision_embeds?.dims, [tiles, 4]);
      assert.is((outputs.vision_embeds?.data as Uint16Array | undefined)?.[2], 0x3c00);
    }
    const error = await rejects(session.run(null, { pixel_values: pixels(5) }, ['vision_embeds']), 'SHAPE_NOT_ALLOWED');
    assert.match(error.details.expected ?? '', 'pixel_values [2, 4]');
    assert.match(error.details.hint ?? '', 'nearest is Set 1: pixel_values [3, 4]');
    await rejects(session.run(null, { pixel_values: ids(1, 2) }, ['vision_embeds']), 'TENSOR_INVALID');
    await rejects(session.run(null, { pixel_values: pixels(2) }, ['nothing']), 'TENSOR_INVALID');
    await session.close();
  });

  test('caches are skipped, logits are reduced where they lie', async () => {
    const session = await ai100Driver.open({ role: 'language', path: language }, config);
    await session.activate();
    const state = session.createState(1, 32);
    const inputs = { input_ids: ids(0x40000000, 0, 0, 0, 0, 0, 0, 0), position_ids: ids(0, 1, 2, 3, 4, 5, 6, 7) };
    const { outputs, top } = await session.run(state, inputs, ['logits'], { reduce: { kind: 'topk', k: 3 } });
    assert.equal(Array.from(outputs.logits?.data as Float32Array), [2, 0, 0, 0, 0, 0]);
    assert.equal(Array.from(top?.ids ?? []), [0, 1, 2]);
    await rejects(() => session.createState(1, 32), 'STATE_INVALID');
    await rejects(() => session.createState(2, 32), 'STATE_INVALID');
    await rejects(session.run(state, { ...inputs, 'past_key.0': ids(1) }, []), 'TENSOR_INVALID');
    await rejects(session.run(null, inputs, []), 'STATE_INVALID');
    state.release();
    await rejects(session.run(state, inputs, []), 'STATE_INVALID');
    const late = session.createState(1, 32);
    await session.deactivate();
    await session.activate();
    await rejects(session.run(late, inputs, []), 'STATE_INVALID');
    await session.close();
  });

  // The fake counts calls for a whole process: each fault has one of its own.
  const child = (fail: string, role: 'vision' | 'language'): { code: string; text: string } => {
    const script = `
      const { ai100Driver } = await import(${JSON.stringify(join(packageRoot(), '.build/src/devices/ai100/index.js'))});
      const say = (code, text) => process.stdout.write(JSON.stringify({ code, text }));
      try {
        const role = ${JSON.stringify(role)};
        const session = await ai100Driver.open({ role, path: ${JSON.stringify(role === 'vision' ? vision : language)} }, { kind: 'ai100' });
        await session.activate();
        if (role === 'vision') await session.run(null, { pixel_values: { dtype: 'float32', dims: [2, 4], data: new Float32Array(8) } }, ['vision_embeds']);
        else {
          const t = { dtype: 'int64', dims: [1, 1], data: new BigInt64Array(1) };
          const call = () => session.run(session.createState(1, 32), { input_ids: t, position_ids: t }, ['logits']);
          const state = session.createState(1, 32);
          let error;
          try { await session.run(state, { input_ids: t, position_ids: t }, ['logits']); } catch (e) { error = e; }
          state.release();
          await call();
          if (error) throw error;
        }
        await session.close();
        say('none', '');
      } catch (e) { say(e.code ?? 'foreign', e.message); }`;
    const made = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...process.env, FAKE_FAIL: fail, QAIC_LIB: runtime },
      encoding: 'utf8',
      timeout: 20_000,
    });
    assert.is(made.status, 0, made.stderr);
    return JSON.parse(made.stdout);
  };

  test('a vision call is made again once after a device error', () => {
    assert.equal(child('qaicExecObjWaitForCompletion:1:300', 'vision'), { code: 'none', text: '' });
  });

  test('a language call fails with the story, and the session goes on with a new state', () => {
    const said = child('qaicExecObjWaitForCompletion:1:9', 'language');
    assert.is(said.code, 'DEVICE_FAILED');
    assert.match(said.text, 'timed out');
    assert.match(said.text, 'made anew; the state that it kept is lost');
  });

  test('a call that fails while opening has its own error', () => {
    assert.is(child('qaicCreateContext:1:5', 'vision').code, 'DEVICE_UNAVAILABLE');
    assert.is(child('qaicCreateContext:1:1', 'vision').code, 'DEVICE_UNAVAILABLE');
    assert.is(child('qaicOpenQpcFile:1:6', 'vision').code, 'PROGRAM_INVALID');
    assert.match(child('qaicRunActivationCmd:1:500', 'vision').text, '16 cores');
  });

  test('several workers use it at once; threads and the process end in order with programs open', () => {
    const url = JSON.stringify(join(packageRoot(), '.build/src/devices/ai100/index.js'));
    const script = `
      import { Worker } from 'node:worker_threads';
      const source = \`
        import(${url}).then(async ({ ai100Driver }) => {
          for (let round = 0; round < 20; round++) {
            const session = await ai100Driver.open({ role: 'vision', path: ${JSON.stringify(vision)} }, { kind: 'ai100' });
            await session.activate();
            const pixels = { dtype: 'float32', dims: [2, 4], data: new Float32Array(8).fill(round) };
            const { outputs } = await session.run(null, { pixel_values: pixels }, ['vision_embeds']);
            if (outputs.vision_embeds.data.length !== 8) process.exit(3);
            if (round < 15) await session.close();
          }
        }).catch((e) => { console.error(e); process.exit(4); });\`;
      const ends = [1, 2].map(() => new Promise((done) => new Worker(source, { eval: true }).on('exit', done)));
      const codes = await Promise.all(ends);
      if (codes.some((c) => c !== 0)) process.exit(5);
      const { ai100Driver } = await import(${url});
      const left = await ai100Driver.open({ role: 'vision', path: ${JSON.stringify(vision)} }, { kind: 'ai100' });
      await left.activate();
      process.stdout.write('end');`;
    const made = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...process.env, QAIC_LIB: runtime },
      encoding: 'utf8',
      timeout: 30_000,
    });
    assert.is(made.stderr, '');
    assert.is(made.signal, null);
    assert.is(made.status, 0);
    assert.is(made.stdout, 'end');
  });

  test('what is missing is told apart', async () => {
    const open = (): Promise<unknown> => ai100Driver.open({ role: 'vision', path: vision }, config);
    process.env.QAIC_LIB = join(temp.path, 'none.so');
    assert.match((await rejects(open(), 'DEVICE_UNAVAILABLE')).message, 'not installed');
    process.env.QAIC_LIB = vision;
    assert.match((await rejects(open(), 'DEVICE_UNAVAILABLE')).message, 'does not load');
    process.env.QAIC_LIB = buildRuntime(temp.path, 'qaicEnqueueExecObj');
    assert.match((await rejects(open(), 'DEVICE_UNAVAILABLE')).message, 'no qaicEnqueueExecObj');
    process.env.QAIC_LIB = runtime;
    await rejects(ai100Driver.open({ role: 'vision', path: `${vision}.none` }, config), 'MODEL_MISSING');
    await rejects(ai100Driver.open({ role: 'language', path: vision }, config), 'PROGRAM_INVALID');
    const several = ai100Driver.open({ role: 'vision', path: vision }, { kind: 'ai100', ids: [0, 1] });
    assert.match((await rejects(several, 'DEVICE_UNAVAILABLE')).message, 'SDK header');
  });
}

test.run();
