// What a pack may not hold: each is refused before anything of it is written.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../src/contracts/errors.js';
import { LIMITS, nameTrouble } from '../../src/share/pack-format.js';
import { tarHeader } from '../../src/share/tar.js';
import { type OpenedPack, openPack } from '../../src/share/unpack.js';
import { altered, type PackParts, packBytes, type RawEntry, rawTar, sha256 } from './fixtures.js';

const test = suite<{ dir: string; cache: string }>('opening packs');
test.before.each((context) => {
  context.dir = mkdtempSync(join(tmpdir(), 'vlm-unpack-'));
  context.cache = join(context.dir, 'cache');
});
test.after.each(({ dir }) => rmSync(dir, { recursive: true, force: true }));

interface Place {
  readonly dir: string;
  readonly cache: string;
}

function openBytes({ dir, cache }: Place, bytes: Uint8Array, name = 'x.vlm.tgz'): Promise<OpenedPack> {
  writeFileSync(join(dir, name), bytes);
  return openPack(join(dir, name), { cache });
}

/** Refused with the reason, and nothing is there afterwards. */
async function refuses(place: Place, bytes: Uint8Array, reason: RegExp, code = 'PACK_INVALID'): Promise<void> {
  let error: unknown;
  try {
    await openBytes(place, bytes);
  } catch (thrown) {
    error = thrown;
  }
  assert.instance(error, VlmError);
  assert.is((error as VlmError).code, code, (error as VlmError).message);
  assert.match((error as VlmError).message, reason);
  const packs = join(place.cache, 'packs');
  assert.equal(existsSync(packs) ? readdirSync(packs) : [], [], 'something was written');
  assert.equal(
    readdirSync(place.dir).filter((name) => name !== 'x.vlm.tgz' && name !== 'cache'),
    [],
  );
}

const refusesParts = (place: Place, parts: PackParts, reason: RegExp): Promise<void> =>
  refuses(place, packBytes(parts), reason);

test('a whole pack is opened once, under the digest of its bytes, and found there again', async (place) => {
  const bytes = packBytes({ files: { 'examples/a.png': 'picture' } });
  const pack = await openBytes(place, bytes);
  assert.is(pack.sha256, sha256(bytes));
  assert.is(pack.folder, join(place.cache, 'packs', pack.sha256.slice(0, 40)));
  assert.is(readFileSync(join(pack.folder, 'examples/a.png'), 'utf8'), 'picture');
  assert.is(statSync(join(pack.folder, 'examples/a.png')).mode & 0o777, 0o644 & ~process.umask());
  const { ino } = statSync(pack.recipe);
  assert.is((await openBytes(place, bytes, 'copy.tgz')).folder, pack.folder);
  assert.is(statSync(pack.recipe).ino, ino, 'unpacked again');
});

test('a folder that was changed since is not used: it is unpacked again', async (place) => {
  const bytes = packBytes({ files: { 'model/a.bin': 'weights' } });
  const { folder } = await openBytes(place, bytes);
  writeFileSync(join(folder, 'model/a.bin'), 'wei9hts');
  await openBytes(place, bytes);
  assert.is(readFileSync(join(folder, 'model/a.bin'), 'utf8'), 'weights');
  rmSync(join(folder, 'recipe.yaml'));
  await openBytes(place, bytes);
  assert.ok(existsSync(join(folder, 'recipe.yaml')));
  // A file more, which a model folder may look for; a link; a list of digests that fits what was changed.
  writeFileSync(join(folder, 'model/chat_template.jinja'), 'x');
  await openBytes(place, bytes);
  assert.not.ok(existsSync(join(folder, 'model/chat_template.jinja')));
  symlinkSync('/etc', join(folder, 'model/etc'));
  await openBytes(place, bytes);
  assert.not.ok(existsSync(join(folder, 'model/etc')));
  const list = readFileSync(join(folder, 'pack.json'), 'utf8');
  writeFileSync(join(folder, 'model/a.bin'), 'wei9hts');
  writeFileSync(
    join(folder, 'pack.json'),
    list.replace(sha256(Buffer.from('weights')), sha256(Buffer.from('wei9hts'))),
  );
  await openBytes(place, bytes);
  assert.is(readFileSync(join(folder, 'model/a.bin'), 'utf8'), 'weights');
  assert.is(readFileSync(join(folder, 'pack.json'), 'utf8'), list);
});

