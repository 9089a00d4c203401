import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../src/contracts/errors.js';
import type { ImageInfo } from '../../src/contracts/ports.js';
import type { PlanNode } from '../../src/contracts/recipe.js';
import { checkFit, type PromptMaker, type SizedPrompt, shortRoom, verifyFit } from '../../src/runner/fit.js';
import { fakePlan, runFake, text } from './fakes/plans.js';

const test = suite('fit');

const sized = (tokens: number, images: readonly ImageInfo[] = []): SizedPrompt => ({
  ids: new Int32Array(tokens),
  imageTokenId: -1,
  images,
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
  assert.equal(checkFit(sayOf(11), sized(10)), {
    node: 'say',
    ctxLen: 11,
    maxNewTokens: 8,
    batchSize: 1,
    prefillChunks: [4, 4, 2],
    roomForAnswer: 1,
  });
  assert.throws(
    () => checkFit(sayOf(10), sized(10)),
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

/** n tiles of one image take n + 1 with a thumbnail, a single tile takes 1; 16 tokens a tile, 2 around an image. */
const model = {
  family: {
    maxPositions: 4096,
    imageToken: 'i',
    expandImage: ({ visionTokens }: ImageInfo) => `<${'i'.repeat(visionTokens)}>`,
    layout: (width: number, height: number, { min_tiles = 1, max_tiles = 12 }) => {
      if (min_tiles > max_tiles) throw new VlmError('OPTION_INVALID', { what: 'min_tiles above max_tiles' });
      // As many columns as the picture is wide, of those there may be.
      const columns = Math.min(width / height, max_tiles);
      const tiles = columns === 1 ? 1 : columns + 1;
      return { width, height, grid: [columns, 1], tiles, visionTokens: 16 * tiles };
    },
  },
  text: { encode: (text: string) => new Int32Array(text.length) },
} as unknown as PromptMaker['model'];

const maker = (options: Record<string, unknown> = {}): PromptMaker => {
  const [node] = fakePlan({ prepare: { kind: 'tokens', options } }, { out: 'prepare.tokens' }).nodes;
  const manifest = { ...(node as PlanNode).manifest, options: { max_tiles: { description: '' } } };
  return { node: { ...(node as PlanNode), manifest }, model };
};

const imageOf = (columns: number): ImageInfo => {
  const tiles = columns === 1 ? 1 : columns + 1;
  return { name: 'a', width: columns, height: 1, grid: [columns, 1], tiles, visionTokens: 16 * tiles };
};

function hintAt(ctx: number, widths: readonly number[], made = maker()): string {
  const images = widths.map(imageOf);
  const promptTokens = 9 + images.reduce((n, image) => n + image.visionTokens + 2, 0);
  try {
    checkFit(sayOf(ctx), sized(promptTokens, images), made);
  } catch (error) {
    return (error as VlmError).details.hint ?? '';
  }
  return 'fits';
}

test('fewer tiles are offered when they fit: the most that do, tried with every image', () => {
  // 5 tiles of 16, 2 around them, 9 words.
  assert.is(hintAt(92, [4]), 'fits');
  assert.match(hintAt(91, [4]), 'max_tiles of at most 3 for node "prepare"');
  assert.match(hintAt(76, [4]), 'max_tiles of at most 3');
  assert.match(hintAt(75, [4]), 'max_tiles of at most 2');
  assert.match(hintAt(59, [4]), 'max_tiles of at most 1');
  assert.not.match(hintAt(27, [4]), 'max_tiles');
  // One large picture among small ones gives the tiles up: 3 x 18 + 9 + 2 + 16 x 4.
  assert.match(hintAt(130, [4, 1, 1, 1]), 'max_tiles of at most 3');
  assert.match(hintAt(91, [4], maker({ max_tiles: 4 })), 'max_tiles of at most 3 (line 100)');
  assert.not.match(hintAt(91, [4], maker({ min_tiles: 4 })), 'max_tiles');
});

test('a context that the model does not have is not offered', () => {
  const hint = (tokens: number): string => {
    try {
      checkFit(sayOf(64), sized(tokens), maker());
    } catch (error) {
      return (error as VlmError).details.hint ?? '';
    }
    return 'fits';
  };
  assert.is(hint(4096), 'the model itself takes at most 4096 tokens: give fewer images or a shorter prompt');
  assert.is(hint(4095), 'nearest values that fit: ctx_len of at least 4096');
});

test('a prompt longer than the model’s positions is refused whatever ctx_len is; an answer ends with them', () => {
  assert.throws(
    () => checkFit(sayOf(8192), sized(4096), maker()),
    (e: unknown) => {
      assert.instance(e, VlmError);
      const { code, details } = e as VlmError;
      assert.is(code, 'PLAN_DOES_NOT_FIT');
      assert.match(details.expected ?? '', 'at most 4095 prompt tokens: the model knows 4096 positions');
      assert.equal(details.location, { file: 'fake.yaml', line: 101, column: 5 });
      assert.match(details.hint ?? '', 'fewer images or a shorter prompt');
      return true;
    },
  );
  const fits = checkFit(sayOf(8192), sized(4093), maker());
  assert.equal([fits.positions, fits.roomForAnswer], [4096, 3]);
  assert.match(shortRoom(fits) ?? '', 'ends after 4 tokens');
  assert.is(checkFit(sayOf(4096), sized(4000), maker()).positions, undefined);
  assert.throws(() => checkFit(sayOf(8192), sized(100), undefined, 100));
  assert.is(checkFit(sayOf(8192), sized(100)).roomForAnswer, 8092);
});

const verify = async (...args: Parameters<typeof verifyFit>) => void verifyFit(...args);

test('a run refuses the same prompt, after preprocess and before its program is called', async () => {
  const { result, events } = await runFake(planFor(10, 10), [text('x')], { verify });
  assert.is(result.items[0]?.error?.code, 'PLAN_DOES_NOT_FIT');
  assert.is(result.items[0]?.error?.location?.line, 101);
  assert.ok(events.every((e) => e.type !== 'stage' || e.node !== 'say'));
  const fits = await runFake(planFor(11, 10), [text('x')], { verify });
  assert.ok(fits.result.ok, JSON.stringify(fits.result.error));
});

test.run();
