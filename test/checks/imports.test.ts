import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/util/package-root.js';

const script = join(packageRoot(), 'scripts', 'checks', 'imports.mjs');

function check(change: (src: string) => void): { status: number | null; output: string } {
  const dir = mkdtempSync(join(tmpdir(), 'vlm-imports-'));
  try {
    const src = join(dir, 'src');
    cpSync(join(packageRoot(), 'src'), src, { recursive: true });
    change(src);
    const r = spawnSync(process.execPath, [script, src], { encoding: 'utf8' });
    return { status: r.status, output: r.stdout + r.stderr };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

test('the tree as it is passes', () => {
  const r = check(() => {});
  assert.is(r.status, 0, r.output);
});

for (const [title, file, line] of [
  ['a contract that imports a node', 'contracts/bad.ts', "import '../nodes/manifests.js';"],
  ['a node that imports a device', 'nodes/encode/bad.ts', "import '../../devices/manifests.js';"],
  ['a node that imports another node kind', 'nodes/encode/bad.ts', "export * from '../decode/manifest.js';"],
  ['a family that imports the text adapters', 'families/internvl/bad.ts', "import '../../text/index.js';"],
  ['a recipe phase that imports the runner', 'recipe/bad.ts', "const m = await import('../runner/pool.js');"],
  ['piscina outside the pool', 'runner/bad.ts', "import { Piscina } from 'piscina';"],
  ['a manifest that imports what checks options', 'nodes/encode/manifest.ts', "import 'node:fs';"],
  ['a family that reads files', 'families/internvl/bad.ts', "import { readFileSync } from 'node:fs';"],
  ['a package nobody declared', 'runner/bad.ts', "import 'left-pad';"],
  ['an error without a code', 'text/bad.ts', "throw new Error('no');"],
  ['a family named in shared code', 'runner/bad.ts', "export const odd = (name: string) => name === 'llama4';"],
  ['printing outside of cli', 'runner/bad.ts', "process.stdout.write('here');"],
  ['ending the process outside of cli', 'image/bad.ts', 'process.exit(1);'],
  ['a file in a folder nobody declared', 'elsewhere/bad.ts', 'export {};'],
] as const) {
  test(`refused: ${title}`, () => {
    const r = check((src) => {
      mkdirSync(join(src, file, '..'), { recursive: true });
      writeFileSync(join(src, file), `${line}\n`);
    });
    assert.is(r.status, 1);
    assert.match(r.output, file);
  });
}

test('refused: a tree without files', () => {
  const r = check((src) => {
    rmSync(src, { recursive: true });
    mkdirSync(src);
  });
  assert.is(r.status, 1);
  assert.match(r.output, 'matches no file');
});

test.run();