test('several processes may open it at once', async (place) => {
  const bytes = packBytes({ files: { 'model/a.bin': 'x'.repeat(100_000) } });
  const all = await Promise.all(['a.tgz', 'b.tgz', 'c.tgz'].map((name) => openBytes(place, bytes, name)));
  assert.is(new Set(all.map((pack) => pack.folder)).size, 1);
  assert.equal(readdirSync(join(place.cache, 'packs')).length, 1);
});

for (const [name, reason] of [
  ['../evil', /leads out/],
  ['examples/../../evil', /leads out/],
  ['/tmp/evil', /absolute/],
  ['C:evil', /may not have/],
  ['a\\..\\evil', /may not have/],
  ['a\u0000b', /may not have/],
  ['a\u001b[2Jb', /may not have/],
  ['a\u202egnp.exe', /may not have/],
  ['a//b', /empty parts/],
  ['./a', /empty parts/],
  ['a.', /drop/],
  ['a ', /drop/],
  ['e\u0301.png', /normal form/],
  [`model/${'x'.repeat(300)}`, /too long/],
] as const) {
  test(`the name ${JSON.stringify(name.slice(0, 30))} is refused`, async (place) => {
    assert.match(nameTrouble(name) ?? 'none', reason);
    const data = 'evil';
    const listed = { bytes: 4, sha256: sha256(data) };
    // Where tar has no room for the name, the manifest alone gives it away.
    const isShort = name.length < 100 && !name.includes('\u0000');
    await refusesParts(
      place,
      {
        manifest: (m) => ({ ...m, files: { ...(m['files'] as object), [name]: listed } }),
        entries: (e) => (isShort ? [...e, { name, data }] : e),
      },
      reason,
    );
    // Not in the manifest, only in the archive.
    if (isShort) await refusesParts(place, { entries: (e) => [...e, { name, data }] }, /another file than/);
  });
}

test('names that some systems take for one another are refused', async (place) => {
  await refusesParts(place, { files: { 'model/A.bin': '1', 'model/a.bin': '2' } }, /upper and lower case/);
  await refusesParts(place, { files: { 'model/STRASSE': '1', 'model/strasse': '2' } }, /upper and lower case/);
  await refusesParts(place, { files: { a: '1', 'a/b': '2' } }, /a file and a folder/);
});

test('a file that comes twice, out of order, too much or not at all is refused', async (place) => {
  const files = { 'model/a': '1', 'model/b': '2' };
  await refusesParts(place, { files, entries: (e) => e.flatMap((x) => [x, x]) }, /another file than/);
  await refusesParts(place, { files, entries: (e) => [e[0]!, ...e.slice(1).reverse()] }, /another file than/);
  await refusesParts(place, { files, entries: (e) => [...e, { name: 'z', data: 'z' }] }, /its manifest lists/);
  await refusesParts(place, { files, entries: (e) => e.slice(0, -1) }, /missing/);
  await refusesParts(place, { entries: (e) => e.slice(1) }, /does not begin with pack.json/);
  await refuses(place, gzipSync(rawTar([])), /empty/);
});

test('a file of another size or content than the manifest says is refused', async (place) => {
  const swap = (data: string) => (e: RawEntry[]) => e.map((x) => (x.name === 'model/a' ? { ...x, data } : x));
  const files = { 'model/a': 'true' };
  await refusesParts(place, { files, entries: swap('fals') }, /other content/);
  await refusesParts(place, { files, entries: swap('longer') }, /6 bytes \(manifest: 4\)/);
});

test('manifests that make no sense are refused', async (place) => {
  await refusesParts(place, { manifest: () => 'text' }, /no format/);
  await refusesParts(place, { manifest: (m) => ({ ...m, format: 2 }) }, /newer/);
  await refusesParts(place, { manifest: (m) => ({ ...m, files: {} }) }, /recipe.yaml is not in it/);
  await refusesParts(place, { manifest: (m) => ({ ...m, model: null }) }, /neither a model/);
  for (const facts of [
    { bytes: -1, sha256: 'a'.repeat(64) },
    { bytes: 1.5, sha256: 'a'.repeat(64) },
    { bytes: 1 },
    null,
  ]) {
    await refusesParts(place, { manifest: (m) => ({ ...m, files: { ...(m['files'] as object), x: facts } }) }, /is no/);
  }
  await refuses(place, gzipSync(rawTar([{ name: 'pack.json', data: '{"format":1,' }])), /not JSON/);
  const proto = '{"format":1,"name":"p","model":{"included":true},"files":{"__proto__":{"bytes":1,"sha256":"x"}}}';
  await refuses(place, gzipSync(rawTar([{ name: 'pack.json', data: proto }])), /digest/);
});

