import { join } from 'node:path';
import { Command } from 'commander';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { modelsCommand, size } from '../../../src/cli/commands/models.js';
import { packageRoot } from '../../../src/util/package-root.js';
import { FILES, withHub } from '../../model/fake-hub.js';
import { COMMIT } from '../../model/helpers.js';
import { rejectionOf } from '../../text/helpers.js';

const root = packageRoot();
const demo = join(root, 'models', 'shapes-internvl');

async function models(...args: string[]): Promise<{ readonly out: string; readonly err: string }> {
  const text = { out: '', err: '' };
  const program = new Command().exitOverride();
  const command = modelsCommand({
    out: (piece) => {
      text.out += piece;
    },
    err: (piece) => {
      text.err += piece;
    },
  });
  for (const each of [command, ...command.commands]) each.copyInheritedSettings(program);
  program.addCommand(command);
  await program.parseAsync(['models', ...args], { from: 'user' });
  return text;
}

test('a folder: family, facts, files and what is missing', async () => {
  const { out, err } = await models(demo);
  assert.match(out, /^shapes-internvl {2}internvl, complete\n/);
  assert.match(out, /tokens a tile +16/);
  assert.match(out, /vision program +2\.0 MB/);
  assert.is(err, '');
  const bare = await models(join(root, 'test', 'golden', 'text', 'internvl-hf'));
  assert.match(bare.out, '2 missing');
  assert.match(bare.out, 'model.programs.vision');
});

test('a recipe: the model that it names, as data', async () => {
  const report = JSON.parse((await models(join(root, 'pipelines', 'internvl.yaml'), '--json')).out);
  assert.equal(report.folders, [demo]);
  assert.equal(report.missing, []);
});

test('a recipe with a node of its own: its model, where its code may run', async () => {
  const shout = join(root, 'docs', 'examples', 'shout', 'shout.yaml');
  assert.match((await models(shout, '--allow-plugins')).out, /^shapes-internvl {2}internvl, complete\n/);
});

test('a model that cannot be used says why', async () => {
  const { out } = await models(join(root, 'test', 'golden', 'text'), '--json').catch((error) => ({ out: error.code }));
  assert.is(out, 'MODEL_MISSING');
  assert.is((await rejectionOf(() => models('nothing such'))).code, 'USAGE');
  assert.is((await rejectionOf(() => models('owner/never-pulled-anywhere'))).code, 'MODEL_MISSING');
});

test('without a target: the models on this machine', async () => {
  const { out } = await models();
  assert.match(out, /^shapes-internvl {2}internvl, complete {2}/m);
});

test('pull refuses what is no id before it asks anybody', async () => {
  assert.is((await rejectionOf(() => models('pull', '../x'))).code, 'OPTION_INVALID');
});

test('pull prints the folder alone, progress beside it; the model is then found by its id', async () => {
  await withHub(async (_hub, env) => {
    const before = { ...process.env };
    Object.assign(process.env, env);
    try {
      const { out, err } = await models('pull', 'org/m');
      assert.is(out, `${join(env['HF_HUB_CACHE']!, 'models--org--m', 'snapshots', COMMIT)}\n`);
      assert.match(err, 'got  config.json');
      assert.match(err, 'left out 3 files');
      assert.match((await models('pull', 'org/m')).err, 'have config.json');
      const data = JSON.parse((await models('pull', 'org/m', '--all', '--json')).out);
      assert.is(data.files.length, Object.keys(FILES).length);
      assert.match((await models('org/m')).out, /hub +org\/m at main \(0123456789ab\)/);
      assert.match((await models()).out, 'org/m  not usable (MODEL_INVALID)');
    } finally {
      process.env = before;
    }
  });
});

test('sizes are short', () => {
  assert.equal([0, 999, 1000, 1_950_000, 2.5e9].map(size), ['0 B', '999 B', '1.0 kB', '1.9 MB', '2.5 GB']);
});

test.run();
