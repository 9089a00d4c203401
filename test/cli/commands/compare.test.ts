// `vlm-run compare` on stores as a sweep writes them.

import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { pointId } from '../../../src/sweep/points.js';

const MAIN = fileURLToPath(new URL('../../../src/cli/main.js', import.meta.url));

const test = suite<{ folder: string }>('vlm-run compare');
test.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), 'vlm-compare-'));
});
test.after.each(async ({ folder }) => {
  await rm(folder, { recursive: true, force: true });
});

const around = (middle: number, n: number): number[] =>
  Array.from({ length: n }, (_, i) => middle * (1 + (i - n / 2) * 0.001));

interface Told {
  readonly latency?: readonly number[];
  readonly repeats?: number;
  readonly cpu?: string;
  readonly tokens?: readonly number[];
  readonly status?: string;
}

async function store(
  folder: string,
  { latency = [100, 50], repeats = 6, cpu = 'one', tokens = [1, 2], status = 'measured' }: Told = {},
) {
  await mkdir(folder);
  const values = latency.map((_, i) => ({ 'nodes.decode.with.batch_size': i + 1 }));
  const about = {
    format: 1,
    sha256: 'x',
    versions: { 'vlm-run': '0.1.0' },
    sweep: { name: 's', measure: { repeats, threads: 1 }, reference: pointId(values[0] ?? {}) },
    resolved: { name: 'r' },
    machine: { cpu },
  };
  await writeFile(join(folder, 'sweep.json'), JSON.stringify(about));
  const rows = values.map((value, i) => {
    const statistic = { samples: around(latency[i] ?? 1, repeats) };
    const last = i === values.length - 1;
    return {
      id: pointId(value),
      index: i,
      values: value,
      status: last ? status : 'measured',
      ok: true,
      tokens: [last ? tokens : [1, 2]],
      ...(last && status !== 'measured'
        ? { error: { code: 'WORKER_DIED', what: 'it ended' } }
        : { figures: { latencyMs: statistic, ttftMs: statistic, decodeTokensPerSecond: statistic } }),
    };
  });
  await writeFile(join(folder, 'results.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return folder;
}

async function compare(...args: readonly string[]): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [MAIN, 'compare', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  child.stdout.on('data', (data) => {
    out += String(data);
  });
  child.stderr.on('data', (data) => {
    err += String(data);
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, out, err };
}

test('a slower sweep ends with 5, the same and a faster one with 0', async ({ folder }) => {
  const a = await store(join(folder, 'a'));
  const b = await store(join(folder, 'b'), { latency: [100, 75] });
  const only = ['--metric', 'latencyMs'];
  const worse = await compare(a, b, ...only);
  assert.is(worse.code, 5, worse.err);
  assert.match(worse.out, /\| batch_size=2 \| latencyMs .* 1\.500 .*\| WORSE {3}\|/);
  assert.match(worse.out, /worse: 1 points worse, 0 better, 1 the same/);
  assert.is(worse.err, '');
  assert.is((await compare(a, a, ...only)).code, 0);
  const better = await compare(b, a, ...only, '--json');
  assert.is(better.code, 0);
  const told = JSON.parse(better.out) as { verdict: string; ok: boolean; tests: number };
  assert.equal([told.verdict, told.ok, told.tests], ['better', true, 2]);
  assert.is((await compare(a, b, ...only, '--threshold', '60')).code, 0);
});

test('what makes two sweeps less comparable is told', async ({ folder }) => {
  const a = await store(join(folder, 'a'), { repeats: 3 });
  const b = await store(join(folder, 'b'), { repeats: 3, latency: [100, 200], cpu: 'two' });
  const { code, out, err } = await compare(a, b);
  assert.match(out, /^undecided, too few repeats: 0 points worse/m);
  assert.is(code, 0, 'three against three prove nothing');
  const told = JSON.parse((await compare(a, b, '--json')).out) as { verdict: string; ok: boolean };
  assert.equal([told.verdict, told.ok], ['undecided', true]);
  assert.match(err, /the machine differs: cpu one in A, two in B/);
  assert.match(err, /too few repeats: 6 of 6 tests could never become significant \(3 against 3 samples/);
});

test('tokens that left the reference, and a point that fails now, are worse', async ({ folder }) => {
  const a = await store(join(folder, 'a'));
  const wrong = await compare(a, await store(join(folder, 'b'), { latency: [100, 5], tokens: [1, 3] }));
  assert.is(wrong.code, 5);
  assert.match(wrong.out, /no longer those of the reference/);
  const failed = await compare(a, await store(join(folder, 'c'), { status: 'failed' }));
  assert.is(failed.code, 5);
  assert.match(failed.out, /WORSE, measured in A and not in B:\n- batch_size=2: WORKER_DIED: it ended/);
});

test('what a person would get wrong', async ({ folder }) => {
  const a = await store(join(folder, 'a'));
  assert.is((await compare(a)).code, 2);
  assert.is((await compare(a, join(folder, 'none'))).code, 3);
  assert.is((await compare(a, a, '--metric', 'speed')).code, 2);
  assert.is((await compare(a, a, '--threshold', 'much')).code, 2);
  assert.is((await compare(a, a, '--alpha', '0')).code, 2);
  const empty = await store(join(folder, 'b'), { latency: [] });
  const { code, err } = await compare(a, empty);
  assert.is(code, 2);
  assert.match(err, /no measured point in common/);
  await writeFile(join(empty, 'results.jsonl'), '{"id": 1}\n');
  assert.is((await compare(a, empty)).code, 3, 'a line that is no result');
});

test.run();
