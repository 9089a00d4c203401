// Datasets that are killed or fail, and go on.
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { byId, finish, questions, ROOT, rowsOf, run, start } from './dataset-runs.js';

const test = suite<{ folder: string }>('datasets that go on');
test.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), 'vlm-dataset-'));
});
test.after.each(async ({ folder }) => {
  await rm(folder, { recursive: true, force: true });
});

test('killed with signal 9 again and again and resumed: every item once, answered as if nothing had been', async ({
  folder,
}) => {
  const file = await questions(folder, 60);
  const out = join(folder, 'out');
  const args = ['--dataset', file, '--out', out, '--quiet'];
  const results = join(out, 'results.jsonl');
  const seen = async () => (await readFile(results, 'utf8').catch(() => '')).split('\n').length - 1;
  for (const after of [5, 6, 20, 35]) {
    const child = start(folder, after === 5 ? args : [...args, '--resume']);
    const ended = finish(child);
    while (child.exitCode === null && (await seen()) < after) await new Promise((resolve) => setTimeout(resolve, 10));
    child.kill('SIGKILL');
    await ended;
    const rows = await seen();
    assert.ok(rows >= after && rows < 60, `${rows} rows when it was killed`);
  }
  const refused = await run(folder, args);
  assert.is(refused.code, 2);
  const other = await run(folder, [...args, '--resume', '--set', 'nodes.decode.with.max_new_tokens=3']);
  assert.is(other.code, 2, 'results of another recipe are not mixed in');
  const resumed = await run(folder, [...args, '--resume', '--json']);
  assert.is(resumed.code, 0, resumed.err);
  const summary = JSON.parse(resumed.out) as { done: number; skipped: number };
  assert.is(summary.done + summary.skipped, 60);
  assert.ok(summary.skipped >= 5);
  const rows = rowsOf(await readFile(results, 'utf8'));
  assert.equal(
    byId(rows).map((row) => row.id),
    Array.from({ length: 60 }, (_, i) => `q${String(i).padStart(3, '0')}`),
  );
  const whole = byId(rowsOf((await run(folder, ['--dataset', file, '--quiet'])).out));
  assert.equal(
    byId(rows).map(({ id, generatedIds }) => [id, generatedIds]),
    whole.map(({ id, generatedIds }) => [id, generatedIds]),
  );
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace('"prompt":"Describe the image."', '"prompt":"What is this?"'));
  const changed = await run(folder, [...args, '--resume']);
  assert.is(changed.code, 2, 'the result of q000 would be that of another question');
  assert.match(changed.err, /asks something else now\n(?:.*\n)? {2}received: q000$/m);
});

test('items that failed run again where that is asked for, and nothing else does', async ({ folder }) => {
  const path = join(folder, 'rows.jsonl');
  const image = join(ROOT, 'examples', 'thumb.png');
  const rows = [
    { id: 'good', image },
    { id: 'late', image: 'late.png' },
    { id: 'long', prompt: 'word '.repeat(4000) },
  ];
  await writeFile(path, rows.map((row) => JSON.stringify(row)).join('\n'));
  const out = join(folder, 'out');
  const args = ['--dataset', path, '--out', out];
  const first = await run(folder, args);
  assert.is(first.code, 5, first.err);
  assert.match(first.err, /--retry-failed runs those again/);
  await copyFile(image, join(folder, 'late.png'));
  const results = async () => rowsOf(await readFile(join(out, 'results.jsonl'), 'utf8'));
  const good = (await results()).find(({ id }) => id === 'good');
  const plain = await run(folder, [...args, '--resume', '--json']);
  assert.equal(JSON.parse(plain.out).done, 0);
  const again = await run(folder, [...args, '--retry-failed', '--json']);
  assert.is(again.code, 5, again.err);
  const { done, failed, skipped } = JSON.parse(again.out) as Record<string, number>;
  assert.equal([done, failed, skipped], [2, 1, 1]);
  const kept = byId(await results());
  assert.equal(
    kept.map(({ id, ok }) => [id, ok]),
    [
      ['good', true],
      ['late', true],
      ['long', false],
    ],
  );
  assert.equal(kept[0], good, 'its line is the one of the first run');
});

test.run();
