import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { starterRecipe } from '../../../src/cli/commands/init.js';
import { packageRoot } from '../../../src/util/package-root.js';
import { cli } from '../fakes/spawn.js';

const test = suite('init');
const dir = mkdtempSync(join(tmpdir(), 'vlm-init-'));
test.after(() => rmSync(dir, { recursive: true, force: true }));

interface Planned {
  readonly plan: { readonly recipe: string; readonly decodes: readonly { readonly roomForAnswer: number }[] };
}

for (const model of ['models/hub/ibm-granite--granite-vision-3.2-2b', 'models/hub/OpenGVLab--InternVL2_5-1B']) {
  test(`the recipe of a model has room for its largest pictures: ${model}`, async () => {
    const file = join(dir, `${model.split('/').at(-1)}.yaml`);
    const made = await cli(['init', file, '--model', join(packageRoot(), model)]);
    assert.is(made.code, 0, made.err);
    assert.not.match(made.err, 'warning');
    const wide = join(packageRoot(), 'examples', 'panorama.png');
    const { code, out, err } = await cli(['plan', file, '--json', '--input', `image=${wide}`]);
    assert.is(code, 0, out + err);
    const { plan } = JSON.parse(out) as Planned;
    assert.is(plan.recipe, model.split('/').at(-1));
    assert.ok((plan.decodes[0]?.roomForAnswer ?? 0) >= 512);
  });
}

test('a model that is not there yet is told, and the recipe is written', async () => {
  const file = join(dir, 'absent.yaml');
  const { code, out } = await cli(['init', file, '--model', join(dir, 'nothing'), '--json']);
  assert.is(code, 0);
  const { warnings } = JSON.parse(out) as { readonly warnings: readonly string[] };
  assert.match(warnings.join(), 'nothing');
  assert.is((await cli(['validate', file])).code, 0);
});

test('a folder is no recipe, with --force or without; a parent that is a file is told', async () => {
  const folder = join(dir, 'folder');
  mkdirSync(folder);
  for (const more of [[], ['--force']]) {
    const { code, err } = await cli(['init', folder, ...more]);
    assert.is(code, 5);
    assert.match(err, 'a folder');
    assert.not.match(err, '--force');
  }
  const parent = join(dir, 'parent');
  writeFileSync(parent, '');
  const { code, out } = await cli(['init', join(parent, 'x.yaml'), '--json']);
  assert.is(code, 5);
  assert.is((JSON.parse(out) as { error: { code: string } }).error.code, 'OUTPUT_UNWRITABLE');
});

test('the command to run it is one that a shell takes', async () => {
  const odd = await cli(['init', '--', '-odd name.yaml'], { cwd: dir });
  assert.is(odd.code, 0, odd.err);
  assert.match(odd.err, "run it:  vlm-run './-odd name.yaml'\n");
  const broken = join(dir, 'two\nlines: [.yaml');
  assert.is((await cli(['init', broken])).code, 0);
  const { code, err } = await cli(['validate', broken]);
  assert.is(code, 0, err);
  assert.match(readFileSync(broken, 'utf8'), "vlm-run 'two lines: [.yaml'");
});

test('every change of the shipped recipe finds its place', () => {
  const text = starterRecipe(join(dir, 'a b', 'mine.yaml'), '/models/$& "odd"', {
    prefillSeqLen: 7,
    ctxLen: 8888,
    maxNewTokens: 99,
  });
  for (const part of [
    'name: "$& \\"odd\\""',
    'description: "$& \\"odd\\" answers',
    'A start: $& "odd" looks',
    'prefill_seq_len: 7 #',
    'ctx_len: 8888 #',
    'max_new_tokens: 99\n',
    'vlm-run mine.yaml\n',
  ]) {
    assert.ok(text.includes(part), part);
  }
  assert.not.match(text, /\.\.\/models\/shapes|pipelines\/internvl|: \.\.\/examples/);
  assert.match(text.split('\n')[0] ?? '', /\$schema=\S+recipe\.schema\.json$/);
});

test.run();
