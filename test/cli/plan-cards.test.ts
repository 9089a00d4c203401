import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/util/package-root.js';
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

test.run();
