import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { hasOwnSettings } from '../../src/util/native-memory.js';
import { packageRoot } from '../../src/util/package-root.js';
import { skipped } from '../skipped.js';

const exec = promisify(execFile);
const root = packageRoot();
const built = existsSync(join(root, 'build', 'native', 'vlm_memory.node'));
const { header } = process.report.getReport() as { readonly header: object };
const isGlibc = process.platform === 'linux' && 'glibcVersionRuntime' in header;

/** Once a process, so each answer is that of a process of its own. */
async function keeps(env: NodeJS.ProcessEnv): Promise<unknown> {
  const url = pathToFileURL(join(root, '.build', 'src', 'util', 'native-memory.js')).href;
  const script = `const { keepFreedMemory } = await import(${JSON.stringify(url)});
console.log(JSON.stringify([keepFreedMemory(), keepFreedMemory({ VLM_RUN_NO_NATIVE: '1' })]));`;
  const { VLM_RUN_NO_NATIVE: _, ...clean } = process.env;
  const { stdout } = await exec(process.execPath, ['--input-type=module', '-e', script], { env: { ...clean, ...env } });
  return JSON.parse(stdout);
}

if (built) {
  test('freed memory is kept where glibc has the memory, and that stays so for the process', async () => {
    assert.equal(await keeps({}), [isGlibc, isGlibc]);
  });
} else {
  skipped('compiler', 'native/memory is not built');
}

test('settings of the user stay, and nothing native is loaded where that is asked for', async () => {
  assert.equal(await keeps({ MALLOC_TRIM_THRESHOLD_: '65536' }), [false, false]);
  assert.equal(await keeps({ GLIBC_TUNABLES: 'glibc.malloc.trim_threshold=65536' }), [false, false]);
  assert.equal(await keeps({ VLM_RUN_NO_NATIVE: '1' }), [false, false]);
});

test('only what speaks of the allocator counts as settings of it', () => {
  assert.is(hasOwnSettings({}), false);
  assert.is(hasOwnSettings({ GLIBC_TUNABLES: 'glibc.cpu.x86_ibt=on' }), false);
  assert.is(hasOwnSettings({ GLIBC_TUNABLES: 'glibc.cpu.x86_ibt=on:glibc.malloc.arena_max=1' }), true);
  assert.is(hasOwnSettings({ MALLOC_MMAP_THRESHOLD_: '1' }), true);
  assert.is(hasOwnSettings({ MALLOC_TOP_PAD_: '1' }), true);
});

test.run();
