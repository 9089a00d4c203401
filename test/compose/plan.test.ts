/** Plans of the shipped model, held against its files and against what runs then do. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PlanLooks, planSources } from '../../src/compose/plan.js';
import { compileRecipe, requirePlan } from '../../src/compose/recipes.js';
import { type PlanOptions, plan, run, VlmError } from '../../src/index.js';
import { packageRoot } from '../../src/util/package-root.js';

const test = suite('plan');
const root = packageRoot();
const model = join(root, 'models', 'shapes-internvl');
const dir = mkdtempSync(join(tmpdir(), 'vlm-plan-'));
test.after(() => rmSync(dir, { recursive: true, force: true }));

const example = (name: string): string => join(root, 'examples', name);

function recipe(name: string, nodes: string, outputs: string): string {
  const file = join(dir, `${name}.yaml`);
  const text = `version: 1
name: ${name}
model: { path: ${JSON.stringify(model)} }
inputs:
  image: { type: image, many: true, default: ${JSON.stringify([example('scene.png')])} }
  other: { type: image, default: ${JSON.stringify(example('panorama.png'))} }
  prompt: { type: text, default: Describe the image. }
  question: { type: text, default: How many circles are there? }
devices: { main: { kind: cpu } }
nodes:
${nodes}
outputs: ${outputs}
`;
  writeFileSync(file, text);
  return file;
}

const two = recipe(
  'two',
  `  pre1: { kind: preprocess, inputs: { image: $inputs.image, prompt: $inputs.prompt } }
  pre2: { kind: preprocess, inputs: { image: $inputs.other, prompt: $inputs.question }, with: { max_tiles: 2 } }
  enc1: { kind: encode, device: main, inputs: { pixels: $pre1.pixels } }
  enc2: { kind: encode, device: main, inputs: { pixels: $pre2.pixels } }
  dec1: { kind: decode, device: main, inputs: { tokens: $pre1.tokens, vision: $enc1.embeddings }, with: { ctx_len: 512, batch_size: 3 } }
  dec2: { kind: decode, device: main, inputs: { tokens: $pre2.tokens, vision: $enc2.embeddings }, with: { prefill_seq_len: 64 } }`,
  '{ a: $dec1.text, b: $dec2.text }',
);

test('each node that makes a prompt is planned with its own images, each program with what it is given', async () => {
  const shapes = await plan(two);
  assert.equal(
    shapes.prompts.map((p) => [p.node, p.tiles, p.visionTokens, p.promptTokens]),
    [
      ['pre1', 5, 80, 107],
      ['pre2', 3, 48, 77],
    ],
  );
  assert.equal(
    shapes.decodes.map((d) => [d.node, d.prefillChunks, d.roomForAnswer]),
    [
      ['dec1', [107], 405],
      ['dec2', [64, 13], 947],
    ],
  );
  const of = (node: string, what: string) => shapes.calls.filter((c) => c.node === node && c.what.startsWith(what));
  assert.equal(of('enc2', 'encode')[0]?.shapes, { pixel_values: [3, 3, 112, 112] });
  assert.equal(
    of('dec2', 'prefill').map((c) => [c.times, c.shapes['input_ids'], c.shapes['vision_embeds']]),
    [
      [1, [1, 64], [1, 48, 128]],
      [1, [1, 13], [1, 48, 128]],
    ],
  );
});

test('prefill calls are those that the run makes, where a call of one token would hold an image token alone', async () => {
  for (const size of [1, 2, 7]) {
    const set = [`nodes.dec1.with={ prefill_seq_len: ${size}, max_new_tokens: 1 }`, 'outputs={ a: $dec1.text }'];
    set.push('nodes.dec2=null', 'nodes.pre2=null', 'nodes.enc2=null');
    const [shapes, done] = [await plan(two, { set }), await run(two, { set })];
    assert.ok(done.ok, JSON.stringify(done.error));
    const [answer] = Object.values(done.items[0]?.outputs ?? {});
    assert.is(answer?.kind, 'completion');
    const made = answer?.kind === 'completion' ? answer.prefillChunks : [];
    assert.equal(shapes.decodes[0]?.prefillChunks, made, `at most ${size}`);
    const counted = shapes.calls.filter((c) => c.what === 'prefill');
    assert.equal(
      counted.map((c) => [c.shapes['input_ids']?.[1], c.times]),
      [...new Set(made)].map((n) => [n, made.filter((m) => m === n).length]),
    );
    if (size === 1) assert.ok(made.includes(2), 'images go two by two');
  }
});

test('memory: a program is loaded once, and its nodes have their caches in turn', async () => {
  const { programs, memoryBytes } = await plan(two);
  const config = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8')) as {
    text_config: {
      num_hidden_layers: number;
      num_key_value_heads: number;
      head_dim?: number;
      hidden_size: number;
      num_attention_heads: number;
    };
  };
  const t = config.text_config;
  const head = t.head_dim ?? t.hidden_size / t.num_attention_heads;
  // Keys and values of every layer, float32; three rows of 512 slots are more than one of 1024.
  const cache = 3 * 512 * 2 * t.num_hidden_layers * t.num_key_value_heads * head * 4;
  assert.equal(
    programs.map((p) => [p.program, p.nodes, p.stateBytes]),
    [
      ['vision', ['enc1', 'enc2'], 0],
      ['language', ['dec1', 'dec2'], cache],
    ],
  );
  const files = ['vision', 'language'].map((name) => statSync(join(model, `${name}.onnx`)).size);
  // Graphs take some of the files, weights the most.
  const weights = programs.map((p) => p.weightBytes ?? 0);
  for (const [i, bytes] of weights.entries()) assert.ok(bytes <= (files[i] ?? 0) && bytes > 0.9 * (files[i] ?? 0));
  assert.is(memoryBytes, weights.reduce((a, b) => a + b, 0) + cache);
});

test('a prompt of text alone needs the memory of the language program alone', async () => {
  const file = recipe(
    'alone',
    `  pre: { kind: preprocess, inputs: { image: $inputs.image, prompt: $inputs.prompt } }
  enc: { kind: encode, device: main, inputs: { pixels: $pre.pixels } }
  dec: { kind: decode, device: main, inputs: { tokens: $pre.tokens, vision: $enc.embeddings }, with: { max_new_tokens: 2 } }`,
    '{ text: $dec.text }',
  );
  for (const [image, programs] of [
    [[], ['language']],
    [[example('thumb.png')], ['vision', 'language']],
  ] as const) {
    const planned = await plan(file, { inputs: { image } });
    assert.equal(
      planned.programs.map((p) => p.program),
      programs,
    );
  }
});

test('a node that does not get the pictures of its prompt is refused before anything opens', async () => {
  const nodes = `  pre: { kind: preprocess, inputs: { image: $inputs.image, prompt: $inputs.prompt } }
  dec: { kind: decode, device: main, inputs: { tokens: $pre.tokens }, with: { max_new_tokens: 2 } }`;
  const file = recipe('blind', nodes, '{ text: $dec.text }');
  const { error, ledger } = await run(file);
  const planned = await plan(file).catch((reason: unknown) => reason);
  assert.instance(planned, VlmError);
  for (const one of [(planned as VlmError).toData(), error]) {
    assert.is(one?.code, 'PLAN_DOES_NOT_FIT');
    assert.is(one?.location?.line, 12);
    assert.match(one?.hint ?? '', '$encode.embeddings');
  }
  assert.not(ledger.lanes.some((lane) => lane.spans.some((span) => span.stage === 'prefill')));
  assert.ok((await run(file, { inputs: { image: [] } })).ok);
});

test('a missing model is told at the line that names it', async () => {
  const file = join(dir, 'nomodel.yaml');
  writeFileSync(file, readFileSync(two, 'utf8').replace(JSON.stringify(model), 'nowhere'));
  const error = await plan(file).catch((reason: unknown) => reason);
  assert.instance(error, VlmError);
  assert.is((error as VlmError).code, 'MODEL_MISSING');
  assert.equal((error as VlmError).details.location, { file, line: 3, column: 10 });
});

test('values that are said to fit do, and the next ones do not', async () => {
  const recipe = join(root, 'pipelines', 'internvl.yaml');
  const image = example('panorama.png');
  const tried = async (options: Record<string, number>): Promise<string | null> => {
    const set = Object.entries(options).map(([path, value]) => `nodes.${path}=${value}`);
    const given: PlanOptions = { set, inputs: { image } };
    try {
      await plan(recipe, given);
      return null;
    } catch (error) {
      assert.instance(error, VlmError);
      assert.is((error as VlmError).code, 'PLAN_DOES_NOT_FIT');
      return (error as VlmError).details.hint ?? '';
    }
  };
  const ctx = (n: number) => ({ 'decode.with.ctx_len': n });
  const hint = (await tried(ctx(80))) ?? '';
  const [, least = '', tiles = ''] = /ctx_len of at least (\d+).*max_tiles of at most (\d+)/.exec(hint) ?? [];
  assert.is(await tried(ctx(Number(least))), null, hint);
  assert.type(await tried(ctx(Number(least) - 1)), 'string');
  assert.is(await tried({ ...ctx(80), 'preprocess.with.max_tiles': Number(tiles) }), null, hint);
  assert.type(await tried({ ...ctx(80), 'preprocess.with.max_tiles': Number(tiles) + 1 }), 'string');
});

test('what only a run can tell is said, and the rest is planned', async () => {
  const file = recipe(
    'chain',
    `  pre: { kind: preprocess, inputs: { image: $inputs.image, prompt: $inputs.prompt } }
  enc: { kind: encode, device: main, inputs: { pixels: $pre.pixels } }
  first: { kind: decode, device: main, inputs: { tokens: $pre.tokens, vision: $enc.embeddings } }
  again: { kind: preprocess, inputs: { image: $inputs.other, prompt: $first.text } }
  see: { kind: encode, device: main, inputs: { pixels: $again.pixels } }
  second: { kind: decode, device: main, inputs: { tokens: $again.tokens, vision: $see.embeddings } }`,
    '{ a: $second.text }',
  );
  const shapes = await plan(file);
  assert.equal(
    [
      shapes.prompts.map((p) => p.node),
      shapes.decodes.map((d) => d.node),
      [...new Set(shapes.calls.map((c) => c.node))],
    ],
    [['pre'], ['first'], ['enc', 'first']],
  );
  const said = shapes.warnings.join('\n');
  for (const part of ['node "again"', '$first.text', 'node "see"', 'node "second"'])
    assert.ok(said.includes(part), said);
});

test('plans made together look at a model and its programs once', async () => {
  const looks = new PlanLooks();
  const sourcesOf = async (set: readonly string[]): Promise<Awaited<ReturnType<typeof planSources>>> =>
    planSources(requirePlan(await compileRecipe(join(root, 'pipelines', 'internvl.yaml'), { set })), looks);
  const first = await sourcesOf([]);
  const again = await sourcesOf(['nodes.decode.with.ctx_len=2048']);
  assert.is(again.model, first.model);
  const language = await first.inspect('language', 'main');
  assert.ok(language !== null && language.weightBytes > 0);
  // The very same object: the file was not read a second time.
  assert.is(await first.inspect('language', 'main'), language);
  assert.is(await again.inspect('language', 'main'), language);
  assert.is.not(await first.inspect('vision', 'main'), language);
  const other = await sourcesOf([`model={ path: ${JSON.stringify(model)}, programs: { vision: language.onnx } }`]);
  assert.is.not(other.model, first.model);
  const broken = await other.inspect('vision', 'main').catch((error: unknown) => error);
  assert.not.equal(broken, await first.inspect('vision', 'main'));
});

test.run();
