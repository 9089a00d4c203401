// What standard output has of a recipe's answers, and where else a run writes.
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, lstatSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/util/package-root.js';
import { writeRecipes } from './fakes/recipes.js';
import { CLI, cli } from './fakes/spawn.js';

const test = suite('answers');
const dir = mkdtempSync(join(tmpdir(), 'vlm-answers-'));
test.before(() => writeRecipes(dir));
test.after(() => rmSync(dir, { recursive: true, force: true }));

const plugins = ['--allow-plugins'];
const steps = (n: number, ms: number): string[] => [
  '--set',
  `nodes.it.with.steps=${n}`,
  '--set',
  `nodes.it.with.ms=${ms}`,
];

function recipe(name: string, nodes: string, outputs: string): string {
  const file = join(dir, `${name}.yaml`);
  writeFileSync(
    file,
    `version: 1\nname: ${name}\nmodel: { path: ./no-model }\ninputs:\n  word: { type: text, default: word }\nnodes:\n${nodes}\noutputs: ${outputs}\n`,
  );
  return file;
}

test('several texts: each under its name, in the order of the recipe, the first one as it grows', async () => {
  const file = recipe(
    'two',
    `  slow: { kind: ./slow.mjs, with: { steps: 6, ms: 60 }, inputs: { text: $inputs.word } }
  fast: { kind: ./slow.mjs, with: { steps: 1, ms: 1 } }`,
    '{ caption: $slow.text, count: $fast.text }',
  );
  let early = false;
  const out = join(dir, 'two');
  const {
    code,
    out: text,
    err,
  } = await cli([file, ...plugins, '--input', 'word=w', '--out', out], {
    during: async (child, seen) => {
      await seen('out', 'caption: w0');
      early = child.exitCode === null;
    },
  });
  assert.is(code, 0, err);
  assert.ok(early);
  assert.is(text, 'caption: w0 w1 w2 w3 w4 w5\ncount: word0\n');
  for (const line of [/^slow\.text: 1 tokens in · 6 out/m, /^fast\.text: 1 tokens in · 1 out/m])
    assert.match(err, line);
  const { items } = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')) as {
    items: { text: string; generatedIds: number[]; completions: Record<string, { generatedIds: number[] }> }[];
  };
  assert.is(items[0]?.text, 'w0 w1 w2 w3 w4 w5');
  assert.is(items[0]?.generatedIds.length, 6);
  assert.is(items[0]?.completions['fast.text']?.generatedIds.length, 1);
});

test('data alone is printed as JSON', async () => {
  writeFileSync(
    join(dir, 'data.mjs'),
    `export const manifest = { kind: 'data', description: 'For tests.', stage: 'fuse', inputs: {}, options: {},
  outputs: { data: { kind: 'json', description: 'Data.' } } };
export const run = async (items) => items.map(() => ({ ok: true, outputs: { data: { kind: 'json', value: { n: [1, 2] } } } }));
`,
  );
  const { out, err } = await cli([recipe('data', '  it: { kind: ./data.mjs }', '{ data: $it.data }'), ...plugins]);
  assert.equal(JSON.parse(out), { n: [1, 2] }, err);
});

test('two questions about one picture: each record is that of its question alone', async () => {
  const shipped = readFileSync(join(packageRoot(), 'pipelines', 'internvl.yaml'), 'utf8');
  const model = join(packageRoot(), 'models', 'shapes-internvl');
  const file = join(dir, 'questions.yaml');
  writeFileSync(
    file,
    `version: 1
name: questions
model: { path: ${JSON.stringify(model)} }
inputs:
  image: { type: image, default: ${JSON.stringify(join(packageRoot(), 'examples', 'scene.png'))} }
  one: { type: text, default: Describe the image. }
  two: { type: text, default: How many shapes are there? }
devices: { main: { kind: cpu } }
nodes:
  pre1: { kind: preprocess, inputs: { image: $inputs.image, prompt: $inputs.one } }
  pre2: { kind: preprocess, inputs: { image: $inputs.image, prompt: $inputs.two }, with: { max_tiles: 1 } }
  see1: { kind: encode, device: main, inputs: { pixels: $pre1.pixels } }
  see2: { kind: encode, device: main, inputs: { pixels: $pre2.pixels } }
  say2: { kind: decode, device: main, inputs: { tokens: $pre2.tokens, vision: $see2.embeddings }, with: { ctx_len: 1024, max_new_tokens: 8 } }
  say1: { kind: decode, device: main, inputs: { tokens: $pre1.tokens, vision: $see1.embeddings }, with: { ctx_len: 1024, max_new_tokens: 24 } }
outputs: { count: $say2.text, caption: $say1.text }
`,
  );
  assert.match(shipped, 'shapes-internvl');
  const item = async (args: readonly string[]) => {
    const { out, err, code } = await cli([...args, '--json']);
    assert.is(code, 0, err);
    return (JSON.parse(out) as { items: Item[] }).items[0];
  };
  interface Facts {
    text: string;
    prompt: string;
    promptIds: number[];
    generatedIds: number[];
    images: unknown[];
    metrics: { tiles: number; generatedTokens: number };
  }
  type Item = Facts & { completions?: Record<string, Facts> };
  const both = await item([file]);
  const alone = (name: string) => item([file, '--set', `outputs={ it: $${name}.text }`]);
  const [count, caption] = [await alone('say2'), await alone('say1')];
  const facts = ({ text, prompt, promptIds, generatedIds, images, metrics }: Facts) => ({
    text,
    prompt,
    promptIds,
    generatedIds,
    images,
    tiles: metrics.tiles,
    generated: metrics.generatedTokens,
  });
  assert.ok(both !== undefined && count !== undefined && caption !== undefined);
  assert.equal(facts(both), facts(count));
  assert.equal(facts(both.completions?.['say2.text'] ?? count), facts(count));
  assert.equal(facts(both.completions?.['say1.text'] ?? count), facts(caption));
  assert.not.equal(facts(count).prompt, facts(caption).prompt);
});

