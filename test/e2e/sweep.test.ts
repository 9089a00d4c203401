// A sweep of the demonstration model, through the command.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/util/package-root.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const ROOT = packageRoot();

const test = suite<{ folder: string; file: string; out: string }>('sweep runs');
test.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), 'vlm-sweep-'));
  context.file = join(context.folder, 'sweep.yaml');
  context.out = join(context.folder, 'out');
  const image = join(ROOT, 'examples', 'thumb.png');
  await writeFile(
    context.file,
    JSON.stringify({
      version: 1,
      name: 'small',
      recipe: join(ROOT, 'pipelines', 'internvl.yaml'),
      inputs: [
        { image, prompt: 'Describe the image.' },
        { image, prompt: 'How many shapes are there?' },
      ],
      grid: { 'nodes.decode.with.batch_size': [1, 2], 'nodes.decode.with.ctx_len': [40, 256] },
      measure: { warmup: 1, repeats: 2 },
    }),
  );
});
test.after.each(async ({ folder }) => {
  await rm(folder, { recursive: true, force: true });
});

interface Row {
  readonly ok: boolean;
  readonly status: string;
  readonly values: Readonly<Record<string, number>>;
  readonly error?: { readonly code: string };
  readonly figures?: Readonly<Record<string, { readonly median: number; readonly samples: readonly number[] }>>;
  readonly tokens?: readonly (readonly number[])[];
  readonly peakMemoryBytes?: number;
  readonly coldTtftMs?: number;
}

function start(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [MAIN, 'sweep', ...args], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
}
async function finish(child: ChildProcess): Promise<{ readonly code: number | null; out: string; err: string }> {
  let [out, err] = ['', ''];
  child.stdout?.on('data', (data) => {
    out += String(data);
  });
  child.stderr?.on('data', (data) => {
    err += String(data);
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, out, err };
}
const read = async (out: string): Promise<Row[]> =>
  (await readFile(join(out, 'results.jsonl'), 'utf8').catch(() => ''))
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Row);

test('points that cannot fit are refused before anything runs; the others are measured, with the same tokens', async ({
  file,
  out,
}) => {
  const dry = await finish(start([file, '--dry-run', '--json']));
  assert.is(dry.code, 0, dry.err);
  const { points, refused } = JSON.parse(dry.out) as { points: unknown[]; refused: { error: { code: string } }[] };
  assert.is(points.length, 2);
  assert.equal(
    refused.map(({ error }) => error.code),
    ['PLAN_DOES_NOT_FIT', 'PLAN_DOES_NOT_FIT'],
  );
  const { code, err } = await finish(start([file, '--out', out]));
  assert.is(code, 0, err);
  const rows = await read(out);
  assert.equal(rows.map(({ status }) => status).sort(), ['measured', 'measured', 'refused', 'refused']);
  const measured = rows.filter(({ ok }) => ok);
  assert.equal(measured[0]?.tokens, measured[1]?.tokens);
  assert.is(measured[0]?.tokens?.length, 2);
  for (const { figures = {}, peakMemoryBytes = 0, coldTtftMs = 0 } of measured) {
    assert.ok(peakMemoryBytes > 50e6);
    assert.ok(coldTtftMs > 0);
    for (const name of ['ttftMs', 'ttftQefficientMs', 'latencyMs', 'imagesPerSecond', 'decodeTokensPerSecond']) {
      const { median = 0, samples = [] } = figures[name] ?? {};
      assert.ok(median > 0 && samples.length >= 2 && samples.every((x) => x > 0), name);
    }
    // What a caller waits is at least what the prefill calls alone take.
    assert.ok((figures['ttftMs']?.median ?? 0) >= (figures['ttftQefficientMs']?.median ?? 1));
  }
  const about = JSON.parse(await readFile(join(out, 'sweep.json'), 'utf8')) as Record<string, Record<string, unknown>>;
  assert.ok(Number(about['machine']?.['cores']) > 0);
});

test('killed in the middle and resumed: every point once', async ({ file, out }) => {
  const child = start([file, '--out', out]);
  const ended = finish(child);
  while (child.exitCode === null && (await read(out)).filter(({ ok }) => ok).length < 1) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  child.kill('SIGKILL');
  await ended;
  assert.is((await finish(start([file, '--out', out]))).code, 2, 'results are not overwritten');
  const { code, err } = await finish(start([file, '--out', out, '--resume']));
  assert.is(code, 0, err);
  const rows = await read(out);
  assert.is(rows.length, 4);
  assert.is(new Set(rows.map(({ values }) => JSON.stringify(values))).size, 4);
});

test('what a person would get wrong', async ({ file, folder }) => {
  assert.is((await finish(start([]))).code, 2);
  assert.is((await finish(start([file, '--shard', '3/2']))).code, 2);
  assert.is((await finish(start([join(folder, 'none.yaml')]))).code, 2);
  await writeFile(file, 'version: 1\nname: x\nrecipe: none.yaml\ngrid: { a: [1] }\n');
  assert.is((await finish(start([file, '--dry-run']))).code, 0, 'every point is refused, and listed');
});

test.run();
