// The shipped recipes of Llama 4 before anything of the model is on the machine, and with a folder of programs.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/util/package-root.js';
import { cli } from '../cli/fakes/spawn.js';
import { unbuilt } from '../devices/ai100/emulator/programs.js';
import { skipped } from '../skipped.js';

const root = packageRoot();
const RECIPE = join(root, 'pipelines', 'llama4.yaml');
const CARD_RECIPE = join(root, 'pipelines', 'llama4.ai100.yaml');
const TINY = join(root, 'test', 'golden', 'llama4-tiny');

const test = suite<{ home: string; env: Record<string, string> }>('llama4 recipes');
test.before.each((context) => {
  context.home = mkdtempSync(join(tmpdir(), 'vlm-llama4-recipe-'));
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

const MAVERICK = 'meta-llama/Llama-4-Maverick-17B-128E-Instruct';

for (const [what, args] of [
  ['Scout', [RECIPE]],
  ['Maverick', [RECIPE, '--set', `model={hub: ${MAVERICK}}`]],
  ['cards', [CARD_RECIPE]],
] as const) {
  test(`the recipe plans without the model, tiles by the size of the image: ${what}`, async ({ env }) => {
    const { code, out, err } = await cli(['plan', ...args, '--json'], { env });
    assert.is(code, 0, err);
    const { images, promptExact, warnings } = (JSON.parse(out) as { plan: Planned }).plan;
    assert.equal(
      images.map(({ grid, tiles, visionTokens }) => [grid, tiles, visionTokens]),
      [[[2, 2], 5, 720]],
    );
    assert.is(promptExact, false);
    assert.is(
      warnings.some((warning) => /not planned.*vision program .*missing/.test(warning)),
      what === 'cards',
    );
  });
}

test('a run names everything that is missing, how to pull it and how to export it', async ({ env }) => {
  for (const recipe of [RECIPE, CARD_RECIPE]) {
    const { code, err } = await cli([recipe], { env });
    assert.is(code, 3, err);
    assert.match(err, /MODEL_MISSING/);
    assert.match(err, /tokenizer\.json, tokenizer_config\.json, vision\.onnx, language\.onnx/);
    assert.match(err, /vlm-run models pull meta-llama\/Llama-4-Scout-17B-16E-Instruct/);
    assert.match(err, /tools\/export/);
  }
});

const small = ['--set', `model={path: ${TINY}}`, '--set', 'nodes.decode.with.max_new_tokens=4'];

test('with a folder of programs the recipe runs', async ({ env }) => {
  const ran = await cli([RECIPE, ...small, '--quiet'], { env });
  assert.is(ran.code, 0, ran.err);
  const fewer = await cli(['plan', RECIPE, ...small, '--set', 'nodes.preprocess.with={max_tiles: 2}', '--json'], {
    env,
  });
  assert.is(fewer.code, 0, fewer.err);
  const { images, promptExact } = (JSON.parse(fewer.out) as { plan: Planned }).plan;
  assert.equal([images[0]?.grid, images[0]?.tiles, promptExact], [[2, 1], 3, true]);
});

if (unbuilt() === null) {
  test('the card recipe compiles for its tile counts and runs on an emulated card', async ({ env }) => {
    const card = [...small, '--set', 'devices.main.emulated=true', '--set', 'devices.main.ids=[0]'];
    const compiled = await cli(['compile', CARD_RECIPE, ...card, '--target', 'emulator'], { env });
    assert.is(compiled.code, 0, compiled.err);
    const ran = await cli([CARD_RECIPE, ...card, '--quiet'], { env });
    assert.is(ran.code, 0, ran.err);
    const onCpu = await cli([RECIPE, ...small, '--quiet'], { env });
    assert.ok(ran.out.length > 0);
    // Four tokens; the card's half precision for pixels and cache leaves them as they are.
    assert.is(ran.out, onCpu.out);
  });
} else {
  skipped('compiler', unbuilt() ?? '');
}

test('models says what a folder lacks', async ({ env }) => {
  const folder = join(root, 'models', 'hub', 'meta-llama--Llama-4-Scout-17B-16E-Instruct');
  const { code, out } = await cli(['models', folder], { env });
  assert.is(code, 0);
  assert.match(out, /llama4, 4 missing/);
  assert.match(out, /vision\.onnx +images: the vision program/);
});

test.run();
