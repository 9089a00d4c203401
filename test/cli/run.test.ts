import { spawn } from 'node:child_process';
import {
  closeSync,
  cpSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Ajv } from 'ajv';
import formatsModule from 'ajv-formats';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { RunRecord } from '../../src/runner/run-directory.js';
import { packageRoot } from '../../src/util/package-root.js';
import { skipped } from '../skipped.js';
import { writeRecipes } from './fakes/recipes.js';
import { CLI, cli, type Ended } from './fakes/spawn.js';

const test = suite('run');
const dir = mkdtempSync(join(tmpdir(), 'vlm-run-cli-'));
const slow = join(dir, 'slow.yaml');
const steps = (n: number, ms = 20): string[] => [
  '--set',
  `nodes.it.with.steps=${n}`,
  '--set',
  `nodes.it.with.ms=${ms}`,
];
const base = [slow, '--allow-plugins'];
test.before(() => writeRecipes(dir));
test.after(() => rmSync(dir, { recursive: true, force: true }));

const ajv = new Ajv({ strict: false, allErrors: true });
const addFormats = formatsModule as unknown as (a: Ajv) => void;
addFormats(ajv);
const valid = ajv.compile(
  JSON.parse(readFileSync(join(packageRoot(), 'schemas', 'run.schema.json'), 'utf8')) as object,
);

/** A whole record, as the schema describes it, and no half-written file beside it. */
function recordOf(folder: string): RunRecord {
  const record: unknown = JSON.parse(readFileSync(join(folder, 'run.json'), 'utf8'));
  assert.ok(valid(record), JSON.stringify(valid.errors));
  return record as RunRecord;
}
const noTemporary = (folder: string): void =>
  assert.equal(
    readdirSync(folder).filter((f) => f.endsWith('.tmp')),
    [],
  );

const sane = (ended: Ended): void => assert.not.match(ended.err, /\n\s+at .*\.js:\d/);

test('standard output is the answer alone; the rest is on standard error', async () => {
  const { code, out, err } = await cli([...base, '--input', 'word=w']);
  assert.is(code, 0, err);
  assert.is(out, 'w0 w1 w2\n');
  assert.match(err, /^it \d+ ms$/m);
  assert.match(err, 'tok/s');
  assert.match(err, /wall \d+/);
});

test('--quiet says nothing else', async () => {
  const { out, err } = await cli([...base, '--quiet']);
  assert.is(out, 'word0 word1 word2\n');
  assert.is(err, '');
});

