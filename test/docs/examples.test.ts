// The examples of the documentation run as they stand.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/util/package-root.js';
import { cli } from '../cli/fakes/spawn.js';

const test = suite('documented examples');
const examples = join(packageRoot(), 'docs', 'examples');

test('a node of one’s own: refused at first, then the answer in capitals', async () => {
  const recipe = join(examples, 'shout', 'shout.yaml');
  assert.match((await cli([recipe, '--json'])).out, 'PLUGIN_FORBIDDEN');
  const { code, out, err } = await cli([recipe, '--allow-plugins', '--quiet']);
  assert.is(code, 0, err);
  assert.match(out, /^[^a-z]+!!\n$/);
});

test('the library asks several questions', () => {
  // The example imports the package by its name, which is the built one.
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(examples, 'library', 'ask.mjs')], {
    encoding: 'utf8',
  });
  assert.is(status, 0, stderr);
  const lines = stdout.trim().split('\n');
  assert.match(lines[0] ?? '', /^\d+ tiles, \d+ prompt tokens$/);
  assert.match(stdout, /How many shapes are there\? \d+/);
  assert.match(stdout, /Where is the red circle\? red circle\n {2}red circle at [\d., ]+/);
});

test.run();
