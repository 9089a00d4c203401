import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { NodeManifest } from '../../src/contracts/node.js';
import { checkAgainstModel, compile, compileText, type Registry } from '../../src/recipe/index.js';
import { packageRoot } from '../../src/util/package-root.js';
import { BASE, brief, REGISTRY, recipe, run } from './helpers.js';

test('a plan is complete, in order and plain data', async () => {
  const { plan } = await run(BASE, { file: '/recipes/test.yaml' });
  assert.equal(
    plan?.nodes.map((n) => n.name),
    ['pre', 'enc', 'dec', 'out'],
  );
  assert.equal(
    plan?.nodes.map((n) => n.after),
    [[], ['pre'], ['pre', 'enc'], ['dec']],
  );
  assert.equal(
    plan?.nodes.map((n) => n.device),
    [null, 'main', 'main', null],
  );
  assert.is(plan?.file, '/recipes/test.yaml');
  assert.is(plan?.model.path, '/recipes/m');
  assert.equal(plan?.modelLocation, { file: '/recipes/test.yaml', line: 3, column: 10 });
  assert.equal(plan?.outputs, { answer: { ref: { from: 'node', node: 'out', port: 'answer' }, kind: 'answer' } });
  assert.equal(plan?.nodes[2]?.inputs, {
    tokens: { from: 'node', node: 'pre', port: 'tokens' },
    vision: { from: 'node', node: 'enc', port: 'embeddings' },
  });
  assert.equal(plan?.nodes[2]?.location, { file: '/recipes/test.yaml', line: 12, column: 3 });
  assert.equal(JSON.parse(JSON.stringify(plan)), plan);
  assert.equal(structuredClone(plan), plan);
});

test('defaults of the manifests are filled in; given options and their places are remembered', async () => {
  const text = recipe(['vision: $enc.embeddings }', 'vision: $enc.embeddings }, with: { ctx_len: 2048, stop: [a] }']);
  const { plan } = await run(text);
  const dec = plan?.nodes.find((n) => n.name === 'dec');
  const manifest = REGISTRY.nodes.find((m) => m.kind === 'decode');
  for (const [name, schema] of Object.entries(manifest?.options ?? {})) {
    if (schema.default === undefined || name === 'ctx_len' || name === 'stop') continue;
    assert.equal(dec?.options[name], schema.default, name);
  }
  assert.is(dec?.options['ctx_len'], 2048);
  assert.equal(dec?.given, ['ctx_len', 'stop']);
  const line = text.split('\n')[11] ?? '';
  assert.is(dec?.optionLocations['ctx_len']?.column, line.indexOf('2048') + 1);
  assert.is(dec?.optionLocations['stop']?.column, line.indexOf('stop') + 1, 'a list is found by its key');
});

test('defaults of one plan are not shared with another', async () => {
  const first = (await run(BASE)).plan?.nodes.find((n) => n.name === 'dec')?.options['stop'];
  const second = (await run(BASE)).plan?.nodes.find((n) => n.name === 'dec')?.options['stop'];
  assert.equal(first, second);
  assert.is.not(first, second);
});

test('the order of the file does not matter, and free nodes keep it', async () => {
  const lines = BASE.split('\n');
  const nodes = lines.slice(9, 13).reverse();
  const { plan, diagnostics } = await run([...lines.slice(0, 9), ...nodes, ...lines.slice(13)].join('\n'));
  assert.equal(diagnostics, []);
  assert.equal(
    plan?.nodes.map((n) => n.name),
    ['pre', 'enc', 'dec', 'out'],
  );
});

test('paths of pictures and messages are absolute, URLs and texts stay', async () => {
  const text = recipe(
    [
      '{ type: image }',
      '{ type: image, many: true, default: [a.png, "https://x.test/b.png", "data:image/png;base64,AA=="] }',
    ],
    [
      '{ type: text }',
      '{ type: messages, default: [{ role: user, content: [{ type: image, image: c.png }, { type: text, text: d.png }] }] }',
    ],
    ['prompt: $inputs.prompt', 'messages: $inputs.prompt'],
  );
  const { plan, diagnostics } = await run(text, { file: '/r/t.yaml' });
  assert.equal(diagnostics, []);
  assert.equal(plan?.inputs['image']?.default, ['/r/a.png', 'https://x.test/b.png', 'data:image/png;base64,AA==']);
  assert.is(plan?.inputs['image']?.many, true);
  assert.equal(plan?.inputs['prompt']?.default, [
    {
      role: 'user',
      content: [
        { type: 'image', image: '/r/c.png' },
        { type: 'text', text: 'd.png' },
      ],
    },
  ]);
});

