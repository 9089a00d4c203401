import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { VlmError } from '../../src/contracts/errors.js';
import { type PackSource, type WrittenPack, writePack } from '../../src/share/packer.js';
import { openPack } from '../../src/share/unpack.js';
import { packageRoot } from '../../src/util/package-root.js';
import { sha256 } from './fixtures.js';

const test = suite<{ dir: string }>('writing packs');
test.before.each((context) => {
  context.dir = mkdtempSync(join(tmpdir(), 'vlm-packer-'));
});
test.after.each(({ dir }) => rmSync(dir, { recursive: true, force: true }));

const text = (value: string): PackSource => ({ bytes: Buffer.from(value) });
const base: readonly (readonly [string, PackSource])[] = [
  ['recipe.yaml', text('version: 1\n')],
  ['recipe.lock.json', text('{}')],
];
const request = (path: string, more: readonly (readonly [string, PackSource])[] = []) => ({
  path,
  name: 'p',
  model: { included: true } as const,
  files: new Map([...base, ...more]),
});
const codeOf = async (running: Promise<unknown>): Promise<VlmError> => {
  const error = await running.then(
    () => null,
    (e: unknown) => e,
  );
  assert.ok(error !== null, 'it succeeded');
  return error as VlmError;
};

test('the same files are the same bytes, in whatever order, folder and time they are given', async ({ dir }) => {
  const a = join(dir, 'a', 'weights.bin');
  const b = join(dir, 'b', 'other-name.bin');
  for (const [path, time] of [
    [a, 1],
    [b, 2_000_000_000],
  ] as const) {
    mkdirSync(join(path, '..'));
    writeFileSync(path, 'weights '.repeat(20_000));
    execFileSync('touch', ['-d', `@${time}`, path]);
  }
  const file = (path: string): PackSource => ({ path, size: statSync(path).size, sha256: sha256(readFileSync(path)) });
  const one = await writePack(
    request(join(dir, 'one.tgz'), [
      ['model/w', file(a)],
      ['examples/x', text('x')],
    ]),
  );
  const two = await writePack(
    request(join(dir, 'two.tgz'), [
      ['examples/x', text('x')],
      ['model/w', file(b)],
    ]),
  );
  assert.is(one.sha256, two.sha256);
  assert.is(one.sha256, sha256(readFileSync(one.path)));
  assert.is(one.bytes, statSync(one.path).size);
  const gzip = readFileSync(one.path);
  assert.equal([...gzip.subarray(0, 10)], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
});

test('names are sorted by their code units, the manifest first', async ({ dir }) => {
  const more = ['model/b', 'model/B1', 'model/ä', 'model/a'].map((name) => [name, text(name)] as const);
  const { path } = await writePack(request(join(dir, 'x.tgz'), more));
  const { manifest } = await openPack(path, { cache: join(dir, 'cache') });
  assert.equal(Object.keys(manifest.files), [
    'model/B1',
    'model/a',
    'model/b',
    'model/ä',
    'recipe.lock.json',
    'recipe.yaml',
  ]);
});

test('sizes around a block, long names and empty files come back as they were', async ({ dir }) => {
  const long = `model/${'deep/'.repeat(20)}${'x'.repeat(90)}`;
  const more: [string, PackSource][] = [0, 1, 511, 512, 513, 1024].map((n) => [`model/${n}`, text('y'.repeat(n))]);
  const { path } = await writePack(request(join(dir, 'x.tgz'), [...more, [long, text('long')]]));
  const { folder } = await openPack(path, { cache: join(dir, 'cache') });
  for (const [name] of more) assert.is(statSync(join(folder, name)).size, Number(name.slice(6)));
  assert.is(readFileSync(join(folder, long), 'utf8'), 'long');
});

test('other tools read it: tar lists every file with its size', async ({ dir }) => {
  if (spawnSync('tar', ['--version']).status !== 0) return;
  const { path } = await writePack(request(join(dir, 'x.tgz'), [['model/w', text('weights')]]));
  const listed = execFileSync('tar', ['-tzf', path], { encoding: 'utf8' }).trim().split('\n');
  assert.equal(listed, ['pack.json', 'model/w', 'recipe.lock.json', 'recipe.yaml']);
  assert.is(execFileSync('tar', ['-xzOf', path, 'model/w'], { encoding: 'utf8' }), 'weights');
});

test('what no pack may hold is not packed', async ({ dir }) => {
  const tries: readonly (readonly [string, PackSource])[] = [
    ['../x', text('')],
    ['model/RECIPE\\', text('')],
    ['Recipe.yaml', text('')],
    [`model/${'x'.repeat(120)}`, text('')],
    ['model/huge', { path: join(dir, 'none'), size: 9 * 1024 ** 3, sha256: 'a'.repeat(64) }],
  ];
  for (const one of tries) {
    const error = await codeOf(writePack(request(join(dir, 'x.tgz'), [one])));
    assert.is(error.code, 'PACK_INVALID', one[0]);
  }
  assert.equal(readdirSync(dir), []);
});

test('a file that changes while it is packed ends it, and nothing is left', async ({ dir }) => {
  const path = join(dir, 'w');
  writeFileSync(path, 'as it is now');
  for (const source of [
    { path, size: 12, sha256: sha256('as it was!!!') },
    { path, size: 20, sha256: sha256('as it is now') },
    { path, size: 3, sha256: sha256('as ') },
  ]) {
    const error = await codeOf(writePack(request(join(dir, 'x.tgz'), [['model/w', source]])));
    assert.is(error.code, 'MODEL_INVALID');
  }
  const gone = { path: join(dir, 'gone'), size: 1, sha256: sha256('x') };
  await codeOf(writePack(request(join(dir, 'x.tgz'), [['model/w', gone]])));
  assert.equal(readdirSync(dir), ['w']);
});

test('stopping leaves nothing', async ({ dir }) => {
  const signal = AbortSignal.abort();
  const error = await codeOf(writePack({ ...request(join(dir, 'x.tgz')), signal }));
  assert.is(error.code, 'CANCELLED');
  assert.equal(readdirSync(dir), []);
});

test('a disk that is full half-way leaves the pack that was there, and says so', async ({ dir }) => {
  const path = join(dir, 'x.tgz');
  const before = await writePack(request(path));
  const noise = Buffer.from(Array.from({ length: 200_000 }, (_, i) => Math.imul(i, 2654435761) >>> 24));
  let written = 0;
  const error = await codeOf(
    writePack({
      ...request(path, [['model/w', { bytes: noise }]]),
      openFile: async (part) => {
        const file = await open(part, 'wx');
        return {
          write: async (data: Uint8Array, at: number, length: number) => {
            written += length;
            if (written > 1000) throw Object.assign(new RangeError('ENOSPC: no space left'), { code: 'ENOSPC' });
            return file.write(data, at, length);
          },
          sync: () => file.sync(),
          close: () => file.close(),
        } as never;
      },
    }),
  );
  assert.is(error.code, 'OUTPUT_UNWRITABLE');
  assert.match(error.message, /no room for the pack/);
  assert.equal(readdirSync(dir), ['x.tgz']);
  assert.is(sha256(readFileSync(path)), before.sha256);
});

/** A file system of 256 KiB, where this process may make one. */
function smallDisk(dir: string): string | null {
  const disk = join(dir, 'disk');
  mkdirSync(disk);
  return spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', disk]).status === 0 ? disk : null;
}

test('the same on a disk that really is full, where one can be made', async ({ dir }) => {
  const disk = smallDisk(dir);
  if (disk === null) return;
  try {
    const path = join(dir, 'large.tgz');
    const { createHash } = await import('node:crypto');
    const noise = Buffer.concat(
      Array.from({ length: 32_768 }, (_, i) => createHash('sha256').update(String(i)).digest()),
    );
    const files = [['model/w', { bytes: noise }]] as const;
    const error = await codeOf(writePack(request(join(disk, 'x.tgz'), files)));
    assert.is(error.code, 'OUTPUT_UNWRITABLE');
    assert.match(error.message, /no room for the pack/);
    assert.equal(readdirSync(disk), []);
    await writePack(request(path, files));
    const opening = await codeOf(openPack(path, { cache: disk }));
    assert.is(opening.code, 'OUTPUT_UNWRITABLE');
    assert.match(opening.message, /no room to unpack .*bytes needed/);
    assert.equal(readdirSync(join(disk, 'packs')), []);
  } finally {
    spawnSync('umount', [disk]);
  }
});

test('kill -9 half-way leaves no pack, and the next one clears away what is left', async ({ dir }) => {
  const path = join(dir, 'x.tgz');
  const module = pathToFileURL(join(packageRoot(), '.build', 'src', 'share', 'packer.js')).href;
  // Stands still when the first bytes are under way.
  const script = `
import { writePack } from ${JSON.stringify(module)};
const text = (t) => ({ bytes: Buffer.from(t) });
const files = new Map([['recipe.yaml', text('a')], ['recipe.lock.json', text('{}')], ['model/w', text('w'.repeat(300000))], ['model/z', text('z')]]);
let seen = 0;
await writePack({ path: ${JSON.stringify(path)}, name: 'p', model: { included: true }, files, onProgress: () => {
  if (++seen < 2) return;
  process.stdout.write('half');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60000);
} });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  const closed = once(child, 'close');
  child.kill('SIGKILL');
  const [, signal] = (await closed) as [number | null, string];
  assert.is(signal, 'SIGKILL');
  const left = readdirSync(dir);
  assert.is(left.length, 1);
  assert.match(left[0] ?? '', /^\.x\.tgz\..*\.tmp$/);
  const packed: WrittenPack = await writePack(request(path));
  assert.equal(readdirSync(dir), ['x.tgz']);
  assert.ok(gunzipSync(readFileSync(packed.path)).length > 0);
});

test.run();
