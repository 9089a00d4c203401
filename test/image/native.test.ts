import { spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadKernels } from '../../src/image/native.js';
import { packageRoot } from '../../src/util/package-root.js';

const test = suite('native kernels');
const folder = mkdtempSync(join(tmpdir(), 'vlm-native-'));
const module = new URL('../../src/image/native.js', import.meta.url).href;

function inProcess(code: string, env: Record<string, string>): string {
  const script = `import { loadKernels } from ${JSON.stringify(module)};\n${code}`;
  const run = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  assert.is(run.status, 0, run.stderr);
  return run.stdout.trim();
}

test('VLM_RUN_NO_NATIVE=1 asks for TypeScript, without a notice', () => {
  const code =
    'const notes = []; const k = loadKernels({ notice: (m) => notes.push(m) }); console.log(k.label, notes.length);';
  assert.is(inProcess(code, { VLM_RUN_NO_NATIVE: '1' }), 'typescript 0');
});

test('a missing or foreign binary falls back and says so once', () => {
  const broken = join(folder, 'broken.node');
  writeFileSync(broken, 'no binary');
  const code = `const notes = []; const notice = (m) => notes.push(m);
    const a = loadKernels({ notice, path: ${JSON.stringify(join(folder, 'none.node'))} });
    const b = loadKernels({ notice, path: ${JSON.stringify(broken)} });
    console.log(JSON.stringify([a.label, b.label, notes]));`;
  const [a, b, notes] = JSON.parse(inProcess(code, { VLM_RUN_NO_NATIVE: '' })) as [string, string, string[]];
  assert.is(a, 'typescript');
  assert.is(b, 'typescript');
  assert.is(notes.length, 1);
  assert.match(notes[0] ?? '', /not built; run `npm run build:native`/);
});

test('every instruction set that this machine has gives the same pixels', () => {
  const resampleUrl = pathToFileURL(join(module.replace(/^file:\/\//, ''), '..', 'resample.js')).href;
  const code = `import { createHash } from 'node:crypto';
    const { resize } = await import(${JSON.stringify(resampleUrl)});
    const { kernels } = loadKernels(); const hash = createHash('sha256');
    for (const [w, h, W, H] of [[1, 1, 9, 7], [61, 43, 20, 17], [20, 17, 61, 43], [500, 7, 33, 64], [5, 300, 12, 9]]) {
      const data = Uint8Array.from({ length: w * h * 3 }, (_, i) => Math.imul(i + 1, 2654435761) >>> 24);
      for (const f of ['box', 'bilinear', 'hamming', 'bicubic', 'lanczos'])
        hash.update(resize({ width: w, height: h, data }, W, H, f, kernels).data);
    }
    console.log(hash.digest('hex'));`;
  const digests = ['', 'avx2', 'vnni', 'portable'].map((isa) => inProcess(code, { VLM_RUN_ISA: isa }));
  const typescript = inProcess(code, { VLM_RUN_NO_NATIVE: '1' });
  assert.match(typescript, /^[0-9a-f]{64}$/);
  for (const digest of digests) assert.is(digest, typescript);
});

test('building without a compiler is no failure, and building twice does the work once', () => {
  const build = (env: Record<string, string>) =>
    spawnSync(process.execPath, [join(packageRoot(), 'scripts', 'native', 'image.mjs')], {
      encoding: 'utf8',
      env: { ...process.env, ...env },
    });
  const none = build({ CXX: join(folder, 'no-such-compiler') });
  assert.is(none.status, 0);
  assert.match(none.stderr, /no C\+\+ compiler .* resized in TypeScript/);
  if (loadKernels().kernels.name !== 'native') return;
  assert.is(build({}).status, 0);
  assert.match(build({}).stderr, /up to date/);
});

test('the addon refuses sizes that do not fit its buffers', () => {
  const { kernels } = loadKernels();
  if (kernels.name !== 'native') return;
  const w = { size: 3, starts: Int32Array.of(0), counts: Int32Array.of(3), weights: Int32Array.of(1, 2, 3) };
  const bytes = (n: number) => new Uint8Array(n);
  assert.throws(() => kernels.horizontal(bytes(9), 3, 2, bytes(6), 1, w), RangeError);
  assert.throws(() => kernels.horizontal(bytes(18), 3, 2, bytes(5), 1, w), RangeError);
  assert.throws(() => kernels.horizontal(bytes(12), 2, 2, bytes(6), 1, w), RangeError);
  assert.throws(() => kernels.vertical(bytes(8), 4, bytes(4), 1, w), RangeError);
  assert.throws(() => kernels.vertical(bytes(12), 4, bytes(3), 1, w), RangeError);
  const negative = { ...w, starts: Int32Array.of(-1) };
  assert.throws(() => kernels.vertical(bytes(12), 4, bytes(4), 1, negative), RangeError);
  const table = new Float32Array(768);
  const size = { width: 2, height: 2 };
  assert.throws(() => kernels.tile(bytes(11), 6, 0, 0, size, table, new Float32Array(12), 0), RangeError);
  assert.throws(() => kernels.tile(bytes(12), 6, 1, 0, size, table, new Float32Array(12), 0), RangeError);
  assert.throws(() => kernels.tile(bytes(12), 6, 0, 0, size, table, new Float32Array(12), 1), RangeError);
  assert.throws(() => kernels.tile(bytes(12), 6, 0, 0, size, table.subarray(1), new Float32Array(12), 0), RangeError);
});

test.run();
