import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { planCards } from '../../src/compose/card-plan.js';
import { compileJobs } from '../../src/compose/compile.js';
import { shapePlan } from '../../src/compose/plan.js';
import { readGraph } from '../../src/compose/program-graph.js';
import { compileRecipe, requirePlan } from '../../src/compose/recipes.js';
import { loadInputs } from '../../src/runner/inputs/load.js';
import { packageRoot } from '../../src/util/package-root.js';

const test = suite('card plan');

test('a family whose exports know one image size says so, and takes no fewer tiles', async () => {
  const recipe = join(packageRoot(), 'pipelines', 'internvl.ai100.yaml');
  const plan = requirePlan(await compileRecipe(recipe, {}), {});
  const shapes = await shapePlan(plan, (await loadInputs(plan, {})).values);
  const jobs = await compileJobs(plan);
  const free = planCards(plan, shapes, jobs);
  assert.is(free.fewerTiles, true);
  assert.is(free.exportedImage, null);
  const exportedImage = { width: 1610, height: 1109, tiles: 10 };
  const fixed = planCards(
    plan,
    shapes,
    jobs.map((job) => ({ ...job, family: { ...job.family, exportedImage } })),
  );
  assert.is(fixed.fewerTiles, false);
  assert.equal(fixed.exportedImage, exportedImage);
  assert.match(fixed.notes.join('\n'), '1610×1109');
});

test('weights are counted in half precision, whatever the export stored', () => {
  const fixture = (name: string) => join(packageRoot(), 'test', 'fixtures', 'programs', `${name}.onnx`);
  const float32 = readGraph('language', fixture('language-rank3'));
  const saved = float32.weightBytes - (float32.halfWeightBytes ?? 0);
  // Indices and shapes stay as they are.
  assert.ok(saved > 0 && saved <= float32.weightBytes / 2, `${saved} of ${float32.weightBytes}`);
  const half = readGraph('vision', fixture('vision-rank2-half'));
  assert.is(half.halfWeightBytes, half.weightBytes);
});

test('a card that is too small is named', async () => {
  const recipe = join(packageRoot(), 'pipelines', 'internvl.ai100.yaml');
  const plan = requirePlan(await compileRecipe(recipe, { set: ['devices.main.memory_gib=0.001'] }), {});
  const shapes = await shapePlan(plan, (await loadInputs(plan, {})).values);
  assert.match(shapes.cards?.notes.join('\n') ?? '', 'more memory than it has');
  assert.is(shapes.cards?.cards[0]?.cardBytesKnown, true);
});

test.run();
