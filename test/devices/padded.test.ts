import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cpuDriver } from '../../src/devices/cpu/index.js';
import { generate } from '../../src/generation/index.js';
import { conformance, fixture, type GoldenCase, golden, goldenRequest, rejects } from './conformance.js';
import { PaddingDriver, type PaddingOptions } from './padding-device.js';

const config = { kind: 'cpu', threads: 1 };
const base: PaddingOptions = {
  batches: [1, 4],
  seqLens: [8, 16],
  ctxLen: golden.ctx,
  visionRows: 16,
  hidden: golden.hidden,
};

for (const [flavour, options] of [
  ['rank3', base],
  ['rank3', { ...base, visionBatch: true }],
  ['rank2', base],
  ['optional', { ...base, contextLengths: [32, golden.ctx] }],
] as const) {
  conformance({
    name: `padded calls, ${flavour}${'visionBatch' in options ? ', vision rows per row' : ''}`,
    driver: new PaddingDriver(cpuDriver, options),
    config,
    language: fixture(`language-${flavour}.onnx`),
    vision: fixture('vision-rank3.onnx'),
    chunks: [8, 16, 13],
    batches: true,
  });
}

const test = suite('padded prefill');
const run = { prefillSeqLen: 8, ctxLen: golden.ctx, maxNewTokens: 4 };
const at = (i: number): GoldenCase => golden.cases[i] as GoldenCase;

test('the last chunk is padded with position -1 and image_idx is carried', async () => {
  const driver = new PaddingDriver(cpuDriver, { ...base, seqLens: [8] });
  const session = await driver.open({ role: 'language', path: fixture('language-rank3.onnx') }, config);
  const [result] = await generate(session, [goldenRequest(at(3))], run);
  const prefill = driver.calls.filter((c) => c.shape === 'Prefill');
  assert.equal(result?.prefillChunks, [8, 8, 8, 4]);
  assert.equal(prefill.at(-1)?.inputs.position_ids, [24, 25, 26, 27, -1, -1, -1, -1]);
  // 2 text, 8 image, 3 text, 4 image, 11 text.
  assert.equal(
    prefill.map((c) => c.inputs.image_idx?.[0]),
    [0, 6, 11, 12],
  );
  await session.close();
});

test('text prompts go together, padded to the longest; the smallest shape that holds the rest is chosen', async () => {
  const driver = new PaddingDriver(cpuDriver, { ...base, batches: [2] });
  const session = await driver.open({ role: 'language', path: fixture('language-rank3.onnx') }, config);
  const results = await generate(session, [goldenRequest(at(0)), goldenRequest(at(1))], { ...run, prefillSeqLen: 16 });
  const prefill = driver.calls.filter((c) => c.shape === 'Prefill');
  assert.is(prefill.length, 1);
  assert.equal(prefill[0]?.inputs.position_ids, [0, -1, -1, -1, -1, -1, -1, -1, 0, 1, 2, 3, 4, 5, 6, -1]);
  assert.equal(Array.from(results[1]?.ids ?? []), at(1).tokens.slice(0, 4));
  await session.close();
});

test('prompts with images share calls when every row has its own vision rows, else go one after another', async () => {
  for (const visionBatch of [false, true]) {
    const driver = new PaddingDriver(cpuDriver, { ...base, batches: [2], seqLens: [32], visionBatch });
    const session = await driver.open({ role: 'language', path: fixture('language-rank3.onnx') }, config);
    const results = await generate(session, [goldenRequest(at(2)), goldenRequest(at(3))], {
      ...run,
      prefillSeqLen: 32,
    });
    assert.is(driver.calls.filter((c) => c.shape === 'Prefill').length, visionBatch ? 1 : 2);
    assert.equal(
      results.map((r) => Array.from(r.ids)),
      [at(2).tokens.slice(0, 4), at(3).tokens.slice(0, 4)],
    );
    await session.close();
  }
});

test('spare rows of a compiled batch stay padded to the end', async () => {
  const driver = new PaddingDriver(cpuDriver, { ...base, batches: [4] });
  const session = await driver.open({ role: 'language', path: fixture('language-rank3.onnx') }, config);
  const [result] = await generate(session, [goldenRequest(at(2))], run);
  assert.equal(Array.from(result?.ids ?? []), at(2).tokens.slice(0, 4));
  for (const { inputs } of driver.calls.filter((c) => c.shape === 'Decode')) {
    assert.equal(inputs.position_ids?.slice(1), [-1, -1, -1]);
  }
  await session.close();
});

test('the least compute context that holds the longest row is chosen at each step', async () => {
  const driver = new PaddingDriver(cpuDriver, { ...base, batches: [1], contextLengths: [golden.ctx, 32] });
  const session = await driver.open({ role: 'language', path: fixture('language-optional.onnx') }, config);
  const [result] = await generate(session, [goldenRequest(at(3))], { ...run, maxNewTokens: 10 });
  assert.equal(Array.from(result?.ids ?? []), at(3).tokens.slice(0, 10));
  const used = driver.calls.map((c) => [c.inputs.position_ids?.[0], c.inputs.comp_ctx_lengths?.length]);
  assert.equal(used.at(4), [28, 32]);
  assert.equal(used.at(7), [31, 32]);
  assert.equal(used.at(8), [32, golden.ctx]);
  await session.close();
});

test('what was not compiled is refused before any call, naming what was', async () => {
  const driver = new PaddingDriver(cpuDriver, { ...base, batches: [1] });
  const session = await driver.open({ role: 'language', path: fixture('language-rank3.onnx') }, config);
  const two = [goldenRequest(at(0)), goldenRequest(at(1))];
  const error = await rejects(generate(session, two, run), 'SHAPE_NOT_ALLOWED');
  assert.match(error.details.expected ?? '', 'batch_size 1');
  await rejects(generate(session, [goldenRequest(at(0))], { ...run, ctxLen: 50 }), 'SHAPE_NOT_ALLOWED');
  await rejects(generate(session, [goldenRequest(at(0))], { ...run, prefillSeqLen: 4 }), 'SHAPE_NOT_ALLOWED');
  assert.is(driver.calls.length, 0);
  await session.close();
});

test.run();
