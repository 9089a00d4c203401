// Whole sweeps with a stand-in for the child that measures: what is kept, whatever goes wrong around it.
import { execFileSync } from 'node:child_process';
import { appendFile, cp, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { makeReport } from '../../src/compose/report.js';
import { planSweep, runSweep, type SweepRequest, sweepWarnings } from '../../src/compose/sweep.js';
import { type ErrorData, VlmError } from '../../src/contracts/errors.js';
import { readSweep } from '../../src/sweep/file.js';
import { figuresOf } from '../../src/sweep/measure.js';
import { pointId } from '../../src/sweep/points.js';
import type { runPoint } from '../../src/sweep/run-point.js';
import { packageRoot } from '../../src/util/package-root.js';
import { skipped } from '../skipped.js';

const test = suite<{ folder: string; out: string }>('sweeps around their points');
test.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), 'vlm-sweep-points-'));
  context.out = join(context.folder, 'out');
});
test.after.each(async ({ folder }) => {
  await rm(folder, { recursive: true, force: true });
});

const measured: typeof runPoint = async () => ({
  ok: true,
  result: {
    figures: figuresOf(
      Array.from({ length: 5 }, (_, i) => [{ start: i, end: i + 1, items: [] }]),
      undefined,
      1,
    ),
    coldTtftMs: null,
    peakMemoryBytes: 1,
    ledger: { wallMs: 1, lanes: [] },
    items: 10,
    tokens: [[1, 2, 3]],
    emulated: false,
  },
});

