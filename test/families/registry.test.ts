import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Family, ModelFiles } from '../../src/contracts/family.js';
import { FAMILIES, familyFor } from '../../src/families/index.js';
import { packageRoot } from '../../src/util/package-root.js';
import { codeOf } from '../text/helpers.js';

const folders = readdirSync(join(packageRoot(), 'src', 'families'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && entry.name !== 'shared')
  .map((entry) => entry.name);

const files = (config: Record<string, unknown>): ModelFiles => ({
  name: 'some-model',
  config,
  preprocessor: null,
  processor: null,
  generation: null,
  tokenizerConfig: null,
  chatTemplate: null,
});

test('every family folder is registered', async () => {
  assert.ok(folders.length > 0);
  for (const name of folders) {
    const module: { readonly family?: Family } = await import(`../../src/families/${name}/family.js`);
    assert.ok(module.family !== undefined && FAMILIES.includes(module.family), `${name} is not in FAMILIES`);
  }
  assert.is(FAMILIES.length, folders.length);
});

test('names, model types and processors of families do not overlap', () => {
  const all = (pick: (family: Family) => readonly string[]) => FAMILIES.flatMap(pick);
  for (const list of [all((f) => [f.name]), all((f) => f.modelTypes)]) assert.is(new Set(list).size, list.length);
});

test('a family is found by model_type; others are MODEL_UNSUPPORTED and name what is supported', () => {
  for (const family of FAMILIES) {
    for (const model_type of family.modelTypes) assert.is(familyFor(files({ model_type })), family);
  }
  for (const config of [{ model_type: 'gpt2' }, {}, { model_type: 7 }]) {
    const error = codeOf(() => familyFor(files(config)));
    assert.is(error.code, 'MODEL_UNSUPPORTED');
    assert.match(error.message, 'internvl_chat');
    assert.match(error.message, 'some-model/config.json');
  }
});

test.run();
