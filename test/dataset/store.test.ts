import { spawn } from 'node:child_process';
import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../src/contracts/errors.js';
import { ResultStore, type StoreIdentity } from '../../src/dataset/store.js';

const test = suite<{ folder: string }>('dataset store');
const WHO: StoreIdentity = { format: 1, recipe: 'r', sha256: 'aa', sources: ['x'], versions: {} };

test.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), 'vlm-store-'));
});
test.after.each(async ({ folder }) => {
  await rm(folder, { recursive: true, force: true });
});

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    assert.instance(error, VlmError);
    return (error as VlmError).code;
  }
  return 'none';
}
const lines = async (folder: string): Promise<unknown[]> =>
  (await readFile(join(folder, 'results.jsonl'), 'utf8'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));

test('rows come back as done when the store is opened again', async ({ folder }) => {
  const first = await ResultStore.open(folder, WHO, 'anew');
  await Promise.all([first.add({ id: 'a', ok: true }), first.add({ id: 'b', ok: false })]);
  await first.close();
  const second = await ResultStore.open(folder, WHO, 'resume');
  assert.equal([...second.done.keys()], ['a', 'b']);
  await second.add({ id: 'c', ok: true });
  await second.close();
  assert.equal(await lines(folder), [
    { id: 'a', ok: true },
    { id: 'b', ok: false },
    { id: 'c', ok: true },
  ]);
});

test('a torn last line is cut off: its item runs again', async ({ folder }) => {
  const first = await ResultStore.open(folder, WHO, 'anew');
  await first.add({ id: 'a', ok: true });
  await first.close();
  await appendFile(join(folder, 'results.jsonl'), '{"id":"b","ok":tr');
  const second = await ResultStore.open(folder, WHO, 'resume');
  assert.equal([...second.done.keys()], ['a']);
  await second.add({ id: 'b', ok: true });
  await second.close();
  assert.equal(await lines(folder), [
    { id: 'a', ok: true },
    { id: 'b', ok: true },
  ]);
});

test('failed rows are taken out for a retry, and the others stay as they are', async ({ folder }) => {
  const first = await ResultStore.open(folder, WHO, 'anew');
  for (const [id, ok] of [
    ['a', true],
    ['b', false],
    ['c', true],
    ['d', false],
  ] as const)
    await first.add({ id, ok, text: 'é' });
  await first.close();
  await appendFile(join(folder, 'results.jsonl'), '{"id":"e","ok":tr');
  assert.is(await codeOf(ResultStore.open(folder, { ...WHO, sha256: 'bb' }, 'retry')), 'USAGE');
  assert.is((await readFile(join(folder, 'results.jsonl'), 'utf8')).split('\n').length, 5, 'nothing is touched');
  const second = await ResultStore.open(folder, WHO, 'retry');
  assert.equal([...second.done.keys()], ['a', 'c']);
  await second.add({ id: 'b', ok: true });
  await second.close();
  assert.equal(await lines(folder), [
    { id: 'a', ok: true, text: 'é' },
    { id: 'c', ok: true, text: 'é' },
    { id: 'b', ok: true },
  ]);
  assert.equal((await readdir(folder)).sort(), ['dataset.json', 'results.jsonl']);
});

test('a store of failures alone is empty for a retry', async ({ folder }) => {
  const first = await ResultStore.open(folder, WHO, 'anew');
  await first.add({ id: 'a', ok: false });
  await first.close();
  const second = await ResultStore.open(folder, WHO, 'retry');
  assert.is(second.done.size, 0);
  await second.add({ id: 'a', ok: true });
  await second.close();
  assert.equal(await lines(folder), [{ id: 'a', ok: true }]);
});

