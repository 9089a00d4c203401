import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/util/package-root.js';
import { unbuilt } from '../devices/ai100/emulator/programs.js';
import { skipped } from '../skipped.js';
import { cli } from './fakes/spawn.js';

const test = suite('plan for cards');
const root = packageRoot();
const recipe = join(root, 'pipelines', 'internvl.ai100.yaml');
const dir = mkdtempSync(join(tmpdir(), 'vlm-plan-cards-'));
test.after(() => rmSync(dir, { recursive: true, force: true }));

type Json = Record<string, unknown>;
async function planned(args: readonly string[]): Promise<Json> {
  const { out, code, err } = await cli(['plan', ...args, '--json']);
  assert.is(code, 0, err);
  return JSON.parse(out) as Json;
}

test('compiled shape and padding of every call, memory and cores of every card', async () => {
  const { plan } = (await planned([recipe, '--set', 'devices.main.shapes={"tiles":[7]}'])) as { plan: Json };
  const cards = plan.cards as { programs: Json[]; cards: Json[]; fewerTiles: boolean };
  assert.is(cards.fewerTiles, true);
  const [vision, language] = cards.programs as { wastePercent: number; calls: Json[] }[];
  assert.is(vision?.wastePercent, 28.6);
  assert.is(vision?.calls[0]?.used, 5);
  assert.is(vision?.calls[0]?.slots, 7);
  assert.equal(
    language?.calls.map((c) => c.what),
    ['prefill', 'decode'],
  );
  assert.is(cards.cards[0]?.mode, 'swapped');
  assert.is(cards.cards[0]?.cores, 32);
});

test('8 cores each: both programs stay on the card', async () => {
  const { out, code } = await cli(['plan', recipe, '--set', 'devices.main.num_cores=8']);
  assert.is(code, 0);
  assert.match(out, '16 of 16 cores');
  assert.match(out, 'programs share it');
});

test('tiles that were not compiled are refused with the place in the recipe', async () => {
  const { code, err } = await cli(['plan', recipe, '--set', 'devices.main.shapes={"tiles":[3]}']);
  assert.is.not(code, 0);
  assert.match(err, 'SHAPE_NOT_ALLOWED');
  assert.match(err, 'up to 3 tiles');
});

test('a proposal pasted into a recipe is what is planned then, within its sets', async () => {
  const args = [recipe, '--suggest', '--sets', '5', '--images', join(root, 'examples')];
  const { suggestion } = (await planned(args)) as { suggestion: { yaml: string; items: number; after: Json } };
  const shapes = (suggestion.after as { shapes: { tiles: number[]; prefill: number[] } }).shapes;
  assert.ok(suggestion.items >= 6);
  assert.ok(shapes.tiles.length + shapes.prefill.length + 1 <= 5);
  const file = join(dir, 'pasted.yaml');
  writeFileSync(file, `extends: ${recipe}\n${suggestion.yaml}`);
  const { plan } = (await planned([file])) as { plan: { cards: { programs: { specializations: unknown[] }[] } } };
  const sets = plan.cards.programs.map((p) => p.specializations.length);
  assert.equal(sets, [shapes.tiles.length, shapes.prefill.length + 1]);
});

test('a data set names inputs; its places start from its folder', async () => {
  const file = join(root, 'examples', 'none.jsonl');
  const list = join(dir, 'list.jsonl');
  writeFileSync(list, `{"image": ${JSON.stringify(join(root, 'examples', 'thumb.png'))}, "prompt": "How many?"}\n\n`);
  const { suggestion } = (await planned([recipe, '--suggest', '--dataset', list])) as { suggestion: Json };
  assert.is(suggestion.items, 1);
  const missing = await cli(['plan', recipe, '--suggest', '--dataset', file]);
  assert.is(missing.code, 2);
  writeFileSync(list, 'no json\n');
  const bad = await cli(['plan', recipe, '--suggest', '--dataset', list]);
  assert.match(bad.err, 'list.jsonl:1');
  const few = await cli(['plan', recipe, '--suggest', '--sets', '2']);
  assert.is(few.code, 2);
  assert.match(few.err, '--sets 3 or more');
});