test('both streams in one file: whole lines, the answer among them in one piece', async () => {
  const path = join(dir, 'both.txt');
  const file = openSync(path, 'w');
  const args = [join(dir, 'slow.yaml'), ...plugins, ...steps(4, 30)];
  const child = spawn(process.execPath, [CLI, ...args], { stdio: ['ignore', file, file] });
  const code = await new Promise((resolve) => child.on('close', resolve));
  closeSync(file);
  const lines = readFileSync(path, 'utf8').split('\n');
  assert.is(code, 0, lines.join('\n'));
  const answer = lines.indexOf('word0 word1 word2 word3');
  assert.ok(answer >= 0, lines.join('\n'));
  assert.match(lines[answer + 1] ?? '', /^it [\d.]+ m?s$/);
});

test('--trace: what cannot be written is told before anything runs', async () => {
  const file = join(dir, 'a-file');
  writeFileSync(file, '');
  mkdirSync(join(dir, 'a-folder'), { recursive: true });
  for (const [trace, code, part] of [
    [join(dir, 'a-folder'), 5, 'a folder'],
    [join(file, 'x'), 5, 'OUTPUT_UNWRITABLE'],
    ['/proc/vlm-run-none/deep/x', 5, 'OUTPUT_UNWRITABLE'],
    ['/dev/stdout', 2, 'a file of its own'],
    ['/dev/stderr', 2, 'a file of its own'],
  ] as const) {
    const ended = await cli([join(dir, 'slow.yaml'), ...plugins, '--trace', trace]);
    assert.is(ended.code, code, ended.err);
    assert.is(ended.out, '');
    assert.match(ended.err, part);
    assert.not.match(ended.err, /^it \d/m);
  }
});

test('--trace onto the file that standard output is: refused, and what is in it stays', async () => {
  const path = join(dir, 'answer.txt');
  const file = openSync(path, 'w');
  writeFileSync(path, 'before');
  const child = spawn(process.execPath, [CLI, join(dir, 'slow.yaml'), ...plugins, '--trace', path], {
    stdio: ['ignore', file, 'ignore'],
  });
  assert.is(await new Promise((resolve) => child.on('close', resolve)), 2);
  closeSync(file);
  assert.is(readFileSync(path, 'utf8'), 'before');
});

test('--trace into a pipe: written, and the pipe is still there', async () => {
  const pipe = join(dir, 'trace-pipe');
  execFileSync('mkfifo', [pipe]);
  const reader = spawn('cat', [pipe], { stdio: ['ignore', 'pipe', 'ignore'] });
  let read = '';
  reader.stdout.setEncoding('utf8').on('data', (d: string) => {
    read += d;
  });
  const ended = new Promise((resolve) => reader.on('close', resolve));
  const { code, out } = await cli([join(dir, 'slow.yaml'), ...plugins, ...steps(1, 1), '--trace', pipe]);
  await ended;
  assert.equal([code, out], [0, 'word0\n']);
  assert.ok((JSON.parse(read) as { traceEvents: unknown[] }).traceEvents.length > 0);
  assert.ok(lstatSync(pipe).isFIFO());
});

test('a trace that can no longer be written costs neither the answer nor the record', async () => {
  const folder = join(dir, 'goes');
  const out = join(dir, 'kept');
  const args = [join(dir, 'slow.yaml'), ...plugins, ...steps(12, 40), '--out', out, '--trace', join(folder, 'x')];
  for (const more of [[], ['--json']]) {
    rmSync(folder, { recursive: true, force: true });
    rmSync(out, { recursive: true, force: true });
    const ended = await cli([...args, ...more], {
      during: async (child, seen) => {
        if (more.length === 0) await seen('out', 'word1');
        else while (!isThere(join(out, 'run.json'))) await new Promise((resolve) => setTimeout(resolve, 5));
        assert.is(child.exitCode, null);
        rmSync(folder, { recursive: true });
        writeFileSync(folder, 'in the way');
      },
    });
    assert.is(ended.code, 5, ended.err);
    const answer = 'word0 word1 word2 word3 word4 word5 word6 word7 word8 word9 word10 word11';
    if (more.length === 0) {
      assert.is(ended.out, `${answer}\n`);
      assert.match(ended.err, /^error\[OUTPUT_UNWRITABLE\]/m);
    } else {
      const document = JSON.parse(ended.out) as { ok: boolean; error: { code: string }; items: { text: string }[] };
      assert.equal([document.ok, document.error.code, document.items[0]?.text], [false, 'OUTPUT_UNWRITABLE', answer]);
    }
    const { status } = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')) as { status: string };
    assert.is(status, 'done');
  }
});

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

test.run();