async function request(folder: string, more: Partial<SweepRequest> = {}, points = 4): Promise<SweepRequest> {
  const file = join(folder, 'sweep.yaml');
  await writeFile(
    file,
    JSON.stringify({
      version: 1,
      name: 'many',
      recipe: join(packageRoot(), 'pipelines', 'internvl.yaml'),
      inputs: [{ image: join(packageRoot(), 'examples', 'thumb.png') }],
      grid: { 'nodes.decode.with.max_new_tokens': { from: 1, to: points } },
    }),
  );
  const sweep = await readSweep(file);
  return { sweep, out: join(folder, 'out'), resume: false, allowPlugins: false, run: measured, ...more };
}
const rowsIn = async (out: string): Promise<{ readonly id: string; readonly ok: boolean }[]> =>
  (await readFile(join(out, 'results.jsonl'), 'utf8'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as { id: string; ok: boolean });
const codeOf = (going: Promise<unknown>): Promise<string> =>
  going.then(
    () => 'done',
    (error: unknown) => (error instanceof VlmError ? error.code : String(error)),
  );

/** The collector itself: what is merely not yet collected is no growth. */
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

test('memory stays flat over 1,000 points, and each is kept once', async ({ folder, out }) => {
  const heaps: number[] = [];
  let points = 0;
  const result = await runSweep(
    await request(
      folder,
      {
        onPoint: () => {
          if (points++ % 20 !== 0) return;
          collect();
          heaps.push(process.memoryUsage().heapUsed);
        },
      },
      1000,
    ),
  );
  assert.is(result.done + result.refused.length, 1000);
  assert.ok(result.done >= 900, `${result.done} measured`);
  const rows = await rowsIn(out);
  assert.is(rows.length, 1000);
  assert.is(new Set(rows.map(({ id }) => id)).size, 1000);
  const least = (from: number, to: number): number => Math.min(...heaps.slice(from, to));
  const [early, late] = [least(5, 20), least(heaps.length - 15, heaps.length)];
  // A row is about 2 KB and 900 of them are not held: their ids alone would be some 200 KB.
  assert.ok(late - early < 8e6, `${early} bytes early, ${late} late`);
});

test('a second sweep into the same folder is refused while the first one runs, and loses nothing', async ({
  folder,
  out,
}) => {
  let second: Promise<string> | undefined;
  const one = await request(folder);
  const first = runSweep({
    ...one,
    // The first one lasts until the second has its answer.
    run: async (...given) => {
      await second;
      return measured(...given);
    },
    onPoint: () => {
      second ??= codeOf(runSweep({ ...one, resume: true }));
    },
  });
  assert.is((await first).done, 4);
  assert.is(await second, 'OUTPUT_UNWRITABLE');
  assert.is((await rowsIn(out)).length, 4);
  assert.is((await runSweep({ ...one, resume: true })).skipped, 4, 'the folder is free again');
});

test('a line that is no result stops the resumed sweep with its number, and nothing is touched', async ({
  folder,
  out,
}) => {
  const one = await request(folder);
  await runSweep(one);
  await appendFile(join(out, 'results.jsonl'), '{"id": "half", \n');
  const before = await readFile(join(out, 'results.jsonl'), 'utf8');
  const error = await runSweep({ ...one, resume: true }).catch((caught: unknown) => caught);
  assert.instance(error, VlmError);
  assert.is((error as VlmError).code, 'INPUT_UNREADABLE');
  assert.match((error as VlmError).details.where ?? '', /results\.jsonl:5$/);
  assert.is(await readFile(join(out, 'results.jsonl'), 'utf8'), before);
});

test('a crash and a hang cost one point each; a resumed sweep does not run them again', async ({ folder, out }) => {
  let at = 0;
  const died = new VlmError('WORKER_DIED', { what: 'it ended' }).toData();
  const run: typeof runPoint = async (...args) => {
    at++;
    return at === 2 || at === 3 ? { ok: false, error: died } : measured(...args);
  };
  const one = await request(folder, { run });
  const { done, failed } = await runSweep(one);
  assert.equal([done, failed], [4, 2]);
  assert.is((await rowsIn(out)).filter(({ ok }) => ok).length, 2);
  assert.is((await runSweep({ ...one, resume: true })).skipped, 4);
});

test('failed points are measured again where that is asked for, and their last row counts', async ({ folder, out }) => {
  let broken = 2;
  const died = new VlmError('WORKER_DIED', { what: 'it ended' }).toData();
  const run: typeof runPoint = async (...args) => (broken-- > 0 ? { ok: false, error: died } : measured(...args));
  const one = await request(folder, { run });
  assert.is((await runSweep(one)).failed, 2);
  broken = 1;
  const again = await runSweep({ ...one, retryFailed: true });
  assert.equal([again.done, again.failed, again.skipped], [2, 1, 2]);
  const { model } = await makeReport({ stores: [out], format: 'md' });
  assert.equal([model.counts.measured, model.counts.failed, model.problems.length], [3, 1, 0]);
  assert.equal((await runSweep({ ...one, retryFailed: true })).done, 1);
  assert.equal((await runSweep({ ...one, retryFailed: true })).done, 0, 'none is left');
  const { model: last } = await makeReport({ stores: [out], format: 'md' });
  assert.equal([last.counts.measured, last.counts.failed, last.problems.length], [4, 0, 0]);
});

test('what is there twice is measured once and told with its place', async ({ folder, out }) => {
  const file = join(folder, 'twice.yaml');
  const image = join(packageRoot(), 'examples', 'thumb.png');
  const lines = [
    'version: 1',
    'name: twice',
    `recipe: ${join(packageRoot(), 'pipelines', 'internvl.yaml')}`,
    `inputs: [{ image: ${image} }]`,
    'grid: { nodes.decode.with.max_new_tokens: [1, 2, 2] }',
    'zip: { nodes.decode.with.seed: [1, 1], nodes.decode.with.temperature: [0, 0] }',
    'list:',
    '  - { nodes.decode.with.top_k: 4, nodes.decode.with.top_p: 1 }',
    '  - { nodes.decode.with.top_p: 1, nodes.decode.with.top_k: 4 }',
  ];
  await writeFile(file, lines.join('\n'));
  const sweep = await readSweep(file);
  assert.equal(
    sweepWarnings(sweep).map((text) => /:(\d+:\d+): .*measured once$/.exec(text)?.[1]),
    ['5:50', '6:8', '9:5'],
  );
  const { done } = await runSweep({ sweep, out, resume: false, allowPlugins: false, run: measured });
  assert.is(done, 2);
});

test('a recipe with a node of its own is swept where that is allowed, one that needs an axis with that axis', async ({
  folder,
  out,
}) => {
  const file = join(folder, 'plugin.yaml');
  const shout = join(packageRoot(), 'docs', 'examples', 'shout', 'shout.yaml');
  await writeFile(
    file,
    JSON.stringify({ version: 1, name: 'x', recipe: shout, grid: { 'nodes.decode.with.max_new_tokens': [1] } }),
  );
  const plugin = { sweep: await readSweep(file), out, resume: false, run: measured };
  assert.is((await runSweep({ ...plugin, allowPlugins: true })).done, 1);
  assert.is(await codeOf(runSweep({ ...plugin, allowPlugins: false, out: join(folder, 'b') })), 'PLUGIN_FORBIDDEN');

  const recipe = join(folder, 'short.yaml');
  const base = join(packageRoot(), 'pipelines', 'internvl.yaml');
  await writeFile(recipe, `version: 1\nextends: ${base}\nnodes: { decode: { with: { ctx_len: 0 } } }\n`);
  await writeFile(
    file,
    JSON.stringify({ version: 1, name: 'x', recipe: 'short.yaml', grid: { 'nodes.decode.with.ctx_len': [512, 1024] } }),
  );
  const short = { sweep: await readSweep(file), out: join(folder, 'c'), resume: false, run: measured };
  assert.is((await runSweep({ ...short, allowPlugins: false })).done, 2);
});

test('all problems of a point are told at their places', async ({ folder }) => {
  const file = join(folder, 'sweep.yaml');
  const recipe = join(packageRoot(), 'pipelines', 'internvl.yaml');
  await writeFile(
    file,
    `version: 1\nname: x\nrecipe: ${recipe}\ngrid:\n  nodes.decode.with.bach_size: [1]\n  device.mian: [cpu]\n`,
  );
  const { refused } = await planSweep({ sweep: await readSweep(file), allowPlugins: false });
  const { received = '' } = refused[0]?.error ?? {};
  assert.match(received, /E_UNKNOWN_KEY[\s\S]*sweep\.yaml:5:3[\s\S]*"batch_size"/);
  assert.match(received, /E_UNKNOWN_DEVICE[\s\S]*sweep\.yaml:6:3[\s\S]*"main"/);
  assert.not.match(received, /--set|--device/);
});

test('what the file says of inputs, score and reference is told at its place', async ({ folder }) => {
  const file = join(folder, 'sweep.yaml');
  const recipe = join(packageRoot(), 'pipelines', 'internvl.yaml');
  const image = join(packageRoot(), 'examples', 'thumb.png');
  const question = JSON.stringify({ image, prompt: 'How many?', prompts: 3 });
  await writeFile(join(folder, 'q.jsonl'), `${question}\n`);
  const errorOf = async (text: string): Promise<ErrorData> => {
    await writeFile(
      file,
      `version: 1\nname: x\nrecipe: ${recipe}\ngrid: { nodes.decode.with.ctx_len: [512] }\n${text}\n`,
    );
    const sweep = await readSweep(file);
    const planned = await planSweep({ sweep, allowPlugins: false }).catch((error: unknown) => error);
    if (planned instanceof VlmError) return planned.toData();
    const [refused] = (planned as Awaited<ReturnType<typeof planSweep>>).refused;
    return refused?.error ?? { code: 'INTERNAL', what: 'it is planned' };
  };
  for (const [text, code, place, hint] of [
    [`inputs:\n  - { image: ${image} }\n  - { imgae: x }`, 'INPUT_UNKNOWN', '7:7', /did you mean "image"/],
    ['inputs: [{ image: [a, b] }]', 'OPTION_INVALID', '5:12', /many: true/],
    ['inputs: [{ prompt: { a: 1 } }]', 'OPTION_INVALID', '5:12', /^$/],
    ['inputs: [{ image: none.png }]', 'INPUT_UNREADABLE', '5:12', /paths in a sweep file/],
    ['inputs: [{ image: . }]', 'INPUT_UNREADABLE', '5:12', /name one file/],
    ['inputs: [{ image: "" }]', 'INPUT_MISSING', '5:12', /under "inputs:"/],
    ['inputs: [{ image: sweep.yaml }]', 'IMAGE_UNSUPPORTED', '5:12', /picture/],
    ['exclude: [{ nodes.decode.with.ctx_len: 512 }]', 'RECIPE_INVALID', '5:1', /^$/],
    ['parity: { reference: { nodes.decode.with.ctx_len: 1 } }', 'RECIPE_INVALID', '5:11', /^$/],
    ['parity: { score: { dataset: none.jsonl } }', 'INPUT_UNREADABLE', '5:20', /none\.jsonl/],
    ['parity: { score: { dataset: sweep.yaml } }', 'USAGE', '5:20', /pictures alone/],
    ['parity: { score: { dataset: . } }', 'USAGE', '5:20', /pictures alone/],
    ['parity: { score: { dataset: q.jsonl, expect: prompt } }', 'RECIPE_INVALID', '5:38', /another key/],
  ] as const) {
    const error = await errorOf(text);
    const { line, column } = error.location ?? {};
    assert.equal([error.code, `${line}:${column}`], [code, place], `${text}: ${JSON.stringify(error)}`);
    assert.match(error.hint ?? '', hint, text);
  }
  await writeFile(file, 'version: 1\nname: x\nrecipe: none.yaml\nlist: [{ a: 1 }]\n');
  for (const going of [planSweep, runSweep]) {
    const sweep = await readSweep(file);
    const error = await going({ sweep, allowPlugins: false, out: join(folder, 'out'), resume: false }).catch(
      (one: unknown) => one,
    );
    assert.instance(error, VlmError);
    const { code, details } = error as VlmError;
    assert.equal([code, details.location?.line, details.location?.column], ['RECIPE_UNREADABLE', 3, 1]);
  }
});

test('shards have every point once', async ({ folder }) => {
  const ids: string[] = [];
  for (const index of [1, 2, 3]) {
    const out = join(folder, `part${index}`);
    await runSweep(await request(folder, { out, shard: { index, count: 3 } }, 10));
    ids.push(...(await rowsIn(out)).map(({ id }) => id));
  }
  assert.is(ids.length, 10);
  assert.is(new Set(ids).size, 10);
});

test('the reference that nobody named is the first point that fits', async ({ folder, out }) => {
  const { sweep, ...rest } = await request(folder);
  const grid = { 'nodes.decode.with.ctx_len': [40, 512, 256] };
  await runSweep({ ...rest, sweep: { ...sweep, grid } });
  const about = JSON.parse(await readFile(join(out, 'sweep.json'), 'utf8')) as { sweep: { reference: string } };
  assert.is(about.sweep.reference, pointId({ 'nodes.decode.with.ctx_len': 512 }));
});

test('what a run would miss is refused before anything runs, and measured at --resume when it is there', async ({
  folder,
  out,
}) => {
  const { sweep, ...rest } = await request(folder);
  const model = join(folder, 'model');
  await cp(join(packageRoot(), 'models', 'shapes-internvl'), model, { recursive: true });
  await rename(join(model, 'vision.onnx'), join(folder, 'vision.onnx'));
  const list = [{ 'model.path': 'model' }, { 'device.main': 'ai100:0' }, { 'nodes.decode.with.ctx_len': 512 }];
  const one = { ...rest, sweep: { ...sweep, grid: {}, list } };
  const first = await runSweep(one);
  assert.equal(
    first.refused.map(({ error }) => error.code),
    ['MODEL_MISSING', 'PROGRAM_INVALID'],
  );
  assert.match(first.refused[1]?.error.hint ?? '', /vlm-run compile .*--device main=ai100:0/);
  assert.is(first.done, 1);
  await rename(join(folder, 'vision.onnx'), join(model, 'vision.onnx'));
  const { done, skipped, refused } = await runSweep({ ...one, resume: true });
  assert.equal([done, skipped, refused.length], [1, 1, 1]);
  const { model: report } = await makeReport({ stores: [out], format: 'md' });
  assert.equal([report.counts.measured, report.counts.refused, report.problems.length], [2, 1, 0]);
});

/** A disk of 64 KB, or why there is none. */
async function smallDisk(folder: string): Promise<string | null> {
  const disk = join(folder, 'disk');
  await mkdir(disk);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk], { stdio: 'ignore' });
    return disk;
  } catch {
    return null;
  }
}

test('a full disk ends the sweep with an error, keeps what was measured, and --resume goes on', async ({ folder }) => {
  const disk = await smallDisk(folder);
  if (disk === null) {
    skipped('mount', 'a full disk wants the right to mount a small one');
    return;
  }
  try {
    const out = join(disk, 'out');
    const one = await request(folder, { out }, 100);
    let kept = 0;
    const onPoint = (): void => {
      kept++;
    };
    assert.is(await codeOf(runSweep({ ...one, onPoint })), 'OUTPUT_UNWRITABLE');
    assert.ok(kept > 3, `${kept} points before the disk was full`);
    assert.is((await rowsIn(out)).length, kept, 'every measured row is there, whole, and no half one');
    execFileSync('mount', ['-o', 'remount,size=8m', disk]);
    const { done, skipped, refused } = await runSweep({ ...one, resume: true });
    const rows = await rowsIn(out);
    assert.is(rows.length, 100);
    assert.is(done + skipped + refused.length, 100);
    assert.is(new Set(rows.map(({ id }) => id)).size, 100);
  } finally {
    execFileSync('umount', [disk]);
  }
});

test.run();
