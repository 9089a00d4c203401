import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import type { NodeManifest } from '../../src/contracts/node.js';
import { generatedFor, schemaCheck } from '../../src/recipe/checker.js';
import { buildRecipeSchema, compileText } from '../../src/recipe/index.js';
import { recipeReference } from '../../src/recipe/reference.js';
import { packageRoot } from '../../src/util/package-root.js';
import { BASE, REGISTRY } from './helpers.js';
import { lacks, schemaProperties } from './schema-properties.js';

const schema = buildRecipeSchema(REGISTRY);

test('the shipped files are those that the manifests make', async () => {
  const shipped: unknown = JSON.parse(await readFile(join(packageRoot(), 'schemas', 'recipe.schema.json'), 'utf8'));
  assert.equal(shipped, schema);
  assert.is(await readFile(join(packageRoot(), 'docs', 'recipe-reference.md'), 'utf8'), recipeReference(REGISTRY));
  assert.ok(generatedFor(schema) !== null, 'schemas/recipe.validate.cjs is of this schema');
});

test('it is valid draft-07', () => {
  const ajv = new Ajv();
  assert.ok(ajv.validateSchema(schema), JSON.stringify(ajv.errors));
});

test('every property has a description, an example, and a default or what counts without one', () => {
  const found = schemaProperties(schema);
  const incomplete = [...found].flatMap(([path, property]) => lacks(property).map((what) => `${path}: ${what}`));
  assert.equal(incomplete, []);
  assert.ok(found.size > 80, `${found.size} properties`);
  for (const path of ['.properties.model', '.definitions.device-ai100.properties.shapes.properties.tiles']) {
    assert.ok(found.has(path), path);
  }
});

test('a property that says nothing is found wherever it stands', () => {
  const bare = { type: 'integer', description: 'Number of it.', examples: [1] };
  const [first, ...rest] = REGISTRY.nodes;
  assert.ok(first);
  const found = (option: NodeManifest['options'][string]): readonly string[] => {
    const nodes = [{ ...first, options: { ...first.options, extra: option } }, ...rest];
    return [...schemaProperties(buildRecipeSchema({ ...REGISTRY, nodes }))].flatMap(([, p]) => lacks(p));
  };
  assert.equal(found(bare), ['default']);
  assert.equal(found({ ...bare, default: 1 }), []);
  assert.equal(found({ ...bare, withoutIt: 'as many as there are' }), []);
  assert.equal(found({ ...bare, default: 1, examples: [] }), ['examples']);
  assert.equal(found({ ...bare, default: 1, description: '' }), ['description']);
  assert.equal(found({ ...bare, default: 1, properties: { inner: bare } }), ['default'], 'inside of an option');
  assert.equal(found({ ...bare, default: 1, withoutIt: 'as many as there are' }).length, 1, 'not both');
});

test('examples and defaults of options are values that the schema accepts', () => {
  const ajv = new Ajv({ strict: false });
  const manifests = [...REGISTRY.nodes, ...REGISTRY.devices];
  let seen = 0;
  for (const manifest of manifests) {
    for (const [name, option] of Object.entries(manifest.options)) {
      const values = [...(option.examples ?? []), ...(option.default === undefined ? [] : [option.default])];
      for (const value of values) {
        seen++;
        assert.ok(ajv.validate(option, value), `${manifest.kind}.${name}: ${JSON.stringify(value)}`);
      }
    }
  }
  assert.ok(seen > 20);
});

test('the generated validator and ajv say the same', async () => {
  const generated = generatedFor(schema);
  assert.ok(generated !== null);
  const compiled = await schemaCheck(schema, { generated: false });
  const text = await readFile(join(packageRoot(), 'pipelines', 'internvl.yaml'), 'utf8');
  const broken = ['kind: decode', 'batch_size: 1', 'type: text', 'version: 1', 'outputs:'].map((part) =>
    text.replace(part, part.replace(/[^:]*$/, ' { x: 1 }')),
  );
  for (const sample of [text, BASE, ...broken, 'extends: a.yaml', 'nodes: {}']) {
    const value: unknown = parse(sample, { strict: false, logLevel: 'silent' });
    const found = generated(value) ? [] : (generated.errors ?? []);
    assert.equal(found, compiled(value));
  }
});

test('another registry is checked with its own schema', async () => {
  const [first, ...rest] = REGISTRY.nodes;
  assert.ok(first);
  const nodes = [
    { ...first, options: { ...first.options, extra: { type: 'integer', description: 'More.', examples: [1] } } },
    ...rest,
  ];
  const registry = { ...REGISTRY, nodes };
  assert.is(generatedFor(buildRecipeSchema(registry)), null);
  const text = BASE.replace('prompt: $inputs.prompt }', 'prompt: $inputs.prompt }, with: { extra: 1 }');
  const registries = [registry, REGISTRY];
  const found = await Promise.all(registries.map((r) => compileText(text, { file: 't.yaml', registry: r })));
  assert.equal(
    found.map((f) => f.diagnostics.map((d) => d.code)),
    [[], ['E_UNKNOWN_KEY']],
  );
});

test('an editor accepts the shipped recipes and a recipe that extends one', async () => {
  const check = new Ajv({ strict: false }).compile(schema);
  for (const name of ['internvl.yaml', 'internvl-1b.yaml', 'internvl.ai100.yaml']) {
    const value: unknown = parse(await readFile(join(packageRoot(), 'pipelines', name), 'utf8'));
    assert.ok(check(value), `${name}: ${JSON.stringify(check.errors)}`);
  }
  assert.ok(check({ extends: 'a.yaml', nodes: { dec: { with: { ctx_len: 5 } }, out: null } }));
  assert.not(check({ extends: 'a.yaml', nodes: { dec: { wiht: {} } } }));
});

test('checking a recipe loads neither ajv nor anything heavy', () => {
  const script = `
    const { compile } = await import('./.build/src/recipe/index.js');
    const { NODE_MANIFESTS } = await import('./.build/src/nodes/manifests.js');
    const { DEVICE_MANIFESTS } = await import('./.build/src/devices/manifests.js');
    const { createRequire } = await import('node:module');
    const r = await compile('pipelines/internvl.yaml', { registry: { nodes: NODE_MANIFESTS, devices: DEVICE_MANIFESTS } });
    const loaded = Object.keys(createRequire(import.meta.url).cache ?? {});
    console.log(JSON.stringify({ ok: r.plan !== null, packages: [...new Set(loaded.map((f) => /node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(f)?.[1]))], ajvFiles: loaded.filter((f) => /node_modules\\/ajv\\/dist\\/(?!runtime)/.test(f)).length }));
  `;
  const out = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
    cwd: packageRoot(),
    encoding: 'utf8',
  });
  const seen = JSON.parse(out) as { ok: boolean; packages: readonly (string | null)[]; ajvFiles: number };
  assert.ok(seen.ok);
  assert.is(seen.ajvFiles, 0);
  const heavy = seen.packages.filter((p) => p !== null && !['yaml', 'ajv'].includes(p));
  assert.equal(heavy, []);
  assert.ok(seen.packages.includes('yaml'), 'the list of loaded packages is real');
});

test.run();
