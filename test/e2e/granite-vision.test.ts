// The shipped recipes of Granite Vision before anything of the model is on the machine, and with a folder of programs.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/util/package-root.js';
import { cli } from '../cli/fakes/spawn.js';

const root = packageRoot();
const RECIPE = join(root, 'pipelines', 'granite-vision.yaml');
const CARD_RECIPE = join(root, 'pipelines', 'granite-vision.ai100.yaml');
const TINY = join(root, 'test', 'golden', 'llava-next', 'tiny');

const test = suite<{ home: string; env: Record<string, string> }>('granite-vision recipes');
test.before.each((context) => {
  context.home = mkdtempSync(join(tmpdir(), 'vlm-granite-recipe-'));
  context.env = { HF_HOME: context.home, HF_HUB_CACHE: join(context.home, 'hub'), VLM_RUN_CACHE: context.home };
});
test.after.each(({ home }) => rmSync(home, { recursive: true, force: true }));

interface Planned {
  readonly images: readonly {
    readonly grid: readonly number[];
    readonly tiles: number;
    readonly visionTokens: number;
  }[];
  readonly promptExact: boolean;
  readonly warnings: readonly string[];
}

test('the recipe plans without the model: tiles by the shape of the image', async ({ env }) => {
  const { code, out, err } = await cli(['plan', RECIPE, '--json'], { env });
  assert.is(code, 0, err);
  const plan = (JSON.parse(out) as { plan: Planned }).plan;
  assert.equal(
    plan.images.map(({ grid, tiles, visionTokens }) => [grid, tiles, visionTokens]),
    [[[2, 2], 5, 2929]],
  );
  assert.is(plan.promptExact, false);
});

test('the card recipe plans the one size that exports know, and says that this is taken for granted', async ({
  env,
}) => {
  const { code, out, err } = await cli(['plan', CARD_RECIPE, '--json'], { env });
  assert.is(code, 0, err);
  const plan = (JSON.parse(out) as { plan: Planned }).plan;
  assert.equal(
    plan.images.map(({ grid, tiles, visionTokens }) => [grid, tiles, visionTokens]),
    [[[3, 3], 10, 5239]],
  );
  assert.ok(plan.warnings.some((warning) => /1610×1109 and 10 tiles/.test(warning)));
  assert.ok(plan.warnings.some((warning) => /not planned.*vision program .*missing/.test(warning)));
});

test('a run names everything that is missing, how to pull it and how to export it', async ({ env }) => {
  for (const recipe of [RECIPE, CARD_RECIPE]) {
    const { code, err } = await cli([recipe], { env });
    assert.is(code, 3, err);
    assert.match(err, /MODEL_MISSING/);
    assert.match(err, /tokenizer\.json, tokenizer_config\.json, vision\.onnx, language\.onnx/);
    assert.match(err, /vlm-run models pull ibm-granite\/granite-vision-3\.2-2b/);
    assert.match(err, /tools\/export/);
  }
});

test('with a folder of programs the recipe runs; a packed program makes it plan the exported size', async ({ env }) => {
  const small = ['--set', 'nodes.decode.with.ctx_len=3000', '--set', 'nodes.decode.with.max_new_tokens=4'];
  const ran = await cli([RECIPE, '--set', `model={path: ${TINY}}`, ...small, '--quiet'], { env });
  assert.is(ran.code, 0, ran.err);
  const programs = `programs: {vision: ${join(TINY, 'packed.onnx')}, language: ${join(TINY, 'language.onnx')}}`;
  const packed = await cli(['plan', RECIPE, '--set', `model={path: ${TINY}, ${programs}}`, ...small, '--json'], {
    env,
  });
  assert.is(packed.code, 0, packed.err);
  assert.is((JSON.parse(packed.out) as { plan: Planned }).plan.images[0]?.tiles, 10);
  const limited = await cli(
    ['plan', RECIPE, '--set', `model={path: ${TINY}, ${programs}}`, '--set', 'nodes.preprocess.with={max_tiles: 4}'],
    { env },
  );
  assert.is(limited.code, 2, limited.err);
  assert.match(limited.err, /always takes 10 tiles/);
});

test('models says what a folder lacks', async ({ env }) => {
  const { code, out } = await cli(['models', join(root, 'models', 'hub', 'ibm-granite--granite-vision-3.2-2b')], {
    env,
  });
  assert.is(code, 0);
  assert.match(out, /llava-next, 4 missing/);
  assert.match(out, /vision\.onnx +images: the vision program/);
});

test.run();
