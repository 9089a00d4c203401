import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compile } from '../../src/recipe/index.js';
import { BASE, brief, REGISTRY, recipe, withFiles } from './helpers.js';

const options = { registry: REGISTRY };

test('deep override: maps merge, lists and values are replaced, the rest stays', async () => {
  const base = recipe([
    'vision: $enc.embeddings }',
    'vision: $enc.embeddings }, with: { ctx_len: 64, stop: [a, b], seed: 3 }',
  ]);
  const over = 'extends: base.yaml\nname: over\nnodes: { dec: { with: { ctx_len: 99, stop: [c], seed: null } } }\n';
  await withFiles({ 'base.yaml': base, 'over.yaml': over }, async (folder) => {
    const { plan, diagnostics } = await compile(join(folder, 'over.yaml'), options);
    assert.equal(diagnostics, []);
    const dec = plan?.nodes.find((n) => n.name === 'dec');
    assert.is(plan?.name, 'over');
    assert.is(dec?.options['ctx_len'], 99);
    assert.equal(dec?.options['stop'], ['c']);
    assert.is(dec?.options['seed'], 0, 'null takes the default of the kind');
    assert.equal(dec?.given, ['ctx_len', 'stop']);
    assert.is(dec?.optionLocations['ctx_len']?.file, join(folder, 'over.yaml'));
    assert.is(plan?.file, join(folder, 'over.yaml'));
  });
});

test('relative paths stay relative to the file that wrote them', async () => {
  const base = recipe(['path: m', 'path: ../models/m'], ['{ type: image }', '{ type: image, default: a.png }']);
  const over = 'extends: sub/base.yaml\nmodel: { programs: { vision: v.onnx } }\n';
  await withFiles({ 'sub/base.yaml': base, 'over.yaml': over }, async (folder) => {
    const { plan } = await compile(join(folder, 'over.yaml'), options);
    assert.is(plan?.model.path, join(folder, 'models', 'm'));
    assert.is(plan?.model.programs?.vision, join(folder, 'v.onnx'));
    assert.is(plan?.inputs['image']?.default, join(folder, 'sub', 'a.png'));
  });
});

test('a node or device of another kind is replaced whole', async () => {
  const base = recipe(['{ kind: cpu }', '{ kind: cpu, threads: 2 }']);
  const over = 'extends: base.yaml\ndevices: { main: { kind: ai100, ids: [1] } }\n';
  await withFiles({ 'base.yaml': base, 'over.yaml': over }, async (folder) => {
    const { plan, diagnostics } = await compile(join(folder, 'over.yaml'), options);
    assert.equal(diagnostics, []);
    assert.is(plan?.devices['main']?.['threads'], undefined);
    assert.equal(plan?.devices['main']?.ids, [1]);
  });
});

test('removing what is not there', async () => {
  const over = 'extends: base.yaml\nnodes:\n  ot: null\n';
  await withFiles({ 'base.yaml': BASE, 'over.yaml': over }, async (folder) => {
    const { diagnostics } = await compile(join(folder, 'over.yaml'), options);
    assert.equal(diagnostics.map(brief), ['E_UNKNOWN_KEY 3:3']);
    assert.match(diagnostics[0]?.hint ?? '', '"out"');
  });
});

test('a problem points to the file it was written in', async () => {
  const base = recipe(['vision: $enc.embeddings }', 'vision: $enc.embeddings }, with: { ctx_len: 64, topk: 3 }']);
  const over = 'extends: base.yaml\nnodes: { dec: { with: { ctx_len: 1 } } }\n';
  await withFiles({ 'base.yaml': base, 'over.yaml': over }, async (folder) => {
    const { diagnostics, sources } = await compile(join(folder, 'over.yaml'), options);
    const places = diagnostics.map((d) => `${d.code} ${d.location?.file} ${d.location?.line}`);
    assert.equal(places.sort(), [
      `E_UNKNOWN_KEY ${join(folder, 'base.yaml')} 12`,
      `E_VALUE ${join(folder, 'over.yaml')} 2`,
    ]);
    assert.equal(
      sources?.map((s) => s.path),
      [join(folder, 'over.yaml'), join(folder, 'base.yaml')],
    );
  });
});