test('programs that are compiled already: shapes from the runtime, memory of file and cache', async () => {
  const missing = unbuilt();
  if (missing !== null) return skipped('compiler', missing);
  const env = { VLM_RUN_CACHE: join(dir, 'cache') };
  const set = ['--set', 'devices.main.emulated=true'];
  const made = await cli(['compile', recipe, ...set, '--json'], { env });
  assert.is(made.code, 0, made.err);
  const { programs } = JSON.parse(made.out) as { programs: { role: string; path: string }[] };
  const given = programs.flatMap(({ role, path }) => ['--set', `devices.main.programs.${role}=${path}`]);
  const { plan } = (await planned([recipe, ...set, ...given])) as { plan: { cards: { programs: Json[] } } };
  const { plan: before } = (await planned([recipe, ...set])) as { plan: { cards: { programs: Json[] } } };
  const calls = (p: Json | undefined) =>
    ((p?.calls ?? []) as Json[]).map(({ what, times, used, slots, wastePercent }) => [
      what,
      times,
      used,
      slots,
      wastePercent,
    ]);
  for (const i of [0, 1]) {
    const [ready, own] = [plan.cards.programs[i], before.cards.programs[i]];
    assert.equal(calls(ready), calls(own));
    assert.is(ready?.ready, programs[i]?.path);
    assert.is(ready?.emulated, true);
    assert.is(ready?.cacheBytes, own?.cacheBytes);
  }
});

test('without the runtime, the shapes of ready programs come from specializations.json, or are said to be unknown', async () => {
  const place = (role: string, specializations: unknown): string => {
    const folder = join(dir, `qpc-${role}`);
    mkdirSync(join(folder, 'qpc'), { recursive: true });
    writeFileSync(join(folder, 'qpc', 'programqpc.bin'), 'x');
    if (specializations !== null) {
      writeFileSync(join(folder, 'specializations.json'), JSON.stringify({ specializations }));
    }
    return folder;
  };
  // QEfficient's own names, in the flat form and in the newer one.
  const vision = place('vision', [{ batch_size: '1', num_patches: '7', img_size: '112', batched_num_patches: '7' }]);
  const head = { batch_size: '1', ctx_len: '1024', vision_size: '112' };
  const language = place('language', [
    { name: 'Prefill', symbols: { ...head, seq_len: '128' } },
    { name: 'Decode', symbols: { ...head, seq_len: '1' } },
  ]);
  const given = (a: string, b: string): string[] => [
    ...['--set', `devices.main.programs.vision=${a}`],
    ...['--set', `devices.main.programs.language=${b}`],
  ];
  const env = { QAIC_LIB: join(dir, 'none.so') };
  const { out, err, code } = await cli(['plan', recipe, ...given(vision, language)], { env });
  assert.is(code, 0, err);
  assert.match(out, /encode × 1: .*5 of 7 tiles, 28\.6 % padding/);
  assert.match(out, /prefill × 1: Prefill .*107 of 128 positions, 16\.4 % padding/);
  assert.match(out, /decode × 63: Decode/);
  const unknown = await cli(['plan', recipe, ...given(vision, place('unknown', null))], { env });
  assert.is(unknown.code, 0, unknown.err);
  assert.match(unknown.out, /calls of the language program are not planned/);
});

test('a batch: what the prompts share, and what each row pads', async () => {
  const { plan } = (await planned([recipe, '--set', 'nodes.decode.with.batch_size=4'])) as { plan: { cards: Json } };
  const [, language] = plan.cards.programs as { batches: Json[] }[];
  const [batch] = language?.batches ?? [];
  assert.is(batch?.rows, 4);
  // InternVL's programs have one row of vision embeddings for the whole batch.
  assert.is(batch?.together, false);
  const calls = ((batch?.calls ?? []) as Json[]).map(({ what, times, used, slots }) => [what, times, used, slots]);
  assert.equal(calls, [
    ['prefill', 4, 107, 512],
    ['decode', 63, 4, 4],
  ]);
  assert.is(batch?.wastePercent, 79.1);
  const images = ['--set', 'nodes.encode.with.batch_size=4', '--set', 'devices.main.shapes={"tiles":[5,12]}'];
  const { plan: wide } = (await planned([recipe, ...images])) as { plan: { cards: Json } };
  const [vision] = wide.cards.programs as { batches: { calls: Json[] }[] }[];
  // Compiled for four items of 12 tiles: all four of 5 tiles go together.
  assert.equal(
    vision?.batches[0]?.calls.map(({ times, used, slots }) => [times, used, slots]),
    [[1, 20, 20]],
  );
  const { out } = await cli(['plan', recipe, '--set', 'nodes.decode.with.batch_size=4']);
  assert.match(out, /4 prompts like this one at once, prefilled one after another/);
});

test.run();
