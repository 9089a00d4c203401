// Random damage: every pack is refused in words or gives exactly what its manifest says, and every lock is read or refused.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../src/contracts/errors.js';
import { compareExample, compareHeads, notesOf } from '../../src/share/compare.js';
import { DEFAULT_TOLERANCES, type Lock } from '../../src/share/format.js';
import { parseLock } from '../../src/share/read-lock.js';
import { openPack } from '../../src/share/unpack.js';
import { packBytes, sha256 } from './fixtures.js';

/** The same numbers in every run. */
function randoms(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    return state % below;
  };
}

test('a pack with one to three bytes changed is refused, or is what its manifest says', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'vlm-fuzz-'));
  try {
    const tar = gunzipSync(packBytes({ files: { 'examples/a.png': 'picture', 'model/b.bin': 'x'.repeat(700) } }));
    const random = randoms(7);
    const path = join(dir, 'x.tgz');
    const cache = join(dir, 'cache');
    let refused = 0;
    for (let round = 0; round < 600; round++) {
      const bytes = Buffer.from(tar);
      for (let n = 1 + random(3); n > 0; n--) bytes[random(bytes.length)] = random(256);
      writeFileSync(path, gzipSync(bytes, { level: 1 }));
      try {
        const { folder, manifest } = await openPack(path, { cache });
        for (const [name, facts] of Object.entries(manifest.files)) {
          assert.is(sha256(readFileSync(join(folder, name))), facts.sha256);
        }
        rmSync(folder, { recursive: true });
      } catch (error) {
        assert.instance(error, VlmError);
        assert.is((error as VlmError).code, 'PACK_INVALID', (error as VlmError).message);
        refused++;
      }
      assert.equal(existsSync(join(cache, 'packs')) ? readdirSync(join(cache, 'packs')) : [], []);
    }
    assert.equal(readdirSync(dir).sort(), ['cache', 'x.tgz']);
    // A changed name of the recipe in the manifest is all that may pass.
    assert.ok(refused > 550, `${refused} of 600`);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

const LOCK: Lock = {
  format: 1,
  recipe: {
    name: 'r',
    sha256: 'a'.repeat(64),
    resolved: { version: 1, model: {}, inputs: {}, devices: {}, nodes: {}, outputs: {} },
  },
  model: {
    name: 'm',
    hub: { id: 'a/b', revision: 'main', commit: null },
    files: [{ name: 'f', use: 'configuration', bytes: 1, sha256: 'b'.repeat(64) }],
    tokenizer: null,
    template: 'c'.repeat(64),
  },
  programs: [
    {
      role: 'vision',
      device: 'main',
      kind: 'compiled',
      sha256: 'd'.repeat(64),
      compiled: {
        target: 'card',
        compiler: 'apps 1',
        flags: ['-x'],
        specializations: [{ name: 's', symbols: { a: 1 } }],
      },
    },
  ],
  preprocessing: 1,
  versions: { node: '20' },
  tolerances: DEFAULT_TOLERANCES,
  examples: [
    {
      inputs: {
        prompt: { type: 'text', text: ['a', 'b'] },
        image: { type: 'image', images: [{ name: 'x', bytes: 1, sha256: 'e'.repeat(64), place: '../x.png' }] },
      },
      pixels: { p: { dims: [1, 3, 2, 2], sha256: 'f'.repeat(64), tiles: ['0123456789abcdef'] } },
      embeddings: {
        e: {
          dims: [2, 4],
          dtype: 'float32',
          sha256: '0'.repeat(64),
          norm: 1,
          sketch: Buffer.alloc(512).toString('base64'),
        },
      },
      prompts: { t: { prompt: [1, [2, 3]] } },
      completions: { d: { ids: [1, 2], margins: [1, 2], greedy: true, finish: 'eos' } },
      answers: { a: { sha256: '1'.repeat(64), text: 'x' } },
    },
  ],
};

test('a lock with a random value in a random place is refused in words, or compared', () => {
  assert.equal(parseLock(JSON.stringify(LOCK), 'x'), LOCK);
  const random = randoms(11);
  const values: readonly unknown[] = [
    null,
    -1,
    1.5,
    1e300,
    '',
    '/etc/passwd',
    'x',
    [],
    [[]],
    {},
    true,
    [1, 'a'],
    { a: null },
  ];
  const places: (readonly (string | number)[])[] = [];
  const walk = (value: unknown, path: readonly (string | number)[]): void => {
    if (path.length > 0) places.push(path);
    if (typeof value !== 'object' || value === null) return;
    for (const key of Object.keys(value))
      walk((value as Record<string, unknown>)[key], [...path, Array.isArray(value) ? Number(key) : key]);
  };
  walk(LOCK, []);
  assert.ok(places.length > 80);
  let compared = 0;
  for (const path of places) {
    for (let round = 0; round < 6; round++) {
      const copy = structuredClone(LOCK) as unknown as Record<string | number, unknown>;
      let at = copy;
      for (const key of path.slice(0, -1)) at = at[key] as typeof copy;
      const last = path.at(-1) ?? '';
      if (round === 0) delete at[last];
      else at[last] = values[random(values.length)];
      let lock: Lock;
      try {
        lock = parseLock(JSON.stringify(copy), 'x');
      } catch (error) {
        assert.is((error as VlmError).code, 'LOCK_INVALID', String(error));
        continue;
      }
      compared++;
      compareHeads(lock, LOCK);
      notesOf(lock, LOCK);
      const [example] = LOCK.examples;
      for (const locked of lock.examples) compareExample(locked, example!.inputs, example!, lock.tolerances, 0);
    }
  }
  assert.ok(compared > 20);
});

test('a lock may not name a place of one machine', () => {
  for (const place of ['/etc/passwd', '~/x.png', 'C:\\x.png', 'c:/x.png', 'file:///x.png']) {
    const lock = structuredClone(LOCK) as unknown as {
      examples: { inputs: { image: { images: { place: string }[] } } }[];
    };
    lock.examples[0]!.inputs.image.images[0]!.place = place;
    assert.throws(
      () => parseLock(JSON.stringify(lock), 'x'),
      (error: VlmError) => error.code === 'LOCK_INVALID',
    );
  }
});

test.run();
