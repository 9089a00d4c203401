import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { resolvePrograms } from '../../src/compose/compile.js';
import { compileRecipe, requirePlan } from '../../src/compose/recipes.js';
import { VlmError } from '../../src/contracts/errors.js';
import { readyProgram } from '../../src/devices/ai100/compile/ready.js';
import { likelyCause } from '../../src/devices/ai100/compile/run-compiler.js';
import { packageRoot } from '../../src/util/package-root.js';
import { codeOf } from '../text/helpers.js';

const RECIPE = join(packageRoot(), 'pipelines', 'internvl.ai100.yaml');
const test = suite<{ folder: string }>('compiled programs of a recipe');
test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'vlm-ready-'));
});
test.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

/** As QEfficient leaves them: qpc-<hash>/qpc/programqpc.bin, specializations.json beside qpc/. */
function qefficient(folder: string, name: string, specializations: unknown): string {
  const around = join(folder, `qpc-${name}`);
  mkdirSync(join(around, 'qpc'), { recursive: true });
  writeFileSync(join(around, 'qpc', 'programqpc.bin'), 'x');
  writeFileSync(join(around, 'specializations.json'), JSON.stringify({ specializations }));
  return around;
}

test('QPC folders made by QEfficient are run as they are, without the exported graphs', async ({ folder }) => {
  const vision = qefficient(folder, 'v', [{ batch_size: '1', num_patches: '13' }]);
  const language = qefficient(folder, 'l', [{ name: 'Prefill', symbols: { seq_len: '128' } }]);
  const set = [
    `devices.main.programs.vision=${vision}`,
    `devices.main.programs.language=${join(language, 'qpc', 'programqpc.bin')}`,
  ];
  const plan = requirePlan(await compileRecipe(RECIPE, { set }));
  const { model } = await resolvePrograms(plan);
  assert.equal(model.programs, { vision: join(vision, 'qpc'), language: join(language, 'qpc') });
  assert.equal(readyProgram(vision).specializations, [{ name: 'set 0', symbols: { batch_size: 1, num_patches: 13 } }]);
  assert.equal(readyProgram(join(language, 'qpc')).specializations, [{ name: 'Prefill', symbols: { seq_len: 128 } }]);
});

test('model.programs takes QEfficient’s folders too', async ({ folder }) => {
  const programs = { vision: qefficient(folder, 'v', []), language: qefficient(folder, 'l', []) };
  const plan = requirePlan(await compileRecipe(RECIPE, {}));
  const { model } = await resolvePrograms({ ...plan, model: { ...plan.model, programs } });
  assert.equal(model.programs, { vision: join(programs.vision, 'qpc'), language: join(programs.language, 'qpc') });
});

test('the same role on two cards is refused where they need different files, and runs where one file does', async ({
  folder,
}) => {
  const [one, two, language] = ['v', 'w', 'l'].map((name) => qefficient(folder, name, []));
  const cards = requirePlan(
    await compileRecipe(RECIPE, { set: [`devices.main.programs={"vision":"${one}","language":"${language}"}`] }),
  );
  const encode = cards.nodes.filter((n) => n.name === 'encode').map((n) => ({ ...n, name: 'again', device: 'other' }));
  const on = (vision: string | undefined) => ({
    ...cards,
    devices: { ...cards.devices, other: { kind: 'ai100', ids: [1], programs: { vision, language } } },
    nodes: [...cards.nodes, ...encode],
  });
  const { model } = await resolvePrograms(on(one));
  assert.is(model.programs?.vision, join(one ?? '', 'qpc'));
  try {
    await resolvePrograms(on(two));
    assert.unreachable();
  } catch (error) {
    assert.ok(error instanceof VlmError && error.code === 'OPTION_INVALID', String(error));
    assert.match(error.details.what, 'vision');
  }
});

test('a folder that a failed compile left is no program', ({ folder }) => {
  mkdirSync(join(folder, 'qpc'));
  assert.is(codeOf(() => readyProgram(folder)).code, 'PROGRAM_INVALID');
  assert.is(codeOf(() => readyProgram(join(folder, 'none'))).code, 'PROGRAM_INVALID');
});

test('a recipe without cards stays as it is', async () => {
  const plan = requirePlan(await compileRecipe(RECIPE, { devices: ['main=cpu'] }));
  assert.is(await resolvePrograms(plan), plan);
});

test('the same role on two kinds of device needs two files, which is refused', async ({ folder }) => {
  const ready = qefficient(folder, 'v', []);
  const set = [`devices.main.programs.vision=${ready}`, `devices.main.programs.language=${ready}`];
  const cards = requirePlan(await compileRecipe(RECIPE, { set }));
  const encode = cards.nodes.filter((n) => n.name === 'encode').map((n) => ({ ...n, name: 'again', device: 'other' }));
  const plan = { ...cards, devices: { ...cards.devices, other: { kind: 'cpu' } }, nodes: [...cards.nodes, ...encode] };
  try {
    await resolvePrograms(plan);
    assert.unreachable();
  } catch (error) {
    assert.ok(error instanceof VlmError && error.code === 'OPTION_INVALID', String(error));
  }
});

test('likely causes', () => {
  const cause = (code: number | null, signal: NodeJS.Signals | null, text = '') =>
    likelyCause({ code, signal }, [text]);
  assert.match(cause(null, 'SIGKILL'), /memory/);
  assert.match(cause(1, null, 'write: No space left on device'), /disk/);
  assert.match(cause(1, null, 'Unsupported operator Foo'), /operator/);
  assert.match(cause(1, null, 'std::bad_alloc'), /memory of this machine/);
  assert.match(cause(1, null, 'something'), /no sign/);
});

test.run();
