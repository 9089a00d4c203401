import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../src/contracts/errors.js';
import type { ImageInfo } from '../../src/contracts/ports.js';
import type { PlanNode } from '../../src/contracts/recipe.js';
import { checkFit, prefillChunks, verifyFit } from '../../src/runner/shape-plan.js';
import { fakePlan, runFake, text } from './fakes/plans.js';

const test = suite('shape plan');

test('prefill chunks have the exact length', () => {
  assert.equal(prefillChunks(300, 128), [128, 128, 44]);
  assert.equal(prefillChunks(128, 128), [128]);
  assert.equal(prefillChunks(1, 128), [1]);
  assert.equal(prefillChunks(0, 128), []);
});

const planFor = (ctx: number, n: number) =>
  fakePlan(
    {
      prepare: { kind: 'tokens', inputs: { text: '$.text' }, options: { n } },
      say: {
        kind: 'generate',
        inputs: { text: 'prepare.tokens' },
        options: { ctx_len: ctx, max_new_tokens: 8, prefill_seq_len: 4, steps: 1 },
      },
    },
    { out: 'say.text' },
  );
const sayOf = (ctx: number): PlanNode => planFor(ctx, 1).nodes[1] as PlanNode;

test('the smallest cache that fits has one slot for the answer', () => {
  const plan = planFor(11, 1);
  assert.equal(checkFit(plan, sayOf(11), { promptTokens: 10, images: [] }), {
    node: 'say',
    ctxLen: 11,
    maxNewTokens: 8,
    batchSize: 1,
    prefillChunks: [4, 4, 2],
    roomForAnswer: 1,
  });
  assert.throws(
    () => checkFit(plan, sayOf(10), { promptTokens: 10, images: [] }),
    (e: unknown) => {
      assert.instance(e, VlmError);
      const { code, details } = e as VlmError;
      assert.is(code, 'PLAN_DOES_NOT_FIT');
      assert.equal(details.location, { file: 'fake.yaml', line: 101, column: 5 });
      assert.match(details.hint ?? '', 'ctx_len of at least 11 (18 for a whole answer)');
      return true;
    },
  );
});

test('fewer tiles are offered when they would fit, with the true limit', () => {
  // 5 tiles (4 and a thumbnail) of 16 tokens and 27 words.
  const image: ImageInfo = { name: 'a', width: 4, height: 4, grid: [2, 2], tiles: 5, visionTokens: 80 };
  const hint = (ctx: number): string => {
    try {
      checkFit(planFor(ctx, 1), sayOf(ctx), { promptTokens: 107, images: [image] });
    } catch (error) {
      return (error as VlmError).details.hint ?? '';
    }
    return 'fits';
  };
  assert.is(hint(108), 'fits');
  assert.match(hint(107), 'max_tiles of at most 3');
  // 2 tiles and the thumbnail: 48 + 27 + 1.
  assert.match(hint(76), 'max_tiles of at most 2');
  assert.match(hint(75), 'max_tiles of at most 1');
  assert.match(hint(44), 'max_tiles of at most 1');
  assert.not.match(hint(43), 'max_tiles');
});

test('a run refuses the same prompt, after preprocess and before its program is called', async () => {
  const { result, events } = await runFake(planFor(10, 10), [text('x')], { verify: verifyFit });
  assert.is(result.items[0]?.error?.code, 'PLAN_DOES_NOT_FIT');
  assert.is(result.items[0]?.error?.location?.line, 101);
  assert.ok(events.every((e) => e.type !== 'stage' || e.node !== 'say'));
  const fits = await runFake(planFor(11, 10), [text('x')], { verify: verifyFit });
  assert.ok(fits.result.ok, JSON.stringify(fits.result.error));
});

test.run();