test('a picture of a default conversation is a path however its part names it, from the file that says so', async () => {
  const parts = [
    '{ type: image, path: a.png }',
    '{ type: image, url: b.png }',
    '{ type: image_url, image_url: c.png }',
    '{ type: image_url, image_url: { url: d.png } }',
    '{ type: image_url, image_url: { url: "https://x.test/e.png" } }',
    '{ type: image, image: 0 }',
    '{ type: text, text: f.png }',
    'g.png',
  ];
  const text = recipe(
    ['{ type: text }', `{ type: messages, default: [{ role: user, content: [${parts.join(', ')}] }] }`],
    ['prompt: $inputs.prompt', 'messages: $inputs.prompt'],
  );
  const { plan, diagnostics } = await run(text, { file: '/r/t.yaml' });
  assert.equal(diagnostics, []);
  assert.equal(plan?.inputs['prompt']?.default, [
    {
      role: 'user',
      content: [
        { type: 'image', path: '/r/a.png' },
        { type: 'image', url: '/r/b.png' },
        { type: 'image_url', image_url: '/r/c.png' },
        { type: 'image_url', image_url: { url: '/r/d.png' } },
        { type: 'image_url', image_url: { url: 'https://x.test/e.png' } },
        { type: 'image', image: 0 },
        { type: 'text', text: 'f.png' },
        'g.png',
      ],
    },
  ]);
});

test('nodes that no output needs do not run', async () => {
  const { plan } = await run(recipe(['outputs:', '  more: { kind: fuse, inputs: { text: $dec.text } }\noutputs:']));
  assert.equal(
    plan?.nodes.map((n) => n.name),
    ['pre', 'enc', 'dec', 'out'],
  );
});

test('warnings leave the plan usable', async () => {
  const { plan, diagnostics } = await run(recipe(['inputs:\n', 'inputs:\n  spare: { type: text, required: false }\n']));
  assert.equal(diagnostics.map(brief), ['W_UNUSED_INPUT 5:3']);
  assert.is(plan?.inputs['spare']?.required, false);
});

const UPPER: NodeManifest = {
  kind: 'upper',
  description: 'Makes text upper case.',
  stage: 'fuse',
  inputs: { text: { kind: 'text', description: 'Any text.' } },
  outputs: { text: { kind: 'text', description: 'The same in capitals.' } },
  options: { times: { type: 'integer', minimum: 1, default: 1, description: 'How often.', examples: [1] } },
};
const PLUGIN = recipe([
  'outputs: { answer: $out.answer }',
  '  up: { kind: ./my/upper.mjs, inputs: { text: $dec.text }, with: { times: 2 } }\noutputs: { answer: $out.answer, loud: $up.text }',
]);

test('plugin kinds: loaded when allowed, checked like the others', async () => {
  const asked: string[] = [];
  const loadPlugin = async (path: string): Promise<NodeManifest> => {
    asked.push(path);
    return UPPER;
  };
  const plugins = { file: '/r/t.yaml', allowPlugins: true, loadPlugin };
  const { plan, diagnostics } = await run(PLUGIN, plugins);
  assert.equal(diagnostics, []);
  assert.equal(asked, ['/r/my/upper.mjs']);
  const up = plan?.nodes.find((n) => n.name === 'up');
  assert.is(up?.plugin, '/r/my/upper.mjs');
  assert.is(up?.options['times'], 2);
  assert.equal(
    (await run(PLUGIN.replace('times: 2', 'times: 0'), plugins)).diagnostics.map((d) => `${d.code} ${d.path}`),
    ['E_VALUE nodes.up.with.times'],
  );
  assert.equal(
    (await run(PLUGIN.replace('times', 'tims'), plugins)).diagnostics.map((d) => `${d.code} ${d.path}`),
    ['E_UNKNOWN_KEY nodes.up.with.tims'],
  );
  assert.equal(
    (await run(PLUGIN.replace('$up.text', '$up.txt'), plugins)).diagnostics.map((d) => d.code),
    ['E_UNKNOWN_PORT'],
  );
});

