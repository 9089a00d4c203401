// `vlm-run pack`, and packs in place of recipes.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compileRecipe, requirePlan } from '../../../src/compose/recipes.js';
import type { VlmError } from '../../../src/contracts/errors.js';
import { packRecipe } from '../../../src/share/pack.js';
import { openPackedRecipe } from '../../../src/share/packed-recipe.js';
import { packBytes } from '../../share/fixtures.js';
import { Project } from '../fakes/share.js';

const test = suite('vlm-run pack');
let project: Project;
let pack: string;
test.before(async () => {
  project = new Project();
  pack = join(project.home, 'away', 'internvl.vlm.tgz');
  const locked = await project.cli([
    'lock',
    project.recipe,
    '--example',
    'prompt=How many circles are there?',
    '--example',
    'image=examples/photo.png',
  ]);
  assert.is(locked.code, 0, locked.err);
  const { code, err, out } = await project.cli(['pack', project.recipe, '--out', pack]);
  assert.is(code, 0, err);
  assert.is(out.trim(), '../away/internvl.vlm.tgz');
  assert.match(err, /13 files, .* sha256 [0-9a-f]{64}/);
});
test.after(() => project.remove());

/** As on another machine: the project is not there. */
async function elsewhere(act: (cli: Project['cli']) => Promise<void>): Promise<void> {
  const hidden = `${project.dir}-hidden`;
  renameSync(project.dir, hidden);
  try {
    await act((args, options) => project.cli(args, { cwd: join(project.home, 'away'), ...options }));
  } finally {
    renameSync(hidden, project.dir);
  }
}

test('packed again it is the same bytes, also in another folder and through extends', async () => {
  const again = join(project.home, 'again.tgz');
  const env = { TZ: 'Asia/Tokyo', LC_ALL: 'tr_TR.UTF-8', USER: 'somebody' };
  assert.is((await project.cli(['pack', 'pipelines/internvl.yaml', '--out', again], { env })).code, 0);
  assert.equal(readFileSync(again), readFileSync(pack));
  const other = new Project();
  try {
    cpSync(project.lockFile, other.lockFile);
    const { code, err } = await other.cli(['pack', 'internvl.yaml'], { cwd: join(other.dir, 'pipelines') });
    assert.is(code, 0, err);
    assert.equal(readFileSync(join(other.dir, 'pipelines', 'internvl.vlm.tgz')), readFileSync(pack));
  } finally {
    other.remove();
  }
});

test('it runs anywhere, gives the same answer, and takes inputs and changes like a recipe', async () => {
  const here = await project.cli([project.recipe, '--quiet']);
  await elsewhere(async (cli) => {
    const there = await cli(['internvl.vlm.tgz', '--quiet']);
    assert.is(there.code, 0, there.err);
    assert.is(there.out, here.out);
    const prompt = await cli([pack, '--quiet', '--input', 'prompt=How many circles are there?']);
    assert.is(prompt.code, 0, prompt.err);
    assert.is.not(prompt.out, here.out);
    const changed = await cli(['run', pack, '--set', 'nodes.decode.with.max_new_tokens=2']);
    assert.match(changed.err, /departs from recipe\.lock\.json: nodes\.decode\.with\.max_new_tokens is 2/);
    assert.match((await cli(['plan', pack])).out, /internvl.* on model/);
    assert.is((await cli(['validate', pack])).code, 0);
  });
});

