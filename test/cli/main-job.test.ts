// The shipped recipe on the shipped model: the runner's own promises, whatever the model answers.
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { plan, run } from '../../src/index.js';
import { packageRoot } from '../../src/util/package-root.js';
import { cli } from './fakes/spawn.js';

const test = suite('main job');
const dir = mkdtempSync(join(tmpdir(), 'vlm-main-job-'));
const recipe = join(packageRoot(), 'pipelines', 'internvl.yaml');
const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
test.after(() => rmSync(dir, { recursive: true, force: true }));

const LONG = ['ctx_len=2048', 'max_new_tokens=1900', 'ignore_eos=true'].flatMap((o) => [
  '--set',
  `nodes.decode.with.${o}`,
]);

test('the plan says what the run then does', async () => {
  const image = join(packageRoot(), 'examples', 'panorama.png');
  const set = ['nodes.decode.with.prefill_seq_len=32', 'nodes.decode.with.max_new_tokens=4'];
  const inputs = { image, prompt: 'Describe the image.' };
  const [planned, done] = await Promise.all([plan(recipe, { inputs, set }), run(recipe, { inputs, set })]);
  assert.ok(done.ok, JSON.stringify(done.error));
  const [item] = done.items;
  assert.is(item?.metrics?.promptTokens, planned.promptTokens);
  assert.is(item?.metrics?.tiles, planned.tiles);
  assert.is(item?.metrics?.visionTokens, planned.visionTokens);
  assert.is(item?.prompt, planned.prompt);
  assert.is(item?.promptIds?.length, planned.promptTokens);
  assert.ok((planned.memoryBytes ?? 0) > 1e6);
  const prefill = planned.decodes[0]?.prefillChunks ?? [];
  assert.is(
    prefill.reduce((a, b) => a + b, 0),
    planned.promptTokens,
  );
  assert.ok(prefill.length > 1 && prefill.every((n) => n <= 32));
});

test('what is streamed is the answer, and the record says the same', async () => {
  const out = join(dir, 'out');
  const streamed = await cli([recipe, '--out', out]);
  assert.is(streamed.code, 0, streamed.err);
  const record = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')) as {
    items: { text: string; generatedIds: number[]; promptIds: number[] }[];
    model: { sha256: Record<string, string> };
    inputs: { item: number; input: string; sha256: string }[];
  };
  assert.ok(streamed.out.startsWith(record.items[0]?.text ?? '?'), streamed.out);
  assert.ok((record.items[0]?.generatedIds.length ?? 0) > 0);
  for (const file of ['config.json', 'tokenizer.json', 'vision.onnx', 'language.onnx']) {
    assert.is(record.model.sha256[file], digest(readFileSync(join(packageRoot(), 'models', 'shapes-internvl', file))));
  }
  // A text input is digested as its UTF-8 bytes.
  const given = Object.fromEntries(record.inputs.map(({ input, sha256 }) => [input, sha256]));
  assert.equal(given, {
    image: digest(readFileSync(join(packageRoot(), 'examples', 'scene.png'))),
    prompt: digest(Buffer.from('Describe the image.')),
  });
});

test('a grounded answer has its boxes on standard output and its picture in the folder', async () => {
  const out = join(dir, 'boxes');
  const { code, out: text, err } = await cli([recipe, '--input', 'prompt=Where is the red circle?', '--out', out]);
  assert.is(code, 0, err);
  const answer = JSON.parse(readFileSync(join(out, 'answer.json'), 'utf8')) as {
    outputs: { answer: { boxes: { label: string; box: number[] }[]; overlay: { file: string } } };
  };
  const { boxes, overlay } = answer.outputs.answer;
  assert.ok(boxes.length > 0, text);
  for (const { label, box } of boxes) assert.match(text, `${label}: [${box.map(Math.round).join(', ')}]\n`);
  assert.not.match(text, '<box>');
  assert.is(overlay.file, 'overlay.png');
  assert.equal([...readFileSync(join(out, overlay.file)).subarray(1, 4)], [...Buffer.from('PNG')]);
});

test('items of a batch equal their runs alone, token for token', async () => {
  const prompts = ['Describe the image.', 'How many shapes are there?', 'Is there a circle?'];
  const set = ['nodes.decode.with.batch_size=3', 'nodes.encode.with.batch_size=3'];
  const together = await run(recipe, { items: prompts.map((prompt) => ({ prompt })), set });
  assert.ok(together.ok, JSON.stringify(together.error));
  for (const [i, prompt] of prompts.entries()) {
    const alone = await run(recipe, { inputs: { prompt } });
    assert.equal(together.items[i]?.generatedIds, alone.items[0]?.generatedIds, prompt);
  }
});

test('lanes of a real run: work is recorded where it happens, and sums to the wall time', async () => {
  const { ledger } = await run(recipe);
  const lane = (name: string) => ledger.lanes.find((l) => l.lane === name)?.stages ?? {};
  for (const l of ledger.lanes) {
    const sum = Object.values(l.stages).reduce((a, b) => a + b, 0);
    assert.ok(Math.abs(sum - ledger.wallMs) <= 0.01 * ledger.wallMs, `${l.lane}: ${sum} of ${ledger.wallMs}`);
  }
  for (const [name, stages] of [
    ['host 1', ['start', 'load', 'image decode', 'preprocess', 'fuse']],
    ['main vision', ['start', 'load', 'encode']],
    ['main language', ['start', 'load', 'prefill', 'decode']],
  ] as const) {
    for (const stage of stages) assert.ok((lane(name)[stage] ?? 0) > 0, `${name}: ${stage}`);
  }
});

test('a prompt that does not fit is refused with the place of ctx_len', async () => {
  for (const command of [[], ['plan']]) {
    const { code, err } = await cli([...command, recipe, '--set', 'nodes.decode.with.ctx_len=40']);
    assert.is(code, 2, err);
    assert.match(err, 'PLAN_DOES_NOT_FIT');
    assert.match(err, /ctx_len of at least \d+/);
  }
});

test('an answer that may be cut off is warned of, by plan and by run', async () => {
  for (const command of [[], ['plan']]) {
    const { code, err } = await cli([...command, recipe, '--set', 'nodes.decode.with.ctx_len=120']);
    assert.is(code, 0, err);
    assert.match(err, /warning: .*before max_new_tokens 64/);
  }
});

for (const text of ['preprocess ', 'encode '] as const) {
  test(`Ctrl-C after ${text.trim()}: 130, whatever native call is under way`, async () => {
    const ended = await cli([recipe, ...LONG], {
      during: async (child, seen) => {
        await seen('err', text);
        child.kill('SIGINT');
      },
    });
    assert.equal([ended.code, ended.signal], [130, null], ended.err);
  });
}

test('two Ctrl-C in the middle of native calls: dead by the signal or stopped, never aborted', async () => {
  const ended = await cli([recipe, ...LONG], {
    during: async (child, seen) => {
      await seen('err', 'encode ');
      await new Promise((resolve) => setTimeout(resolve, 100));
      child.kill('SIGINT');
      await new Promise((resolve) => setTimeout(resolve, 2));
      child.kill('SIGINT');
    },
  });
  assert.ok(ended.signal === 'SIGINT' || ended.code === 130, `${ended.code} ${ended.signal}\n${ended.err}`);
  assert.not.match(ended.err, 'terminate called');
});

test.run();
