import { execFileSync } from 'node:child_process';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compile } from '../../src/recipe/index.js';
import { BASE, brief, REGISTRY, withFiles } from './helpers.js';

const see = async (file: string) => {
  const { plan, diagnostics } = await compile(file, { registry: REGISTRY });
  assert.is(plan, null);
  assert.ok(diagnostics.every((d) => d.location?.file === file));
  return diagnostics;
};

test('a missing file names a near one', async () => {
  await withFiles({ 'recipe.yaml': BASE }, async (folder) => {
    const diagnostics = await see(join(folder, 'recip.yaml'));
    assert.equal(diagnostics.map(brief), ['E_READ 1:1']);
    assert.match(diagnostics[0]?.hint ?? '', 'recipe.yaml');
    assert.equal((await see(join(folder, 'recipe.yaml', 'x'))).map(brief), ['E_READ 1:1']);
    assert.equal((await see(join(folder, 'no', 'such.yaml'))).map(brief), ['E_READ 1:1']);
  });
});

test('a folder, a pipe nobody writes to', async () => {
  await withFiles({ 'recipe.yaml': BASE }, async (folder) => {
    const diagnostics = await see(folder);
    assert.equal(diagnostics.map(brief), ['E_READ 1:1']);
    assert.match(diagnostics[0]?.hint ?? '', 'recipe.yaml');
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    assert.equal((await see(join(folder, 'pipe'))).map(brief), ['E_READ 1:1']);
  });
});

test('too large files are refused without being read', async () => {
  await withFiles({ 'big.yaml': '' }, async (folder) => {
    const file = join(folder, 'big.yaml');
    // More than Node.js reads at once: reading it would fail, as E_READ.
    await truncate(file, 5 * 1024 ** 3);
    const diagnostics = await see(file);
    assert.equal(diagnostics.map(brief), ['E_SIZE 1:1']);
    assert.match(diagnostics[0]?.message ?? '', '5120.0 MiB');
    await writeFile(file, `${BASE}# ${'x'.repeat(1024 * 1024)}\n`);
    assert.equal((await see(file)).map(brief), ['E_SIZE 1:1']);
    await writeFile(file, BASE + '#'.repeat(1024 * 1024 - BASE.length));
    assert.equal((await compile(file, { registry: REGISTRY })).diagnostics, [], '1 MiB is allowed');
  });
});

test('what is not UTF-8 is shown at its place', async () => {
  const latin1 = Buffer.from('version: 1\nname: caf\u00e9\n', 'latin1');
  const utf16 = Buffer.from(`\uFEFF${BASE}`, 'utf16le');
  const multi = Buffer.concat([
    Buffer.from('# \u{1F600} ok\nname: '),
    Buffer.from([0xf0, 0x9f, 0x98]),
    Buffer.from('x\n'),
  ]);
  await withFiles(
    { 'latin1.yaml': latin1, 'utf16.yaml': utf16, 'multi.yaml': multi, 'nul.yaml': 'version: 1\nname: a\0b\n' },
    async (folder) => {
      assert.equal((await see(join(folder, 'latin1.yaml'))).map(brief), ['E_ENCODING 2:10']);
      assert.equal((await see(join(folder, 'utf16.yaml'))).map(brief), ['E_ENCODING 1:1']);
      assert.equal((await see(join(folder, 'multi.yaml'))).map(brief), ['E_ENCODING 2:7']);
      assert.equal((await see(join(folder, 'nul.yaml'))).map(brief), ['E_ENCODING 2:8']);
    },
  );
});

test('a byte order mark is accepted', async () => {
  await withFiles({ 'bom.yaml': `\uFEFF${BASE}` }, async (folder) => {
    const { plan, diagnostics } = await compile(join(folder, 'bom.yaml'), { registry: REGISTRY });
    assert.equal(diagnostics, []);
    assert.ok(plan !== null);
  });
});

test.run();
