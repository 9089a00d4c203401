// ONNX Runtime is kept from its telemetry, which reads the command line and keeps an id at home.
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/util/package-root.js';
import { cli } from './fakes/spawn.js';

const test = suite('telemetry of ONNX Runtime');
const dir = mkdtempSync(join(tmpdir(), 'vlm-telemetry-'));
test.after(() => rmSync(dir, { recursive: true, force: true }));

test('long arguments do not end the process, and nothing is left at home', async () => {
  const home = join(dir, 'home');
  const recipe = join(packageRoot(), 'pipelines', 'internvl.yaml');
  const set = ['--set', 'nodes.decode.with.max_new_tokens=2', '--set', `description=${'a'.repeat(60_000)}`];
  const env = { HOME: home, XDG_CACHE_HOME: join(home, '.cache'), XDG_DATA_HOME: join(home, 'data') };
  const done = await cli([recipe, '--quiet', ...set], { env });
  assert.is(done.signal, null);
  assert.is(done.code, 0, done.err);
  const kept = existsSync(home) ? readdirSync(home, { recursive: true, encoding: 'utf8' }) : [];
  assert.equal(
    kept.filter((path) => /microsoft|telemetry/i.test(path)),
    [],
  );
});

test.run();
