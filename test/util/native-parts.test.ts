import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { buildNativeCommand } from '../../src/util/native-parts.js';

test('the command that builds the native parts is one that npm knows where the user stands', () => {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), 'vlm-parts-')));
  try {
    const project = join(dir, 'project');
    const installed = join(project, 'node_modules', 'vlm-run');
    const checkout = join(dir, 'check out');
    for (const folder of [join(installed, 'dist'), join(project, 'sub'), join(checkout, 'sub')]) {
      mkdirSync(folder, { recursive: true });
    }
    for (const folder of [project, installed, checkout]) writeFileSync(join(folder, 'package.json'), '{}');
    const explore = '`npm explore vlm-run -- npm run build:native`';
    assert.is(buildNativeCommand(installed, project), explore);
    assert.is(buildNativeCommand(installed, join(project, 'sub')), explore);
    assert.is(buildNativeCommand(checkout, checkout), '`npm run build:native`');
    assert.is(buildNativeCommand(checkout, join(checkout, 'sub')), '`npm run build:native`');
    assert.is(buildNativeCommand(installed, dir), `\`npm --prefix ${installed} run build:native\``);
    assert.is(buildNativeCommand(checkout, project), `\`npm --prefix '${checkout}' run build:native\``);
    // A project that links a checkout, as `npm link` and workspaces do.
    const linking = join(dir, 'linking', 'node_modules');
    mkdirSync(linking, { recursive: true });
    symlinkSync(checkout, join(linking, 'vlm-run'));
    assert.is(buildNativeCommand(checkout, join(dir, 'linking')), explore);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test.run();