test('a base that is missing, a folder, broken or of another version', async () => {
  const files = {
    'bases.yaml': BASE,
    'missing.yaml': 'extends: base.yaml\n',
    'folder.yaml': 'name: x\nextends: .\n',
    'broken.yaml': 'extends: bad.yaml\n',
    'bad.yaml': 'version: 1\nmodel: {\n',
    'old.yaml': 'extends: v9.yaml\n',
    'address.yaml': 'extends: https://x.test/base.yaml\n',
    'both.yaml': 'extends: bases.yaml\nmodel: { hub: a/b }\n',
    'v9.yaml': 'version: 9\n',
  };
  await withFiles(files, async (folder) => {
    const see = async (name: string) => (await compile(join(folder, name), options)).diagnostics;
    const missing = await see('missing.yaml');
    assert.equal(missing.map(brief), ['E_EXTENDS 1:10']);
    assert.match(missing[0]?.hint ?? '', 'bases.yaml');
    assert.equal((await see('folder.yaml')).map(brief), ['E_EXTENDS 2:10']);
    const broken = await see('broken.yaml');
    assert.equal(
      broken.map((d) => [d.code, d.location?.file]),
      [['E_YAML', join(folder, 'bad.yaml')]],
    );
    assert.equal((await see('old.yaml')).map(brief), ['E_VERSION 1:10']);
    const [address] = await see('address.yaml');
    assert.match(address?.message ?? '', 'https://x.test/base.yaml');
    assert.match(address?.hint ?? '', 'no recipe is fetched');
    const both = await see('both.yaml');
    assert.equal(both.map(brief), ['E_MODEL 2:10']);
    assert.match(both[0]?.hint ?? '', 'path: null');
  });
});

test('what a node lacks is missing in the base, or where an override took it away', async () => {
  const base = BASE.replace('kind: decode, device: main, inputs: { tokens: $pre.tokens, ', 'knd: decode, inputs: { ');
  const over = [
    'extends: base.yaml',
    'nodes:',
    '  dec: { with: { seed: 1 } }',
    '  enc: { with: { batch_size: 2 }, device: null }',
    '  pre:',
    '    inputs:',
    '      prompt: null',
    '  out: { kind: null }',
  ].join('\n');
  await withFiles({ 'base.yaml': base, 'over.yaml': over }, async (folder) => {
    const { diagnostics } = await compile(join(folder, 'over.yaml'), options);
    const places = diagnostics
      .filter((d) => d.code.startsWith('E_MISSING'))
      .map((d) => `${d.code} ${d.path} ${d.location?.file.slice(folder.length + 1)} ${d.location?.line}`);
    assert.equal(places.sort(), [
      'E_MISSING_DEVICE nodes.enc.device over.yaml 4',
      'E_MISSING_KEY nodes.dec.kind base.yaml 12',
      'E_MISSING_KEY nodes.out.kind over.yaml 8',
      'E_MISSING_PORT nodes.pre.inputs over.yaml 7',
    ]);
  });
});

test('a base that is no text is told at the place in the base', async () => {
  const files = { 'over.yaml': 'extends: base.yaml\n', 'base.yaml': 'version: 1\nname: a\0b\n' };
  await withFiles(files, async (folder) => {
    const { diagnostics } = await compile(join(folder, 'over.yaml'), options);
    assert.equal(diagnostics.map(brief), ['E_ENCODING 2:8']);
    assert.is(diagnostics[0]?.location?.file, join(folder, 'base.yaml'));
  });
});

test('circles and too long chains', async () => {
  const files: Record<string, string> = {
    'a.yaml': 'extends: b.yaml\n',
    'b.yaml': 'extends: a.yaml\n',
    'self.yaml': 'extends: ./self.yaml\n',
    'chain9.yaml': BASE,
  };
  for (let i = 0; i < 9; i++) files[`chain${i}.yaml`] = `extends: chain${i + 1}.yaml\n`;
  await withFiles(files, async (folder) => {
    const circle = (await compile(join(folder, 'a.yaml'), options)).diagnostics;
    assert.equal(circle.map(brief), ['E_EXTENDS 1:10']);
    assert.is(circle[0]?.location?.file, join(folder, 'b.yaml'));
    assert.match(circle[0]?.message ?? '', /a\.yaml → .*b\.yaml → .*a\.yaml/);
    assert.equal((await compile(join(folder, 'self.yaml'), options)).diagnostics.map(brief), ['E_EXTENDS 1:10']);
    assert.equal((await compile(join(folder, 'chain0.yaml'), options)).diagnostics.map(brief), ['E_EXTENDS 1:10']);
    assert.equal((await compile(join(folder, 'chain1.yaml'), options)).diagnostics, []);
  });
});

test('files are shown as the recipe was named', async () => {
  const here = process.cwd();
  await withFiles(
    { 'sub/over.yaml': 'extends: ../base.yaml\nname: 5\n', 'base.yaml': `${BASE}x: 1\n` },
    async (folder) => {
      process.chdir(folder);
      try {
        const { diagnostics } = await compile('sub/over.yaml', options);
        assert.equal(diagnostics.map((d) => d.location?.file).sort(), ['base.yaml', 'sub/over.yaml']);
      } finally {
        process.chdir(here);
      }
    },
  );
});

test.run();
