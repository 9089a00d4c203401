import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/util/package-root.js';

test('without the native part a run says so once, and answers the same', () => {
  const root = packageRoot();
  const dir = mkdtempSync(join(tmpdir(), 'vlm-native-'));
  try {
    // A copy of the package that was installed without a compiler: everything but build/.
    for (const name of ['package.json', 'bin', 'schemas', 'pipelines', 'models', 'examples'])
      cpSync(join(root, name), join(dir, name), { recursive: true });
    cpSync(join(root, '.build', 'src'), join(dir, 'dist'), { recursive: true });
    symlinkSync(join(root, 'node_modules'), join(dir, 'node_modules'));
    const recipe = join(dir, 'pipelines', 'internvl.yaml');
    const images = ['--input', `image=${join(root, 'examples', 'scene.png')}`];
    const without = spawnSync(process.execPath, [join(dir, 'bin', 'vlm-run.js'), recipe, ...images], {
      encoding: 'utf8',
      env: { ...process.env, VLM_RUN_NO_NATIVE: '' },
    });
    assert.is(without.status, 0, without.stderr);
    assert.is(without.stderr.split('Images are resized in TypeScript').length - 1, 1, without.stderr);
    const asked = spawnSync(process.execPath, [join(dir, 'bin', 'vlm-run.js'), recipe, ...images], {
      encoding: 'utf8',
      env: { ...process.env, VLM_RUN_NO_NATIVE: '1' },
    });
    assert.not.match(asked.stderr, 'TypeScript');
    // This project is not npm's for the copy: the advice names the folder. `devices` says both parts that are missing.
    const build = `npm --prefix ${dir} run build:native`;
    assert.match(without.stderr, build);
    const devices = spawnSync(process.execPath, [join(dir, 'bin', 'vlm-run.js'), 'devices'], {
      encoding: 'utf8',
      env: { ...process.env, VLM_RUN_NO_NATIVE: '' },
    });
    assert.match(devices.stdout, `images resized: in TypeScript (same pixels, slower): the native part is not built`);
    assert.match(devices.stdout, 'freed memory: handed back to the system (decoding is slower): the native part');
    assert.is(devices.stdout.split(build).length - 1, process.platform === 'linux' ? 3 : 2, devices.stdout);
    assert.ok(without.stdout.trim().length > 0);
    assert.is(without.stdout, asked.stdout);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test.run();
