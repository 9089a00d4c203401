import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Tensor } from '../../src/contracts/tensor.js';
import { EmbeddingStore } from '../../src/runner/embedding-store.js';

const test = suite<{ folder: string }>('embedding store');

test.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), 'vlm-rows-'));
});
test.after.each(async ({ folder }) => {
  await rm(folder, { recursive: true, force: true });
});

const rows = (value: number, count = 4): Tensor<'float32'> => ({
  dtype: 'float32',
  dims: [1, count],
  data: new Float32Array(count).fill(value),
});
const MB = 1024 * 1024;
const open = (folder: string | null, encoder = 'encoder', limits: { memory?: number; disk?: number } = {}) =>
  new EmbeddingStore({ memoryBytes: limits.memory ?? MB, folder, diskBytes: limits.disk ?? MB }, async () => encoder);

test('what was put comes back, as a copy of its own', async () => {
  const store = open(null);
  assert.is(await store.get('k'), undefined);
  const given = rows(1);
  await store.put('k', given);
  given.data.fill(9);
  const first = await store.get('k');
  assert.equal(first, rows(1));
  first?.data.fill(7);
  assert.equal(await store.get('k'), rows(1));
});

test('another process finds it on disk, both dtypes; another encoder does not', async ({ folder }) => {
  const half: Tensor<'float16'> = { dtype: 'float16', dims: [3, 1], data: new Uint16Array([1, 2, 3]) };
  const store = open(folder);
  await store.put('k', rows(2));
  await store.put('h', half);
  assert.equal(await open(folder).get('k'), rows(2));
  assert.equal(await open(folder).get('h'), half);
  assert.is(await open(folder, 'other').get('k'), undefined);
});

test('a damaged file is no answer, and is removed', async ({ folder }) => {
  await open(folder).put('k', rows(3));
  const [name = ''] = await readdir(folder);
  const path = join(folder, name);
  const whole = await readFile(path);
  const flipped = Buffer.from(whole);
  flipped[flipped.length - 1] = (flipped.at(-1) ?? 0) ^ 1;
  for (const bytes of [flipped, whole.subarray(0, -1), whole.subarray(0, 10), Buffer.from('{}\nxx'), Buffer.alloc(0)]) {
    await writeFile(path, bytes);
    assert.is(await open(folder).get('k'), undefined);
    assert.equal(await readdir(folder), []);
  }
});

test('memory keeps to its limit: what was used longest ago goes', async () => {
  const store = open(null, 'e', { memory: 2 * 4 * 100 });
  await store.put('a', rows(1, 100));
  await store.put('b', rows(2, 100));
  await store.get('a');
  await store.put('c', rows(3, 100));
  assert.is(await store.get('b'), undefined);
  assert.equal(await store.get('a'), rows(1, 100));
  assert.equal(await store.get('c'), rows(3, 100));
  await store.put('huge', rows(4, 1000));
  assert.is(await store.get('huge'), undefined);
  assert.equal(await store.get('c'), rows(3, 100));
});

test('the disk keeps to its limit', async ({ folder }) => {
  const store = open(folder, 'e', { memory: 0, disk: 5000 });
  for (let i = 0; i < 20; i++) await store.put(`k${i}`, rows(i, 250));
  const sizes = await Promise.all(
    (await readdir(folder)).map(async (name) => (await readFile(join(folder, name))).length),
  );
  assert.ok(sizes.length > 0);
  assert.ok(sizes.reduce((a, b) => a + b, 0) <= 5000, `${sizes.join()} bytes`);
  assert.equal(await store.get('k19'), rows(19, 250));
});

test('several processes keep to one limit, and what a killed one left of a file goes first', async ({ folder }) => {
  const part = join(folder, `.${'a'.repeat(64)}.rows.123.0123abcd.tmp`);
  await writeFile(part, new Uint8Array(40_000));
  await utimes(part, new Date(0), new Date(0));
  const stores = Array.from({ length: 4 }, () => open(folder, 'encoder', { disk: 100_000 }));
  for (let i = 0; i < 20; i++) for (const [j, store] of stores.entries()) await store.put(`${i} ${j}`, rows(i, 2000));
  const names = await readdir(folder);
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(folder, name))).size));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  assert.ok(total <= 140_000 && total > 50_000, `${total} bytes`);
  assert.not.ok(names.some((name) => name.endsWith('.tmp')));
});

test('a folder that cannot be written costs nothing but the cache', async ({ folder }) => {
  const file = join(folder, 'file');
  await writeFile(file, '');
  const store = open(join(file, 'below'), 'e', { memory: 0 });
  await store.put('k', rows(1));
  assert.is(await store.get('k'), undefined);
});

test.run();
