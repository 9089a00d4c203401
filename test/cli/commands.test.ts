import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/util/package-root.js';
import { writeRecipes } from './fakes/recipes.js';
import { cli } from './fakes/spawn.js';

const test = suite('commands');
const dir = mkdtempSync(join(tmpdir(), 'vlm-commands-'));
const recipe = join(packageRoot(), 'pipelines', 'internvl.yaml');
test.before(() => writeRecipes(dir));
test.after(() => rmSync(dir, { recursive: true, force: true }));

test('every command has help with two examples', async () => {
  const { out, code } = await cli(['--help']);
  assert.is(code, 0);
  for (const name of ['run', 'validate', 'plan', 'graph', 'schema', 'devices', 'models', 'init']) {
    assert.match(out, new RegExp(`^  ${name}\\b`, 'm'));
    const help = await cli([name, '--help']);
    assert.is(help.code, 0);
    assert.is(help.out.split('\n').filter((l) => /^ {2}\$ .*vlm-run/.test(l)).length, 2, help.out);
    assert.is(help.err, '');
  }
});

test('without arguments: help on standard error, exit 2', async () => {
  const { code, out, err } = await cli([]);
  assert.is(code, 2);
  assert.is(out, '');
  assert.match(err, 'Usage: vlm-run');
});

for (const [args, hint] of [
  [['vaildate'], 'did you mean "validate"'],
  [['vaildate', recipe], 'did you mean "validate"'],
  [['sweep'], 'see vlm-run sweep --help'],
  [['models', 'pull'], 'see vlm-run models pull --help'],
  [['--bogus'], 'see vlm-run --help'],
  [['validate', recipe, '--jsno'], 'did you mean --json'],
  [[recipe, '--inptu', 'a=b'], 'did you mean --input'],
  [[recipe, '--input', 'imgae=x'], 'did you mean "image"'],
  [[recipe, '--input', 'image'], 'name=value'],
  [[recipe, '--input', 'prompt=-', '--input', 'prompt=@-'], 'Standard input'],
  [['schema', 'recipes'], 'did you mean "recipe"'],
  [['schema', 'lok'], 'did you mean "lock"'],
  [['schema', 'pictures'], 'one of recipe, lock, run, sweep'],
  [['validate', recipe, '--device', 'main'], 'main=cpu'],
  [['models', 'pul', 'owner/name'], 'did you mean "models pull"'],
  [['models', 'pull', '--revison'], 'did you mean --revision'],
  [['cache', 'lss'], 'did you mean ls'],
] as const) {
  test(`a wrong command line says what is near: ${args.at(-1)}`, async () => {
    const { code, out, err } = await cli(args);
    assert.is(code, 2, err);
    assert.is(out, '');
    assert.match(err, hint);
    assert.not.match(err, /\n\s+at .*\.js:/);
  });
}

test('errors of the command line as JSON', async () => {
  const { code, out, err } = await cli(['validate', '--jsno', '--json', recipe]);
  assert.is(code, 2);
  assert.is(err, '');
  assert.is((JSON.parse(out) as { error: { code: string } }).error.code, 'USAGE');
});

test('validate: a good recipe, a bad one, and both as JSON', async () => {
  const good = await cli(['validate', recipe]);
  assert.is(good.code, 0, good.err);
  assert.is(good.out, '');
  const bad = join(dir, 'bad.yaml');
  writeFileSync(bad, readFileSync(recipe, 'utf8').replace('ctx_len: 1024', 'ctx_lne: 1024'));
  const { code, out, err } = await cli(['validate', bad]);
  assert.is(code, 2);
  assert.is(out, '');
  assert.match(err, 'ctx_len');
  assert.match(err, '^');
  const json = await cli(['validate', bad, '--json']);
  assert.is(json.code, 2);
  const document = JSON.parse(json.out) as { ok: boolean; error: { code: string }; diagnostics: { code: string }[] };
  assert.is(document.ok, false);
  assert.is(document.error.code, 'RECIPE_INVALID');
  assert.ok(document.diagnostics.some((d) => d.code === 'E_UNKNOWN_KEY'));
  const fine = JSON.parse((await cli(['validate', recipe, '--json'])).out) as { ok: boolean };
  assert.ok(fine.ok);
});