test('bombs are refused before they are written: too many files, too many bytes, too dense', async (place) => {
  const many = Object.fromEntries(
    Array.from({ length: LIMITS.files + 1 }, (_, i) => [`model/${i}`, { bytes: 0, sha256: sha256('') }]),
  );
  await refusesParts(
    place,
    { manifest: (m) => ({ ...m, files: { ...(m['files'] as object), ...many } }) },
    /4099 files/,
  );
  const huge = { bytes: LIMITS.bytes + 1, sha256: sha256('') };
  await refusesParts(
    place,
    { manifest: (m) => ({ ...m, files: { ...(m['files'] as object), huge } }) },
    /bytes \(at most/,
  );
  const dense = new Uint8Array(LIMITS.ratioFrom + 4 * 1024 ** 2);
  await refusesParts(place, { files: { 'model/zeros': dense } }, /100 times its size/);
  const manifest = Buffer.alloc(LIMITS.manifestBytes + 1, ' ');
  await refuses(place, gzipSync(rawTar([{ name: 'pack.json', data: manifest }])), /pack.json has/);
});

const KINDS = {
  '1': /hard link/,
  '2': /symbolic link/,
  '3': /device/,
  '4': /device/,
  '5': /folder/,
  '6': /pipe/,
  x: /pax/,
  g: /pax/,
  L: /GNU/,
  K: /GNU/,
  S: /sparse/,
  '7': /not one that/,
  '\0': /not one that/,
};
for (const [kind, reason] of Object.entries(KINDS)) {
  test(`an entry of type ${JSON.stringify(kind)} is refused, in place of a listed file and besides`, async (place) => {
    const header = altered(tarHeader('model/a', 1), {
      156: kind,
      ...(kind === '1' || kind === '2' ? { 157: '/etc/passwd' } : {}),
    });
    const files = { 'model/a': 'a' };
    await refusesParts(
      place,
      { files, entries: (e) => e.map((x) => (x.name === 'model/a' ? { ...x, header } : x)) },
      reason,
    );
    await refusesParts(place, { files, entries: (e) => [{ name: 'model/a', data: 'a', header }, ...e] }, reason);
  });
}

test('headers that another tool would write are refused, whatever the difference', async (place) => {
  for (const change of [
    { 108: '0001750' },
    { 116: '0001750' },
    { 136: '14712345670' },
    { 100: '0000755' },
    { 265: 'root' },
    { 257: 'ustar  \0' },
    { 124: '00000000001 ' },
    { 124: '\x80\0\0\0\0\0\0\0\0\0\0\x01' },
    { 500: 'x' },
  ]) {
    const header = altered(tarHeader('model/a', 1), change);
    const entries = (e: RawEntry[]) => e.map((x) => (x.name === 'model/a' ? { ...x, header } : x));
    await refusesParts(place, { files: { 'model/a': 'a' }, entries }, /written as it should be|not one that/);
  }
  const wrongSum = Buffer.from(tarHeader('pack.json', 1));
  wrongSum.write('000000', 148, 'latin1');
  await refuses(place, gzipSync(rawTar([{ name: 'pack.json', data: ' ', header: wrongSum }])), /not one that/);
});

test('damage is found: cut anywhere, a bit turned, something added', async (place) => {
  const whole = packBytes({ files: { 'model/a': 'weights of some length' } });
  for (const part of [0, 1, 10, 40, whole.length - 9, whole.length - 1]) {
    await refuses(place, whole.subarray(0, part), /./);
  }
  for (const at of [3, 12, Math.floor(whole.length / 2), whole.length - 6]) {
    const turned = Buffer.from(whole);
    turned[at] = (turned[at] ?? 0) ^ 0x10;
    // A turned bit in the gzip header's flags may only be noticed later: it is noticed.
    await refuses(place, turned, /./);
  }
  await refuses(place, Buffer.concat([whole, Buffer.from('more')]), /./);
  await refuses(place, Buffer.concat([whole, whole]), /after its end/);
  const tar = rawTar([{ name: 'pack.json', data: '{}' }]);
  await refuses(place, gzipSync(Buffer.concat([tar, Buffer.alloc(512)])), /./);
  await refuses(place, Buffer.from('not gzip at all'), /./);
});

test('a place that is no file is told', async ({ dir, cache }) => {
  mkdirSync(join(dir, 'folder.tgz'));
  for (const name of ['folder.tgz', 'none.tgz']) {
    const error = await openPack(join(dir, name), { cache }).catch((e: unknown) => e);
    assert.is((error as VlmError).code, 'PACK_INVALID');
  }
});

test('a disk that is full half-way leaves nothing, and says so', async ({ dir, cache }) => {
  writeFileSync(join(dir, 'x.tgz'), packBytes({ files: { 'model/a': 'x'.repeat(1000) } }));
  let files = 0;
  const error = await openPack(join(dir, 'x.tgz'), {
    cache,
    openFile: async (path) => {
      const file = await open(path, 'wx');
      if (++files < 3) return file;
      const write = async (): Promise<never> => {
        throw Object.assign(new RangeError('no space left on device'), { code: 'ENOSPC' });
      };
      return { write, close: () => file.close() } as never;
    },
  }).catch((e: unknown) => e);
  assert.is((error as VlmError).code, 'OUTPUT_UNWRITABLE');
  assert.match((error as VlmError).message, /no room to unpack/);
  assert.equal(readdirSync(join(cache, 'packs')), []);
});

test('drafts of processes that are gone are removed, those of others stay', async (place) => {
  const bytes = packBytes();
  const first = await openBytes(place, bytes);
  rmSync(first.folder, { recursive: true });
  const packs = join(place.cache, 'packs');
  const { pid } = spawnSync(process.execPath, ['-e', '']);
  const id = 'a'.repeat(40);
  const { createHash } = await import('node:crypto');
  const { hostname } = await import('node:os');
  const host = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);
  const gone = `.draft-${id}-${host}-${pid}-00000000`;
  const alive = `.draft-${id}-${host}-${process.pid}-00000000`;
  const elsewhere = `.draft-${id}-0badcafe-${pid}-00000000`;
  for (const name of [gone, alive, elsewhere]) mkdirSync(join(packs, name));
  await openBytes(place, bytes);
  const left = readdirSync(packs);
  assert.not.ok(left.includes(gone));
  assert.ok(left.includes(alive) && left.includes(elsewhere));
});

