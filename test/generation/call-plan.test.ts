import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cpuDriver } from '../../src/devices/cpu/index.js';
import { planPromptCalls } from '../../src/generation/call-plan.js';
import { generate } from '../../src/generation/index.js';
import { fixture, golden, goldenRequest } from '../devices/conformance.js';
import { PaddingDriver, type PaddingOptions } from '../devices/padding-device.js';

const test = suite('planned calls');
const base: PaddingOptions = {
  batches: [1],
  seqLens: [8, 16],
  ctxLen: golden.ctx,
  visionRows: 16,
  hidden: golden.hidden,
};

test('the loop makes exactly the calls that were planned: shape, order and padding', async () => {
  for (const [name, options] of [
    ['language-rank3', base],
    ['language-rank3', { ...base, batches: [4], seqLens: [4, 8, 32] }],
    ['language-optional', { ...base, contextLengths: [32, golden.ctx] }],
  ] as const) {
    for (const prefillSeqLen of [8, 13, 32]) {
      for (const [i, c] of golden.cases.entries()) {
        const driver = new PaddingDriver(cpuDriver, options);
        const session = await driver.open(
          { role: 'language', path: fixture(`${name}.onnx`) },
          { kind: 'cpu', threads: 1 },
        );
        const run = { prefillSeqLen, ctxLen: golden.ctx, maxNewTokens: 6 };
        await generate(session, [goldenRequest(c)], run);
        const { prefill, decode } = planPromptCalls(session.describe(), c.ids.length, {
          ...run,
          newTokens: run.maxNewTokens,
        });
        const seen = driver.calls.map(({ inputs }) => ({
          used: inputs.position_ids?.filter((p) => p >= 0).length,
          slots: inputs.position_ids?.length,
          context: inputs.comp_ctx_lengths?.length,
        }));
        const planned = [...prefill, ...decode].map(({ set, used, slots }) => ({
          used,
          slots,
          context: set.shapes.comp_ctx_lengths?.[0],
        }));
        assert.equal(planned, seen, `${name}, case ${i} at ${prefillSeqLen}`);
        await session.close();
      }
    }
  }
});

test('a batch of equal prompts: together where the program has vision rows for each, else one after another', async () => {
  for (const [options, together] of [
    [{ ...base, batches: [4], seqLens: [4, 8, 32] }, false],
    [{ ...base, batches: [4], seqLens: [4, 8, 32], visionBatch: true }, true],
  ] as const) {
    for (const [i, c] of golden.cases.entries()) {
      const driver = new PaddingDriver(cpuDriver, options);
      const program = { role: 'language', path: fixture('language-rank3.onnx') } as const;
      const session = await driver.open(program, { kind: 'cpu', threads: 1 });
      const request = goldenRequest(c);
      const run = { prefillSeqLen: 8, ctxLen: golden.ctx, maxNewTokens: 4 };
      await generate(session, [request, request, request], run);
      const vision = request.vision !== null;
      const planned = planPromptCalls(session.describe(), c.ids.length, { ...run, newTokens: 4, rows: 3, vision });
      const seen = driver.calls.map(({ inputs }) => ({
        used: inputs.position_ids?.filter((p) => p >= 0).length,
        slots: inputs.position_ids?.length,
      }));
      const calls = [...planned.prefill, ...planned.decode].map(({ used, slots }) => ({ used, slots }));
      // A row without a prompt decodes a position of its own cache.
      const filled = planned.decode.length;
      assert.equal(calls.slice(0, -filled || undefined), seen.slice(0, -filled || undefined), `case ${i}, ${together}`);
      assert.is(calls.length, seen.length);
      assert.is(planned.together, together || !vision);
      await session.close();
    }
  }
});

test.run();
