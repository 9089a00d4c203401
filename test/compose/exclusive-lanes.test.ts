import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { exclusiveLanes } from '../../src/compose/exclusive-lanes.js';
import { compileRecipe, requirePlan } from '../../src/compose/recipes.js';
import { packageRoot } from '../../src/util/package-root.js';

const test = suite('exclusive lanes');
const recipe = join(packageRoot(), 'pipelines', 'internvl.yaml');
const lanesOf = async (set: readonly string[], cores: number): Promise<ReturnType<typeof exclusiveLanes>> =>
  exclusiveLanes(requirePlan(await compileRecipe(recipe, { set })), cores);

const turns = [{ lanes: ['main vision', 'main language'], stayLoaded: true, stayActive: true }];

test('two programs on the processor take turns where their threads outnumber the cores', async () => {
  // Without `threads` each has as many as there are cores.
  assert.equal(await lanesOf([], 2), turns);
  assert.equal(await lanesOf(['devices.main.threads=3'], 4), turns);
});

test('with a core for each of their threads they run side by side', async () => {
  assert.equal(await lanesOf(['devices.main.threads=1'], 2), []);
  assert.equal(await lanesOf(['devices.main.threads=2'], 4), []);
});

test('a program that has the processor to itself waits for nobody', async () => {
  const card = ['devices.card={ kind: ai100, ids: [0] }', 'nodes.decode.device=card'];
  assert.equal(await lanesOf(card, 1), []);
});

test('programs on two devices that are the same processor take turns too', async () => {
  const other = ['devices.other={ kind: cpu, threads: 1 }', 'nodes.decode.device=other', 'devices.main.threads=2'];
  assert.equal(await lanesOf(other, 2), [{ ...turns[0], lanes: ['main vision', 'other language'] }]);
  assert.equal(await lanesOf(other, 3), []);
});

test.run();