test('validate warns of values that the model contradicts, and goes on', async () => {
  const args = [
    'validate',
    recipe,
    '--set',
    'nodes.decode.with.ctx_len=99999',
    '--set',
    'nodes.preprocess.with.max_tiles=60',
  ];
  const { code, err } = await cli(args);
  assert.is(code, 0, err);
  assert.is(err.split('W_CONTRADICTS_MODEL').length, 3, err);
  const quiet = await cli([...args, '--set', 'model.path=/nowhere']);
  assert.is(quiet.code, 0);
  assert.not.match(quiet.err, 'W_CONTRADICTS_MODEL');
  // A model of the hub is known by its snapshot, or by the numbers that ship.
  const hub = join(packageRoot(), 'pipelines', 'internvl-1b.yaml');
  const env = { HF_HOME: dir, HF_HUB_CACHE: '', HUGGINGFACE_HUB_CACHE: '' };
  const known = await cli(['validate', hub, '--set', 'nodes.decode.with.ctx_len=99999'], { env });
  assert.match(known.err, 'the model knows 32768 positions');
});

test('a prompt beyond the model’s positions is refused before it is decoded, whatever ctx_len is', async () => {
  const long = ['--input', `prompt=${'red star '.repeat(1300)}`, '--set', 'nodes.decode.with.ctx_len=8192'];
  const [planned, run] = await Promise.all([
    cli(['plan', recipe, ...long, '--json']),
    cli([recipe, ...long, '--json']),
  ]);
  for (const { code, out, err } of [planned, run]) {
    assert.is(code, 2, err);
    const { error } = JSON.parse(out) as { readonly error: { readonly code: string; readonly expected: string } };
    assert.is(error.code, 'PLAN_DOES_NOT_FIT');
    assert.match(error.expected, 'at most 2047 prompt tokens: the model knows 2048 positions');
  }
});

test('validate loads nothing heavy', async () => {
  const coverage = join(dir, 'coverage');
  const libraries = join(dir, 'libraries.json');
  const hook = join(dir, 'hook.cjs');
  // Coverage knows scripts alone; what is loaded as machine code, our own addons among it, is in Node's report.
  writeFileSync(
    hook,
    `process.report.excludeNetwork = true;
    process.once('exit', () => require('node:fs').writeFileSync(process.env.LIBRARIES, JSON.stringify(process.report.getReport().sharedObjects)));`,
  );
  const env = { NODE_V8_COVERAGE: coverage, LIBRARIES: libraries };
  const addons = (): readonly string[] =>
    (JSON.parse(readFileSync(libraries, 'utf8')) as string[]).filter((file) => file.startsWith(packageRoot()));
  const { code } = await cli(['validate', recipe], { env, nodeArgs: ['--require', hook] });
  assert.is(code, 0);
  assert.equal(addons(), []);
  const native = join(packageRoot(), 'build', 'native');
  const files = existsSync(native)
    ? readdirSync(native).flatMap((name) => (name.endsWith('.node') ? [join(native, name)] : []))
    : [];
  const loading = [...files, 'sharp'].map((file) => `require(${JSON.stringify(file)})`).join(';');
  execFileSync(process.execPath, ['--require', hook, '-e', loading], {
    cwd: packageRoot(),
    env: { ...process.env, LIBRARIES: libraries },
  });
  for (const file of files) assert.ok(addons().includes(file), `the list would show ${file}`);
  assert.ok(
    addons().some((file) => /sharp.*\.node$/.test(file)),
    'and those of packages',
  );
  const [file = ''] = readdirSync(coverage);
  const { result } = JSON.parse(readFileSync(join(coverage, file), 'utf8')) as { result: { url: string }[] };
  const urls = result.map((r) => r.url);
  assert.ok(
    urls.some((u) => u.includes('/commander/')),
    'the list holds packages',
  );
  const heavy = urls.filter((u) => /onnxruntime|\/sharp\/|tokenizers|jinja|piscina|huggingface/.test(u));
  assert.equal(heavy, []);
});

