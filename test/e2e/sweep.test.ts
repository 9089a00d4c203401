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
  readonly score?: { readonly value: number; readonly rows: readonly number[]; failed: number; error?: string };
}

const SCENE = 'a small yellow star, a large green square and a large red circle';

function start(args: readonly string[], command = 'sweep'): ChildProcess {
  return spawn(process.execPath, [MAIN, command, ...args], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
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

test('a fast but wrong point is known by its score on a dataset, where tokens would condemn a good one too', async ({
  file,
  folder,
  out,
}) => {
  const images = join(ROOT, 'examples');
  const rows = [
    { image: join(images, 'scene.png'), prompt: 'How many shapes are there?', expect: 3 },
    { image: join(images, 'scene.png'), prompt: 'Describe the image.', expect: SCENE },
    { image: join(images, 'none.png'), prompt: 'How many shapes are there?', expect: 3 },
  ];
  await writeFile(join(folder, 'q.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const sweep = {
    version: 1,
    name: 'scored',
    recipe: join(ROOT, 'pipelines', 'internvl.yaml'),
    inputs: [{ image: join(images, 'scene.png'), prompt: 'Where is the yellow star?' }],
    list: [
      { 'nodes.preprocess.with.max_tiles': 4 },
      { 'nodes.preprocess.with.max_tiles': 1 },
      { 'nodes.preprocess.with.max_tiles': 1, 'nodes.decode.with.max_new_tokens': 3 },
    ],
    measure: { warmup: 0, repeats: 1, order: 'file' },
    parity: { score: { dataset: 'q.jsonl', margin: 0.1 } },
  };
  await writeFile(file, JSON.stringify(sweep));
  const { code, err } = await finish(start([file, '--out', out]));
  assert.is(code, 0, err);
  const scores = (await read(out)).map(({ score }) => score);
  assert.equal(
    scores.map((score) => score?.rows),
    [
      [1, 1, 0],
      [1, 1, 0],
      [1, 0, 0],
    ],
  );
  assert.equal([scores[0]?.value, scores[0]?.failed], [0.666667, 1]);
  assert.match(scores[0]?.error ?? '', /^INPUT_UNREADABLE/);
  const made = await finish(start(['--json', out], 'report'));
  const { counts } = JSON.parse(made.out) as { counts: Record<string, number> };
  assert.equal([counts['below'], counts['differs']], [1, 0]);
  const long = { image: join(images, 'scene.png'), prompt: 'shape '.repeat(150), expect: 3, id: 'long' };
  await writeFile(join(folder, 'q.jsonl'), [...rows, long].map((row) => `${JSON.stringify(row)}\n`).join(''));
  const list = [{ 'nodes.decode.with.ctx_len': 128 }, { 'nodes.decode.with.ctx_len': 1024 }];
  await writeFile(file, JSON.stringify({ ...sweep, list }));
  const planned = await finish(start([file, '--dry-run', '--json']));
  const { refused, points } = JSON.parse(planned.out) as Record<string, readonly unknown[]>;
  assert.equal([refused?.length, points?.length], [1, 1], planned.out);
  assert.match(JSON.stringify(refused), /q\.jsonl, row long/);
  await writeFile(join(folder, 'q.jsonl'), '{"prompt": "What?"}\n');
  assert.is((await finish(start([file, '--dry-run']))).code, 3, 'a row that says nothing of what is expected');
});

test('what a person would get wrong', async ({ file, folder }) => {
  assert.is((await finish(start([]))).code, 2);
  assert.is((await finish(start([file, '--shard', '3/2']))).code, 2);
  assert.is((await finish(start([join(folder, 'none.yaml')]))).code, 2);
  await writeFile(file, 'version: 1\nname: x\nrecipe: none.yaml\ngrid: { a: [1] }\n');
  const lost = await finish(start([file, '--dry-run']));
  assert.is(lost.code, 2);
  assert.match(lost.err, /RECIPE_UNREADABLE[\s\S]*sweep\.yaml:3:1[\s\S]*start from the folder of that file/);
  const recipe = join(ROOT, 'pipelines', 'internvl.yaml');
  await writeFile(
    file,
    `version: 1\nname: x\nrecipe: ${recipe}\ngrid:\n  nodes.decode.with.bach_size: [1, 2]\nlist: [{ nodes.encode.with.batch_size: 1 }]\nexclude: [{ nodes.decode.with.bach_size: 3 }]\n`,
  );
  const typo = await finish(start([file, '--dry-run']));
  assert.is(typo.code, 2);
  assert.match(typo.err, /refused, 2 points for one reason/);
  assert.match(typo.err, /sweep\.yaml:5:3/, 'where the axis was written');
  assert.match(typo.err, /did you mean "batch_size"/);
  assert.match(typo.err, /sweep\.yaml:7:11: this rule of "exclude" leaves no point out/);
});

test('with --json what is wrong is data, as validate has it', async ({ file, folder }) => {
  interface Told {
    readonly ok: boolean;
    readonly error?: { readonly code: string; readonly received?: string };
    readonly diagnostics?: readonly { readonly code: string; readonly location?: { readonly line: number } }[];
  }
  interface Points extends Told {
    readonly refused: readonly Told[];
  }
  const json = async <T>(...args: string[]): Promise<T> => {
    const { code, out, err } = await finish(start([...args, '--json']));
    assert.is(code, 2, err);
    return JSON.parse(out) as T;
  };
  const places = ({ diagnostics = [] }: Told) => diagnostics.map(({ code, location }) => [code, location?.line]);
  await writeFile(file, 'version: 1\nname: x\nrecipe: r.yaml\ngrid: { a: 4 }\nmeasures: {}\n');
  const wrong = await json<Told>(file);
  assert.equal([wrong.ok, wrong.error?.code, wrong.error?.received], [false, 'RECIPE_INVALID', undefined]);
  assert.equal(places(wrong), [
    ['E_TYPE', 4],
    ['E_UNKNOWN_KEY', 5],
  ]);
  const none = await json<Told>(join(folder, 'none.yaml'));
  assert.equal([none.ok, none.error?.code, places(none)], [false, 'RECIPE_UNREADABLE', [['E_READ', 1]]]);

  const recipe = join(ROOT, 'pipelines', 'internvl.yaml');
  await writeFile(
    file,
    `version: 1\nname: x\nrecipe: ${recipe}\ngrid:\n  nodes.decode.with.bach_size: [1]\n  nodes.decode.with.ctx_len: [0]\n`,
  );
  const { ok, refused } = await json<Points>(file, '--dry-run');
  assert.equal(
    [ok, refused.map(({ error }) => [error?.code, error?.received])],
    [false, [['RECIPE_INVALID', undefined]]],
  );
  assert.equal(refused.map(places), [
    [
      ['E_UNKNOWN_KEY', 5],
      ['E_VALUE', 6],
    ],
  ]);
  const whole = await json<Told & { readonly refused: number; readonly refusals: readonly Told[] }>(
    file,
    '--out',
    join(folder, 'none'),
  );
  assert.equal([whole.ok, whole.refused, whole.refusals.map(places)], [false, 1, refused.map(places)]);
});

test('a module that ends the process is told', async ({ file, folder }) => {
  await writeFile(join(folder, 'ends.mjs'), 'process.exit(0);\n');
  const base = join(ROOT, 'pipelines', 'internvl.yaml');
  await writeFile(
    join(folder, 'r.yaml'),
    `version: 1\nextends: ${base}\nnodes: { more: { kind: ./ends.mjs, inputs: { text: $decode.text } } }\noutputs: { more: $more.text }\n`,
  );
  await writeFile(file, 'version: 1\nname: x\nrecipe: r.yaml\ngrid: { nodes.decode.with.ctx_len: [512] }\n');
  const { code, err } = await finish(start([file, '--dry-run', '--allow-plugins']));
  assert.equal([code, /PLUGIN_INVALID/.test(err)], [2, true], err);
});

test.run();