test('a sweep takes it', async () => {
  const file = join(project.home, 'away', 'sweep.yaml');
  const axis = 'nodes.decode.with.max_new_tokens';
  const given = { version: 1, name: 'packed', recipe: 'internvl.vlm.tgz', grid: { [axis]: [1, 3] } };
  writeFileSync(file, JSON.stringify({ ...given, measure: { warmup: 0, repeats: 1 } }));
  await elsewhere(async (cli) => {
    const { code, err } = await cli(['sweep', file, '--out', join(project.home, 'swept')]);
    assert.is(code, 0, err);
  });
  const rows = readFileSync(join(project.home, 'swept', 'results.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { status: string; values: Record<string, number>; tokens: number[][] });
  assert.equal(rows.map(({ status, values, tokens }) => [values[axis], status, tokens[0]?.length]).sort(), [
    [1, 'measured', 1],
    [3, 'measured', 3],
  ]);
});

test('verify takes it, and every layer is the same', async () => {
  await elsewhere(async (cli) => {
    const { code, out } = await cli(['verify', pack, '--strict', '--json']);
    assert.is(code, 0, out);
    const { findings } = JSON.parse(out) as { findings: { status: string; example?: string }[] };
    assert.is(findings.length, 12);
    assert.ok(findings.every((finding) => finding.status === 'same'));
  });
});

test('no path of the machine that packed is in it', async () => {
  const { openPack } = await import('../../../src/share/unpack.js');
  const { folder, manifest } = await openPack(pack, { cache: join(project.home, 'looked') });
  for (const name of ['pack.json', ...Object.keys(manifest.files)]) {
    assert.not.ok(readFileSync(join(folder, name)).includes(project.home), name);
  }
  assert.not.ok(readFileSync(join(folder, 'recipe.yaml'), 'utf8').includes('..'));
});

test('a lock that no longer fits is told; without one, one is made', async () => {
  const other = new Project();
  try {
    cpSync(project.lockFile, other.lockFile);
    const args = ['pack', other.recipe, '--out', join(other.home, 'x.tgz')];
    const changed = await other.cli([...args, '--set', 'nodes.decode.with.ctx_len=512']);
    assert.is(changed.code, 3);
    assert.match(
      changed.err,
      /LOCK_INVALID[\s\S]*recipe: nodes\.decode\.with\.ctx_len is 512 \(lock: 1024\)[\s\S]*vlm-run lock \S+ --set nodes\.decode\.with\.ctx_len=512$/m,
    );
    const device = await other.cli([...args, '--set', 'devices.main.threads=1']);
    assert.match(device.err, /made for other devices/);
    cpSync(join(other.dir, 'examples', 'square.png'), join(other.dir, 'examples', 'photo.png'));
    const example = await other.cli(args);
    assert.is(example.code, 3);
    assert.match(example.err, /An example of the lock is not what it was/);
    rmSync(other.lockFile);
    const made = await other.cli(args);
    assert.is(made.code, 0, made.err);
    assert.match(made.err, /there is no lock yet: making one[\s\S]*wrote .*internvl\.lock\.json/);
    assert.ok(existsSync(other.lockFile));
    assert.match((await other.cli(['pack', join(other.home, 'x.tgz')])).err, /a pack already/);
    const unnamed = await other.cli(['pack', other.recipe, '--out', join(other.home, 'x.vlm')]);
    assert.is(unnamed.code, 2);
    assert.match(unnamed.err, /ends in \.tgz or \.tar\.gz[\s\S]*--out x\.vlm\.tgz/);
    const inside = await other.cli(['lock', join(other.home, 'x.tgz')]);
    assert.is(inside.code, 2);
    assert.match(inside.err, /has its lock inside already/);
  } finally {
    other.remove();
  }
});

test('conversations go along with their pictures', async () => {
  const talk =
    '[{ role: user, content: [{ type: image, image: ../examples/scene.png }, { type: text, text: Describe the image. }] }]';
  const nodes = `nodes:
  preprocess: { kind: preprocess, inputs: { messages: $inputs.messages } }
  encode: { kind: encode, device: main, inputs: { pixels: $preprocess.pixels } }
  decode: { kind: decode, device: main, inputs: { tokens: $preprocess.tokens, vision: $encode.embeddings } }
outputs: { text: $decode.text }`;
  const recipe = project.write(
    'pipelines/talk.yaml',
    `version: 1\nname: talk\nmodel: { path: ../models/shapes-internvl }\ninputs: { messages: { type: messages, default: ${talk} } }\ndevices: { main: { kind: cpu } }\n${nodes}\n`,
  );
  project.write(
    'examples/other.json',
    '[{"role":"user","content":[{"type":"image","image":"photo.png"},{"type":"text","text":"How many circles are there?"}]}]',
  );
  assert.is((await project.cli(['lock', recipe, '--example', 'messages=examples/other.json', '--quiet'])).code, 0);
  const packed = join(project.home, 'away', 'talk.vlm.tgz');
  const { code, err } = await project.cli(['pack', recipe, '--out', packed]);
  assert.is(code, 0, err);
  await elsewhere(async (cli) => {
    const { code: verdict, out } = await cli(['verify', packed, '--strict']);
    assert.is(verdict, 0, out);
    assert.match(out, /example 2\n {2}inputs {6}same/);
  });
});

test('node modules go along, and run only when they are allowed', async () => {
  project.write(
    'pipelines/shout.mjs',
    `export const manifest = { kind: 'shout', description: 'Shouts.', stage: 'fuse', options: {},
  inputs: { text: { kind: 'text', description: 'Text.' } }, outputs: { text: { kind: 'text', description: 'Text.' } } };
export async function run(items) { return items.map(({ text }) => ({ ok: true, outputs: { text: { kind: 'text', text: text.text.toUpperCase() } } })); }\n`,
  );
  const recipe = project.write(
    'pipelines/loud.yaml',
    'extends: internvl.yaml\nname: loud\nnodes: { loud: { kind: ./shout.mjs, inputs: { text: $decode.text } } }\noutputs: { loud: $loud.text }\n',
  );
  const packed = join(project.home, 'away', 'loud.vlm.tgz');
  const { code, err } = await project.cli(['pack', recipe, '--allow-plugins', '--out', packed]);
  assert.is(code, 0, err);
  await elsewhere(async (cli) => {
    const refused = await cli([packed]);
    assert.is(refused.code, 2);
    assert.match(refused.err, /E_PLUGIN/);
    const allowed = await cli(['verify', packed, '--allow-plugins', '--strict', '--quiet']);
    assert.is(allowed.code, 0, allowed.err + allowed.out);
  });
  writeFileSync(
    join(project.dir, 'pipelines', 'shout.mjs'),
    `import './other.mjs';\n${readFileSync(join(project.dir, 'pipelines', 'shout.mjs'), 'utf8')}`,
  );
  writeFileSync(join(project.dir, 'pipelines', 'other.mjs'), '');
  rmSync(join(project.dir, 'pipelines', 'loud.lock.json'));
  const imports = await project.cli(['pack', recipe, '--allow-plugins', '--out', packed]);
  assert.is(imports.code, 2);
  assert.match(imports.err, /imports another file/);
});

test('a large model goes along when asked for, else by the name under which it is published', async () => {
  const plan = requirePlan(await compileRecipe(project.recipe));
  const options = { out: join(project.home, 'large.tgz'), smallModelBytes: 1000 };
  const error = await packRecipe(plan, options).catch((e: unknown) => e);
  assert.is((error as VlmError).code, 'OPTION_INVALID');
  assert.match((error as VlmError).message, /--include-model/);
  assert.not.ok(existsSync(options.out));
  const included = await packRecipe(plan, { ...options, includeModel: true });
  assert.is(included.sha256, (await packRecipe(plan, { ...options, smallModelBytes: 1e9 })).sha256);
  const commit = 'c'.repeat(40);
  const hub = join(project.home, 'hub');
  const repo = join(hub, 'models--some--shapes');
  mkdirSync(join(repo, 'refs'), { recursive: true });
  writeFileSync(join(repo, 'refs', 'main'), commit);
  cpSync(project.model, join(repo, 'snapshots', commit), { recursive: true });
  const before = process.env['HF_HUB_CACHE'];
  process.env['HF_HUB_CACHE'] = hub;
  try {
    const recipe = project.write(
      'pipelines/hub.yaml',
      'extends: internvl.yaml\nname: hub\nmodel: { path: null, hub: some/shapes }\n',
    );
    const published = requirePlan(await compileRecipe(recipe));
    const byName = await packRecipe(published, options);
    assert.equal(byName.model, { included: false, hub: 'some/shapes', revision: 'main', commit });
    assert.match(byName.notes.join(), /vlm-run models pull some\/shapes/);
    const ran = await project.cli(['verify', options.out, '--strict', '--quiet'], { env: { HF_HUB_CACHE: hub } });
    assert.is(ran.code, 0, ran.err + ran.out);
    const bare = await project.cli([options.out], { env: { HF_HUB_CACHE: join(project.home, 'none') } });
    assert.is(bare.code, 3);
    assert.match(bare.err, /MODEL_MISSING[\s\S]*vlm-run models pull some\/shapes/);
  } finally {
    if (before === undefined) delete process.env['HF_HUB_CACHE'];
    else process.env['HF_HUB_CACHE'] = before;
  }
});

test('inputs on the network are not packed', async () => {
  const recipe = project.write(
    'pipelines/net.yaml',
    'extends: internvl.yaml\ninputs: { image: { default: "https://example.org/a.png" } }\n',
  );
  const { code, err } = await project.cli(['pack', recipe]);
  assert.is(code, 2);
  assert.match(err, /lies on the network/);
});

const HEAD = 'version: 1\nname: evil\n';
const REST = `devices: { main: { kind: cpu } }
nodes:
  preprocess: { kind: preprocess, inputs: { image: $inputs.image, prompt: $inputs.prompt } }
  encode: { kind: encode, device: main, inputs: { pixels: $preprocess.pixels } }
  decode: { kind: decode, device: main, inputs: { tokens: $preprocess.tokens, vision: $encode.embeddings } }
outputs: { text: $decode.text }
`;
const inputs = (image: string): string =>
  `inputs: { image: { type: image, default: ${image} }, prompt: { type: text, default: x } }\n`;
const model = 'model: { path: model }\n';
const EVIL: Readonly<Record<string, string>> = {
  'a model outside': `${HEAD}model: { path: ../../.. }\n${inputs('a.png')}${REST}`,
  'an absolute model': `${HEAD}model: { path: /etc }\n${inputs('a.png')}${REST}`,
  'a program outside': `${HEAD}model: { path: model, programs: { vision: ../../../x.onnx } }\n${inputs('a.png')}${REST}`,
  'a default outside': `${HEAD}${model}${inputs('/etc/hostname')}${REST}`,
  'a default above': `${HEAD}${model}${inputs('../../secret.png')}${REST}`,
  'a default on the network': `${HEAD}${model}${inputs('"http://127.0.0.1:1/a.png"')}${REST}`,
  'a default by file address': `${HEAD}${model}${inputs('"file:///etc/hostname"')}${REST}`,
  'another recipe': `extends: ../../../other.yaml\n${HEAD}`,
  'compiled programs outside': `${HEAD}${model}${inputs('a.png')}${REST.replace('{ kind: cpu }', '{ kind: ai100, programs: { vision: /x, language: /y } }')}`,
  'a node outside': `${HEAD}${model}${inputs('a.png')}${REST.replace('kind: decode', 'kind: ../../../evil.mjs')}`,
};
/** Opens a pack of this recipe as every command does. */
async function open(recipe: string, args: readonly string[] | null = null): Promise<{ code: string; text: string }> {
  const path = join(project.home, 'evil.tgz');
  const files = { 'recipe.yaml': recipe, 'recipe.lock.json': readFileSync(project.lockFile), 'a.png': 'x' };
  writeFileSync(path, packBytes({ files }));
  if (args !== null) {
    const { code, err, out } = await project.cli([...args, path]);
    assert.is(out, '');
    return { code: String(code), text: err };
  }
  const before = process.env['VLM_RUN_CACHE'];
  process.env['VLM_RUN_CACHE'] = project.cache;
  try {
    return { code: 'opened', text: await openPackedRecipe(path) };
  } catch (error) {
    return { code: (error as VlmError).code, text: (error as VlmError).message };
  } finally {
    if (before === undefined) delete process.env['VLM_RUN_CACHE'];
    else process.env['VLM_RUN_CACHE'] = before;
  }
}

for (const [what, recipe] of Object.entries(EVIL)) {
  test(`a pack whose recipe names ${what} is not run`, async () => {
    const { code, text } = await open(recipe);
    assert.is(code, 'PACK_INVALID', text);
    // What no recipe may hold is refused for the lock, which needs what is not there.
    const known = ['another recipe', 'a node outside'].includes(what) ? /an example of the lock/ : /outside of it/;
    assert.match(text, known);
  });
}

test('a node module outside of a pack is not even loaded when modules are allowed', async () => {
  const mark = join(project.home, 'loaded');
  writeFileSync(
    join(project.home, 'evil.mjs'),
    `import { writeFileSync } from 'node:fs';\nwriteFileSync(${JSON.stringify(mark)}, '');\n`,
  );
  const recipe = `${HEAD}${model}${inputs('a.png')}${REST.replace('kind: decode', `kind: ${join(project.home, 'evil.mjs')}`)}`;
  const { code, text } = await open(recipe, ['--allow-plugins']);
  assert.is(code, '3', text);
  assert.match(text, /outside of it/);
  assert.not.ok(existsSync(mark));
});

test('every command refuses such a pack alike', async () => {
  for (const args of [[], ['run'], ['validate'], ['verify'], ['plan'], ['graph'], ['compile']]) {
    const { code, text } = await open(EVIL['an absolute model'] ?? '', args);
    assert.is(code, '3', text);
    assert.match(text, /PACK_INVALID[\s\S]*outside of it/);
  }
});

test('a pack whose lock needs what is not in it is not run', async () => {
  const path = join(project.home, 'evil.tgz');
  const recipe = `${HEAD}${model}${inputs('a.png')}${REST}`;
  writeFileSync(
    path,
    packBytes({ files: { 'recipe.yaml': recipe, 'recipe.lock.json': readFileSync(project.lockFile), 'a.png': 'x' } }),
  );
  const { code, err } = await project.cli([path]);
  assert.is(code, 3);
  assert.match(err, /an example of the lock is not in it/);
});

test('a pack that is cut off says so and leaves nothing in the cache', async () => {
  const path = join(project.home, 'cut.vlm.tgz');
  const bytes = readFileSync(pack);
  writeFileSync(path, bytes.subarray(0, bytes.length / 2));
  const cache = join(project.home, 'cut-cache');
  const { code, err } = await project.cli([path], { env: { VLM_RUN_CACHE: cache } });
  assert.is(code, 3);
  assert.match(err, /PACK_INVALID/);
  assert.equal(existsSync(join(cache, 'packs')) ? readdirSync(join(cache, 'packs')) : [], []);
});

test('kill -9 in the middle leaves the pack that was there, and the next one clears up', async () => {
  const folder = join(project.home, 'killed');
  mkdirSync(folder);
  const out = join(folder, 'x.vlm.tgz');
  const hook = join(project.home, 'slow-disk.mjs');
  // The first write to the archive never ends.
  writeFileSync(
    hook,
    `import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
const { open } = fs;
fs.open = async (path, ...rest) => {
  const file = await open(path, ...rest);
  if (String(path).endsWith('.tmp') && String(path).includes('x.vlm.tgz')) {
    const { write } = file;
    file.write = async (...args) => {
      await write.apply(file, args);
      process.stderr.write('half-way\\n');
      return new Promise(() => setInterval(() => undefined, 1000));
    };
  }
  return file;
};
syncBuiltinESMExports();
`,
  );
  cpSync(pack, out);
  const before = readFileSync(out);
  const killed = await project.cli(['pack', project.recipe, '--out', out], {
    nodeArgs: ['--import', hook],
    during: async (child, seen) => {
      await seen('err', 'half-way');
      child.kill('SIGKILL');
    },
  });
  assert.is(killed.signal, 'SIGKILL');
  assert.is(readdirSync(folder).length, 2);
  assert.equal(readFileSync(out), before);
  assert.is((await project.cli(['pack', project.recipe, '--out', out])).code, 0);
  assert.equal(readdirSync(folder), ['x.vlm.tgz']);
  assert.equal(readFileSync(out), before);
});

test.run();