test('plugin kinds: not loaded unless allowed; trouble of the module is a diagnostic', async () => {
  const never = async (): Promise<NodeManifest> => assert.unreachable() as never;
  assert.equal(
    (await run(PLUGIN, { loadPlugin: never })).diagnostics.map((d) => d.code),
    ['E_PLUGIN'],
  );
  const fails = async (): Promise<NodeManifest> => {
    throw new SyntaxError('unexpected token');
  };
  const failed = await run(PLUGIN, { allowPlugins: true, loadPlugin: fails });
  assert.equal(
    failed.diagnostics.map((d) => d.code),
    ['E_PLUGIN'],
  );
  assert.match(failed.diagnostics[0]?.message ?? '', 'unexpected token');
  const odd: readonly unknown[] = [
    undefined,
    { ...UPPER, kind: 5 },
    { ...UPPER, inputs: { text: { kind: 'texts', description: 'x' } } },
    { ...UPPER, outputs: { text: {} } },
    { ...UPPER, stage: 'upper' },
    { ...UPPER, program: 'audio' },
    { ...UPPER, options: { times: 1 } },
    { ...UPPER, options: { times: { type: 'whole', description: 'x' } } },
  ];
  for (const manifest of odd) {
    const loadPlugin = async (): Promise<NodeManifest> => manifest as NodeManifest;
    const { plan, diagnostics } = await run(PLUGIN, { allowPlugins: true, loadPlugin });
    assert.is(plan, null);
    assert.equal(
      diagnostics.map((d) => d.code),
      ['E_PLUGIN'],
      JSON.stringify(manifest),
    );
  }
});

test('values that the model contradicts are warnings at their place', async () => {
  const text = recipe(
    ['vision: $enc.embeddings }', 'vision: $enc.embeddings }, with: { ctx_len: 9000, stop_token_ids: [5, 700] }'],
    ['prompt: $inputs.prompt }', 'prompt: $inputs.prompt }, with: { max_tiles: 40, use_thumbnail: false }'],
  );
  const { plan, sources } = await run(text);
  assert.ok(plan);
  const facts = { maxPositions: 8192, vocabSize: 600, maxTiles: 12, useThumbnail: true };
  const found = checkAgainstModel(plan, facts, sources);
  assert.equal(
    found.map((d) => [d.code, d.path]),
    [
      ['W_CONTRADICTS_MODEL', 'nodes.pre.with.max_tiles'],
      ['W_CONTRADICTS_MODEL', 'nodes.pre.with.use_thumbnail'],
      ['W_CONTRADICTS_MODEL', 'nodes.dec.with.ctx_len'],
      ['W_CONTRADICTS_MODEL', 'nodes.dec.with.stop_token_ids'],
    ],
  );
  const line = text.split('\n')[9] ?? '';
  assert.is(found[0]?.excerpt, line);
  assert.equal(found[0]?.location, {
    file: 'test.yaml',
    line: 10,
    column: line.indexOf('40') + 1,
    endColumn: line.indexOf('40') + 3,
  });
  assert.equal(checkAgainstModel(plan, {}), [], 'nothing known, nothing contradicted');
  assert.equal(
    checkAgainstModel((await run(BASE)).plan ?? plan, { ...facts, maxPositions: 512 }),
    [],
    'only given values',
  );
});

test('the shipped recipes compile without a word', async () => {
  const folder = join(packageRoot(), 'pipelines');
  for (const name of ['internvl.yaml', 'internvl-1b.yaml', 'internvl.ai100.yaml']) {
    const { plan, diagnostics } = await compile(join(folder, name), { registry: REGISTRY });
    assert.equal(diagnostics, [], name);
    assert.is(plan?.inputs['prompt']?.default, 'Describe the image.');
    assert.is(plan?.inputs['image']?.default, join(packageRoot(), 'examples', 'scene.png'));
  }
  const real = await compile(join(folder, 'internvl-1b.yaml'), { registry: REGISTRY });
  assert.equal(real.plan?.model, { hub: 'OpenGVLab/InternVL2_5-1B' });
  const card = await compile(join(folder, 'internvl.ai100.yaml'), { registry: REGISTRY });
  assert.is(card.plan?.devices['main']?.kind, 'ai100');
  assert.is(card.plan?.model.path, join(packageRoot(), 'models', 'shapes-internvl'));
});

test('an empty registry says so', async () => {
  const registry: Registry = { nodes: [], devices: [] };
  const { diagnostics } = await compileText(BASE, { file: 't.yaml', registry });
  assert.equal([...new Set(diagnostics.map((d) => d.code))].sort(), ['E_UNKNOWN_DEVICE_KIND', 'E_UNKNOWN_KIND']);
});

test.run();