test('what ONNX Runtime refuses is told once, by us: no line of its own, no colours', async () => {
  // A configuration with more positions than the tables of the program hold.
  const model = join(dir, 'more-positions');
  cpSync(join(packageRoot(), 'models', 'shapes-internvl'), model, { recursive: true });
  const config = join(model, 'config.json');
  const written = readFileSync(config, 'utf8');
  writeFileSync(config, written.replace('"max_position_embeddings": 2048', '"max_position_embeddings": 4096'));
  const long = ['--set', 'nodes.decode.with.ctx_len=4096', '--input', `prompt=${'circle '.repeat(2200)}`];
  const recipe = join(packageRoot(), 'pipelines', 'internvl.yaml');
  const ended = await cli([recipe, '--quiet', '--set', `model={path: ${model}}`, ...long]);
  assert.is(ended.code, 4, ended.err);
  assert.match(ended.err, /^error\[DEVICE_FAILED\]/);
  assert.not.match(ended.err, /\[[EW]:onnxruntime/);
  assert.not.ok(ended.err.includes('\u001b'));
  assert.is(ended.out, '');
});

test('--json is one document with the ledger', async () => {
  const { code, out, err } = await cli([...base, '--json']);
  assert.is(code, 0);
  assert.is(err, '');
  const document = JSON.parse(out) as {
    ok: boolean;
    items: { text: string; metrics: { ttftMs: number } }[];
    ledger: { wallMs: number; lanes: { lane: string; stages: Record<string, number> }[] };
  };
  assert.is(document.items[0]?.text, 'word0 word1 word2');
  assert.ok((document.items[0]?.metrics.ttftMs ?? 0) > 0);
  for (const lane of document.ledger.lanes) {
    const total = Object.values(lane.stages).reduce((a, b) => a + b, 0);
    assert.ok(Math.abs(total - document.ledger.wallMs) <= document.ledger.wallMs * 0.01, lane.lane);
  }
  const main = document.ledger.lanes.find((l) => l.lane === 'main')?.stages ?? {};
  assert.ok((main['start'] ?? 0) > 0 && (main['plan'] ?? 0) > 0);
});

test('the answer is streamed while it grows', async () => {
  let early = '';
  const { out } = await cli([...base, ...steps(8, 80)], {
    during: async (child, seen) => {
      await seen('out', 'word1');
      early = child.exitCode === null ? 'while running' : 'after the end';
    },
  });
  assert.is(early, 'while running');
  assert.is(out.trim().split(' ').length, 8);
});

test('inputs: standard input, @file, text that begins with @', async () => {
  writeFileSync(join(dir, 'ask.txt'), 'file\n');
  const answer = async (value: string, stdin = '') =>
    (await cli([...base, '--quiet', '--input', `word=${value}`, ...steps(1)], { stdin, cwd: dir })).out;
  assert.is(await answer('-', 'piped'), 'piped0\n');
  assert.is(await answer('@ask.txt'), 'file0\n');
  assert.is(await answer('@@you'), '@you0\n');
  assert.is(await answer('a=b'), 'a=b0\n');
});

test('a node that throws: its name, place and cause, exit 5, no stack trace unless asked for', async () => {
  const args = [join(dir, 'throw.yaml'), '--allow-plugins'];
  const plain = await cli(args);
  assert.is(plain.code, 5);
  assert.is(plain.out, '');
  for (const part of ['NODE_FAILED', 'the inner reason', 'node "it"', 'throw.yaml:7:'])
    assert.ok(plain.err.includes(part), plain.err);
  sane(plain);
  const debug = await cli(args, { env: { VLM_RUN_DEBUG: '1' } });
  assert.match(debug.err, /\n\s+at .*throw\.mjs:\d/);
});

test('a module that ends the process, or never loads, while it is checked: an error, and exit 2', async () => {
  for (const top of ['process.exit(0);', 'await new Promise(() => {});']) {
    writeFileSync(join(dir, 'ends.mjs'), top);
    writeFileSync(
      join(dir, 'ends.yaml'),
      readFileSync(join(dir, 'throw.yaml'), 'utf8').replace('./throw.mjs', './ends.mjs'),
    );
    for (const args of [['validate'], ['plan', '--json'], ['run', '--quiet'], ['models']]) {
      const ended = await cli([...args, join(dir, 'ends.yaml'), '--allow-plugins']);
      assert.is(ended.code, 2, `${top} ${args}: ${ended.err}`);
      const told = args.includes('--json') ? JSON.parse(ended.out).error.code : ended.err;
      assert.match(told, 'PLUGIN_INVALID');
    }
  }
});

test('exit codes: a missing recipe 2, a missing model 3, a missing picture 3', async () => {
  assert.is((await cli([join(dir, 'none.yaml')])).code, 2);
  const shipped = join(packageRoot(), 'pipelines', 'internvl.yaml');
  const model = await cli([shipped, '--set', 'model.path=/nowhere']);
  assert.is(model.code, 3, model.err);
  sane(model);
  const picture = await cli([shipped, '--input', 'image=/nowhere.png']);
  assert.is(picture.code, 3, picture.err);
  sane(picture);
});

test('a reader that goes away ends the run quietly', async () => {
  const ended = await cli([...base, ...steps(500, 20)], {
    during: async (child, seen) => {
      await seen('out', 'word1');
      child.stdout?.destroy();
    },
  });
  assert.is(ended.code, 0, ended.err);
  assert.is(ended.signal, null);
  sane(ended);
});

if (existsSync('/dev/full')) {
  test('a full disk under standard output: exit 5, said once, no stack trace', async () => {
    const full = openSync('/dev/full', 'w');
    const child = spawn(process.execPath, [CLI, ...base], { stdio: ['ignore', full, 'pipe'] });
    let err = '';
    child.stderr?.setEncoding('utf8').on('data', (d: string) => {
      err += d;
    });
    const code = await new Promise((resolve) => child.on('close', resolve));
    closeSync(full);
    assert.is(code, 5, err);
    assert.is(err.split('OUTPUT_UNWRITABLE').length, 2, err);
    assert.not.match(err, /\n\s+at .*\.js:\d/);
  });
} else {
  skipped('linux', 'no /dev/full');
}

test('--out keeps a valid record and the answer; --trace a trace', async () => {
  const out = join(dir, 'out');
  const trace = join(dir, 'trace.json');
  const { code, err } = await cli([...base, '--out', out, '--trace', trace]);
  assert.is(code, 0, err);
  const record = recordOf(out);
  noTemporary(out);
  assert.is(record.status, 'done');
  assert.is(record.recipe.name, 'slow');
  assert.equal(record.recipe.options['it'], { steps: 3, ms: 20 });
  assert.is(record.inputs[0]?.sha256.length, 64);
  assert.ok(record.ledger !== undefined && record.endedAt !== undefined);
  assert.is(record.versions['node'], process.version);
  const answer = JSON.parse(readFileSync(join(out, 'answer.json'), 'utf8')) as { ok: boolean; text: string };
  assert.equal([answer.ok, answer.text], [true, 'word0 word1 word2']);
  const { traceEvents } = JSON.parse(readFileSync(trace, 'utf8')) as { traceEvents: unknown[] };
  assert.ok(traceEvents.length > 4);
});

test('--out over an earlier run leaves nothing of it; other files stay', async () => {
  const out = join(dir, 'again');
  assert.is((await cli([...base, '--out', out])).code, 0);
  for (const name of ['overlay.png', 'overlay-3.svg', 'overlay-of-mine.txt']) writeFileSync(join(out, name), 'old');
  assert.is((await cli([join(dir, 'throw.yaml'), '--allow-plugins', '--out', out])).code, 5);
  assert.equal(readdirSync(out).sort(), ['answer.json', 'overlay-of-mine.txt', 'run.json']);
  assert.is(recordOf(out).status, 'failed');
  assert.is((JSON.parse(readFileSync(join(out, 'answer.json'), 'utf8')) as { ok: boolean }).ok, false);
});

test('--out that cannot be written is refused before any work', async () => {
  const file = join(dir, 'a-file');
  writeFileSync(file, '');
  const { code, out, err } = await cli([...base, '--out', join(file, 'x')]);
  assert.is(code, 5);
  assert.is(out, '');
  assert.match(err, 'OUTPUT_UNWRITABLE');
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`${signal} in the middle of an answer: a clean stop, exit 130, a whole record`, async () => {
    const out = join(dir, `stopped-${signal}`);
    const ended = await cli([...base, ...steps(2000, 10), '--out', out], {
      during: async (child, seen) => {
        await seen('out', 'word2');
        child.kill(signal);
      },
    });
    assert.equal([ended.code, ended.signal], [130, null], ended.err);
    assert.match(ended.err, 'CANCELLED');
    sane(ended);
    const record = recordOf(out);
    assert.is(record.status, 'cancelled');
    assert.match(record.partial?.['0'] ?? '', 'word2');
    assert.ok(record.ledger !== undefined, 'the run ended in order');
    noTemporary(out);
  });
}

test('Ctrl-C before the answer begins', async () => {
  const out = join(dir, 'early');
  const ended = await cli([...base, ...steps(2000, 10), '--out', out], {
    during: async (child, seen) => {
      // The listener is the first thing a run installs; the recipe is still being read.
      await new Promise((resolve) => setTimeout(resolve, 250));
      child.kill('SIGINT');
      await seen('err', 'CANCELLED');
    },
  });
  // A start slower than this leaves the signal to Node itself: dead by the signal, nothing written.
  if (ended.signal === 'SIGINT') assert.not.ok(existsSync(join(out, 'run.json')));
  else {
    assert.is(ended.code, 130, ended.err);
    if (existsSync(join(out, 'run.json'))) assert.is(recordOf(out).status, 'cancelled');
  }
});

test('Ctrl-C while an input is fetched', async () => {
  const server = createServer((_, response) => void response.write('x'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const shipped = join(packageRoot(), 'pipelines', 'internvl.yaml');
  const ended = await cli([shipped, '--input', `image=http://127.0.0.1:${port}/x.png`], {
    during: async (child) => {
      await new Promise((resolve) => server.once('request', resolve));
      child.kill('SIGINT');
    },
  });
  server.closeAllConnections();
  server.close();
  assert.equal([ended.code, ended.signal], [130, null], ended.err);
  assert.match(ended.err, 'CANCELLED');
});

test('a second Ctrl-C while a call hangs: the process dies by the signal, the record is whole', async () => {
  const out = join(dir, 'twice');
  // Hangs longer than the time-out of a test file.
  const ended = await cli([...base, ...steps(2, 600_000), '--out', out], {
    during: async (child, seen) => {
      while (!existsSync(join(out, 'run.json'))) await new Promise((resolve) => setTimeout(resolve, 20));
      await new Promise((resolve) => setTimeout(resolve, 600));
      child.kill('SIGINT');
      await seen('err', 'Ctrl-C again');
      child.kill('SIGINT');
    },
  });
  assert.equal([ended.code, ended.signal], [null, 'SIGINT'], ended.err);
  const record = recordOf(out);
  assert.is(record.status, 'cancelled');
  assert.is(record.error?.code, 'CANCELLED');
  noTemporary(out);
});

test('a crash of the whole process leaves the items that were done', async () => {
  const out = join(dir, 'crashed');
  const script = `import { run } from ${JSON.stringify(pathToFileURL(join(packageRoot(), '.build/src/index.js')).href)};
await run(${JSON.stringify(join(dir, 'crash.yaml'))}, { allowPlugins: true, out: ${JSON.stringify(out)},
  items: [{ word: 'one' }, { word: 'two' }, { word: 'crash' }] });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'ignore' });
  const signal = await new Promise((resolve) => child.on('close', (_, s) => resolve(s)));
  assert.is(signal, 'SIGKILL');
  const record = recordOf(out);
  assert.is(record.status, 'running');
  assert.equal(
    record.items.map((item) => (item as { text?: string; index: number }).index),
    [0, 1],
  );
});

test.run();