test('a line that is no result is told with its number, and nothing is touched', async ({ folder }) => {
  const first = await ResultStore.open(folder, WHO, 'anew');
  await first.add({ id: 'a', ok: true });
  await first.close();
  await appendFile(join(folder, 'results.jsonl'), 'garbage\n{"id":"c","ok":true}\n');
  const before = await readFile(join(folder, 'results.jsonl'), 'utf8');
  try {
    await ResultStore.open(folder, WHO, 'resume');
    assert.unreachable();
  } catch (error) {
    assert.instance(error, VlmError);
    assert.is((error as VlmError).code, 'INPUT_UNREADABLE');
    assert.match((error as VlmError).details.where ?? '', /results\.jsonl:2$/);
  }
  assert.is(await readFile(join(folder, 'results.jsonl'), 'utf8'), before);
});

test('results are not overwritten, nor mixed with those of something else', async ({ folder }) => {
  const first = await ResultStore.open(folder, WHO, 'anew');
  await first.add({ id: 'a', ok: true });
  await first.close();
  assert.is(await codeOf(ResultStore.open(folder, WHO, 'anew')), 'USAGE');
  assert.is(await codeOf(ResultStore.open(folder, { ...WHO, sha256: 'bb' }, 'resume')), 'USAGE');
  await writeFile(join(folder, 'dataset.json'), 'torn');
  assert.is(await codeOf(ResultStore.open(folder, WHO, 'resume')), 'USAGE');
  await rm(join(folder, 'dataset.json'));
  assert.is(await codeOf(ResultStore.open(folder, WHO, 'resume')), 'USAGE');
});

test('two runs do not write into one folder; a dead one gives it up', async ({ folder }) => {
  const first = await ResultStore.open(folder, WHO, 'anew');
  assert.is(await codeOf(ResultStore.open(folder, WHO, 'resume')), 'OUTPUT_UNWRITABLE');
  await first.close();
  const gone = spawn(process.execPath, ['-e', '']);
  await new Promise((resolve) => gone.once('exit', resolve));
  await writeFile(join(folder, '.vlm-run.lock'), String(gone.pid));
  const next = await ResultStore.open(folder, WHO, 'resume');
  await next.close();
  assert.equal((await readdir(folder)).sort(), ['dataset.json', 'results.jsonl']);
});

test('a namesake of the process that was killed holds nothing: in a container every run has the same id', async ({
  folder,
}) => {
  if (process.platform !== 'linux') return;
  await writeFile(join(folder, '.vlm-run.lock'), `${process.pid} 1`);
  const store = await ResultStore.open(folder, WHO, 'anew');
  assert.is(await codeOf(ResultStore.open(folder, WHO, 'resume')), 'OUTPUT_UNWRITABLE');
  await store.close();
  // A lock that is only just being written is held by whoever writes it.
  await writeFile(join(folder, '.vlm-run.lock'), '');
  assert.is(await codeOf(ResultStore.open(folder, WHO, 'resume')), 'OUTPUT_UNWRITABLE');
});

test('what was asked is known again', async ({ folder }) => {
  const first = await ResultStore.open(folder, WHO, 'anew');
  await first.add({ id: 'a', ok: true, asked: 'x' });
  await first.add({ id: 'b', ok: true });
  await first.close();
  const second = await ResultStore.open(folder, WHO, 'resume');
  assert.equal(
    [...second.done],
    [
      ['a', 'x'],
      ['b', null],
    ],
  );
  await second.close();
});

test('a row that cannot be written ends the writing: nothing half stays, nothing later is added', async ({
  folder,
}) => {
  const store = await ResultStore.open(folder, WHO, 'anew');
  await store.add({ id: 'a', ok: true });
  await store.close();
  // The file is closed: every write fails, as on a disk that is gone.
  assert.is(await codeOf(store.add({ id: 'b', ok: true })), 'OUTPUT_UNWRITABLE');
  assert.is(await codeOf(store.add({ id: 'c', ok: true })), 'OUTPUT_UNWRITABLE');
  assert.equal([...store.done.keys()], ['a']);
  assert.equal(await lines(folder), [{ id: 'a', ok: true }]);
});

test.run();