// Archives of another tool, where it is there.
const python = spawnSync('python3', ['-c', 'import tarfile']).status === 0;
const SCRIPT = `
import hashlib, io, json, sys, tarfile
kind, out = sys.argv[1], sys.argv[2]
files = {'recipe.lock.json': b'{}', 'recipe.yaml': b'version: 1\\n', 'model/a': b'weights'}
manifest = {'format': 1, 'name': 'p', 'model': {'included': True},
  'files': {n: {'bytes': len(d), 'sha256': hashlib.sha256(d).hexdigest()} for n, d in sorted(files.items())}}
fmt = {'pax': tarfile.PAX_FORMAT, 'gnu': tarfile.GNU_FORMAT}.get(kind, tarfile.USTAR_FORMAT)
with tarfile.open(out, 'w:gz', format=fmt) as t:
  def add(name, data, **more):
    i = tarfile.TarInfo(name); i.size = len(data)
    for k, v in more.items(): setattr(i, k, v)
    t.addfile(i, io.BytesIO(data) if i.size else None)
  add('pack.json', json.dumps(manifest).encode())
  if kind == 'symlink': add('model', b'', type=tarfile.SYMTYPE, linkname='/tmp')
  if kind == 'hardlink': add('model/a', b'', type=tarfile.LNKTYPE, linkname='../../../etc/passwd')
  if kind == 'device': add('model/a', b'', type=tarfile.CHRTYPE, devmajor=1, devminor=5)
  if kind == 'parent': add('../evil', b'evil')
  if kind == 'absolute': add('/tmp/vlm-evil', b'evil')
  if kind == 'twice': add('model/a', b'weights')
  if kind == 'pax': add('model/' + 'x' * 300, b'evil', pax_headers={'path': '../evil'})
  if kind == 'gnu': add('model/' + 'x' * 300, b'evil')
  if kind == 'plain':
    for n, d in sorted(files.items()): add(n, d, uid=1000, mtime=1)
  else:
    for n, d in sorted(files.items()): add(n, d)
`;
if (python) {
  for (const kind of ['symlink', 'hardlink', 'device', 'parent', 'absolute', 'twice', 'pax', 'gnu', 'plain']) {
    test(`an archive of Python's tarfile is refused: ${kind}`, async (place) => {
      const made = mkdtempSync(join(tmpdir(), 'vlm-evil-'));
      try {
        execFileSync('python3', ['-c', SCRIPT, kind, join(made, 'x.tgz')]);
        await refuses(place, readFileSync(join(made, 'x.tgz')), /not a pack that vlm-run wrote|another file than/);
        assert.not.ok(existsSync('/tmp/vlm-evil'));
      } finally {
        rmSync(made, { recursive: true, force: true });
      }
    });
  }
}

test.run();
