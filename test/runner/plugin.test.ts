import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../src/contracts/errors.js';
import { loadPluginManifest, loadPluginModule } from '../../src/runner/plugin.js';

const test = suite('plugin modules');
const dir = mkdtempSync(join(tmpdir(), 'vlm-plugin-'));
test.after(() => rmSync(dir, { recursive: true, force: true }));

async function reason(name: string, source: string | null): Promise<string> {
  const path = join(dir, name);
  if (source !== null) writeFileSync(path, source);
  try {
    await loadPluginManifest(path);
    return 'none';
  } catch (error) {
    assert.instance(error, VlmError);
    const { code, details } = error as VlmError;
    assert.is(code, 'PLUGIN_INVALID');
    assert.is(details.where, path);
    return details.received ?? '';
  }
}

test('a module that cannot be loaded says why', async () => {
  assert.is(await reason('nothing.mjs', null), 'no such file');
  assert.match(await reason('syntax.mjs', 'export const manifest = {'), /^SyntaxError: /);
  assert.is(await reason('throws.mjs', "throw new TypeError('at load')"), 'TypeError: at load');
  assert.match(await reason('imports.mjs', "import './absent.mjs';"), /Cannot find module .*absent\.mjs/);
  assert.is(await reason('no-run.mjs', 'export const manifest = {};'), 'undefined');
});

test('ECMAScript and CommonJS modules load', async () => {
  assert.is(await reason('good.mjs', 'export const manifest = {}; export async function run() {}'), 'none');
  assert.is(await reason('good.cjs', 'module.exports = { manifest: {}, run: async () => [] };'), 'none');
  assert.type((await loadPluginModule(join(dir, 'good.cjs'))).run, 'function');
});

test.run();
