// Datasets through the command, with the demonstration model.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { byId, finish, MAIN, questions, RECIPE, ROOT, type Row, rowsOf, run, start } from './dataset-runs.js';

const test = suite<{ folder: string }>('dataset runs');
test.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), 'vlm-dataset-'));
});
test.after.each(async ({ folder }) => {
  await rm(folder, { recursive: true, force: true });
});

test('rows tell text, ids, timings, and whether the embeddings were known; hits change nothing', async ({ folder }) => {
  const file = await questions(folder, 12);
  const first = await run(folder, ['--dataset', file, '--quiet']);
  assert.is(first.code, 0, first.err);
  const rows = byId(rowsOf(first.out));
  assert.is(rows.length, 12);
  // Four pictures: of three rows with one of them, those that come later may find it known.
  assert.ok(rows.filter((row) => row.embeddings === 'miss').length >= 4);
  assert.ok(rows.every((row) => row.ok && row.latencyMs > 0 && (row.metrics?.ttftMs ?? 0) > 0));
  const second = byId(rowsOf((await run(folder, ['--dataset', file, '--quiet'])).out));
  assert.ok(second.every((row) => row.embeddings === 'hit'));
  const off = byId(rowsOf((await run(folder, ['--dataset', file, '--quiet', '--embedding-cache', 'off'])).out));
  assert.ok(off.every((row) => row.embeddings === undefined));
  const batched = await run(folder, [
    ...['--dataset', file, '--quiet', '--embedding-cache', 'off'],
    ...['--set', 'nodes.decode.with.batch_size=4', '--set', 'nodes.encode.with.batch_size=4'],
  ]);
  assert.is(batched.code, 0, batched.err);
  const answers = (list: readonly Row[]) => list.map(({ id, text, generatedIds }) => ({ id, text, generatedIds }));
  assert.equal(answers(second), answers(rows));
  assert.equal(answers(off), answers(rows));
  assert.equal(answers(byId(rowsOf(batched.out))), answers(rows));
});

test('a bad picture and a bad row fail alone, and the exit code says that something failed', async ({ folder }) => {
  await writeFile(join(folder, 'broken.png'), 'no picture');
  const rows = [
    { id: 'good', image: join(ROOT, 'examples', 'thumb.png'), prompt: 'Describe the image.' },
    { id: 'broken', image: 'broken.png' },
    { id: 'missing', image: 'nowhere.png' },
    { id: 'long', prompt: 'word '.repeat(4000) },
  ];
  const path = join(folder, 'rows.jsonl');
  await writeFile(path, `${rows.map((row) => JSON.stringify(row)).join('\n')}\nno json\n`);
  const { code, out, err } = await run(folder, ['--dataset', path]);
  assert.is(code, 5);
  assert.equal(
    byId(rowsOf(out)).map((row) => [row.id.replace(/^.*:/, ':'), row.error?.code ?? 'ok']),
    [
      [':5', 'INPUT_UNREADABLE'],
      ['broken', 'IMAGE_UNSUPPORTED'],
      ['good', 'ok'],
      ['long', 'PLAN_DOES_NOT_FIT'],
      ['missing', 'INPUT_UNREADABLE'],
    ].sort((a, b) => ((a[0] ?? '') < (b[0] ?? '') ? -1 : 1)),
  );
  assert.match(err, /4 failed/);
});

test('rows from standard input are answered as they come', async ({ folder }) => {
  const child = spawn(process.execPath, [MAIN, RECIPE, '--dataset', '-', '--quiet'], {
    cwd: ROOT,
    env: { ...process.env, VLM_RUN_CACHE: join(folder, 'cache'), NO_COLOR: '1' },
  });
  const ended = finish(child);
  child.stdin.write('{"id":"a","image":"examples/thumb.png"}\n');
  // The second row is written when the first has its answer.
  await new Promise((resolve) => child.stdout.once('data', resolve));
  child.stdin.end('{"id":"b","image":"nowhere.png"}');
  const { code, out } = await ended;
  assert.is(code, 5);
  assert.equal(
    rowsOf(out).map(({ id, ok, error }) => [id, ok, error?.code]),
    [
      ['a', true, undefined],
      ['b', false, 'INPUT_UNREADABLE'],
    ],
  );
});

test('Ctrl-C keeps what is done and exits with 130', async ({ folder }) => {
  const file = await questions(folder, 200);
  const out = join(folder, 'out');
  const child = start(folder, ['--dataset', file, '--out', out]);
  const ended = finish(child);
  const results = join(out, 'results.jsonl');
  const text = async () => readFile(results, 'utf8').catch(() => '');
  while (child.exitCode === null && !(await text()).includes('\n'))
    await new Promise((resolve) => setTimeout(resolve, 20));
  child.kill('SIGINT');
  const { code, err } = await ended;
  assert.is(code, 130, err);
  assert.match(err, /interrupted: --resume goes on/);
  const rows = rowsOf(await text());
  assert.ok(rows.length > 0 && rows.every((row) => row.ok));
});

test('what a person would get wrong', async ({ folder }) => {
  const code = async (...args: string[]) => (await run(folder, args)).code;
  assert.is(await code('--dataset', 'examples', '--json'), 2);
  assert.is(await code('--dataset', 'examples', '--resume'), 2);
  assert.is(await code('--dataset', 'examples', '--retry-failed'), 2);
  assert.is(await code('--dataset', 'examples', '--limit', 'two'), 2);
  assert.is(await code('--dataset', 'examples/*.gif'), 3);
  assert.is(await code('--dataset', 'examples', '--input', 'prompt=-'), 2);
  assert.is(await code('--dataset', 'examples', '--dataset-input', 'prompt'), 2);
});

test.run();