test('colours: not into a pipe, unless asked for; NO_COLOR wins', async () => {
  const csi = '\u001b[';
  const bad = ['validate', join(dir, 'none.yaml')];
  assert.not.ok((await cli(bad)).err.includes(csi));
  assert.ok((await cli(bad, { env: { FORCE_COLOR: '1' } })).err.includes(csi));
  assert.not.ok((await cli(bad, { env: { FORCE_COLOR: '1', NO_COLOR: '1' } })).err.includes(csi));
});

test('graph draws inputs, nodes and outputs', async () => {
  const { code, out } = await cli(['graph', recipe]);
  assert.is(code, 0);
  assert.match(out, /^graph LR\n/);
  for (const line of [
    'in_image -->|image| n_preprocess',
    'n_preprocess -->|pixels| n_encode',
    'n_fuse -->|answer| out_answer',
  ]) {
    assert.match(out, line);
  }
});

test('graph shows what a node is described as, whatever is in it', async () => {
  const note = 'Cuts "it" | [into] <b>#quot;\n`tiles`';
  const { code, out } = await cli(['graph', recipe, '--set', `nodes.encode.description=${JSON.stringify(note)}`]);
  assert.is(code, 0);
  assert.match(out, '  n_encode["encode<br/>main<br/>Cuts it [into] b quot; tiles"]\n');
});

test('schema prints the schemas that ship', async () => {
  const folder = join(packageRoot(), 'schemas');
  const files = readdirSync(folder).filter((name) => name.endsWith('.schema.json'));
  assert.ok(files.length >= 4);
  for (const file of files) {
    const { code, out } = await cli(['schema', file.replace('.schema.json', '')]);
    assert.is(code, 0);
    assert.is(out, readFileSync(join(folder, file), 'utf8'));
  }
  assert.is((await cli(['schema'])).out, readFileSync(join(folder, 'recipe.schema.json'), 'utf8'));
});

test('devices lists every kind, cards as unavailable with the reason', async () => {
  const { code, out } = await cli(['devices', '--json']);
  assert.is(code, 0);
  const { devices } = JSON.parse(out) as { devices: { kind: string; status: string; summary: string }[] };
  assert.is(devices.find((d) => d.kind === 'cpu')?.status, 'ready');
  const card = devices.find((d) => d.kind === 'ai100');
  assert.is(card?.status, 'unavailable');
  assert.ok((card?.summary.length ?? 0) > 20);
  assert.match((await cli(['devices'])).out, /^cpu\s+ready[\s\S]*^native {3}images resized: [\s\S]*freed memory: /m);
  const plain = await cli(['devices'], { env: { VLM_RUN_NO_NATIVE: '1' } });
  assert.match(
    plain.out,
    /images resized: in TypeScript \(same pixels, slower\)\n.*freed memory: as the C library does it/,
  );
});

test('init writes a recipe that validates, from anywhere, and never over another', async () => {
  const file = join(dir, 'deep', 'mine.yaml');
  assert.is((await cli(['init', file])).code, 0);
  const checked = await cli(['validate', file]);
  assert.is(checked.code, 0, checked.err);
  const text = readFileSync(file, 'utf8');
  assert.not.match(text, /path: "?\.\.\/models\/shapes/);
  const again = await cli(['init', file]);
  assert.is(again.code, 2);
  assert.match(again.err, '--force');
  assert.is(readFileSync(file, 'utf8'), text);
  assert.is((await cli(['init', file, '--force'])).code, 0);
});

test('plugins run only when they are allowed', async () => {
  const file = join(dir, 'slow.yaml');
  const refused = await cli([file, '--json']);
  assert.is(refused.code, 2);
  assert.is((JSON.parse(refused.out) as { error: { code: string } }).error.code, 'PLUGIN_FORBIDDEN');
  const bad = await cli([join(dir, 'nothing.yaml'), '--allow-plugins', '--json']);
  assert.is(bad.code, 2);
  assert.is((JSON.parse(bad.out) as { error: { code: string } }).error.code, 'PLUGIN_INVALID');
  const noisy = await cli([join(dir, 'noisy.yaml'), '--allow-plugins', '--quiet']);
  assert.equal([noisy.code, noisy.out], [0, 'quiet\n'], noisy.err);
  for (const word of ['loaded', 'begun', 'logged', 'written']) assert.match(noisy.err, word);
});

test.run();
