import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readProgram } from '../../../src/devices/cpu/program.js';
import { cacheElements } from '../../../src/families/shared/cache.js';
import { plan } from '../../../src/index.js';
import { openModel } from '../../../src/model/context.js';
import { packageRoot } from '../../../src/util/package-root.js';

const test = suite('caches by configuration');
const shapes = join(packageRoot(), 'models', 'shapes-internvl');
const section = (values: Record<string, unknown>) => ({ file: 'config.json', values });

test('what config.json gives is what the exported program has, in every family', async () => {
  const golden = join(packageRoot(), 'test', 'golden');
  for (const folder of [shapes, join(golden, 'llava-next', 'tiny'), join(golden, 'llama4-tiny')]) {
    const { family } = await openModel({ path: folder });
    const { description } = readProgram({ role: 'language', path: join(folder, 'language.onnx') });
    assert.is((family.cacheElements ?? 0) * 4, description.stateBytesPerToken, folder);
  }
});

test('grouped heads, a width of its own, and a section that names no heads', () => {
  const published = join(packageRoot(), 'models', 'hub', 'OpenGVLab--InternVL2_5-1B', 'config.json');
  const { llm_config } = JSON.parse(readFileSync(published, 'utf8')) as { llm_config: Record<string, unknown> };
  assert.equal(cacheElements(section(llm_config)), { cacheElements: 24 * 2 * 2 * 64 });
  const plain = { num_hidden_layers: 3, num_attention_heads: 4, hidden_size: 32 };
  assert.equal(cacheElements(section(plain)), { cacheElements: 3 * 2 * 4 * 8 });
  assert.equal(cacheElements(section({ ...plain, head_dim: 16 })), { cacheElements: 3 * 2 * 4 * 16 });
  assert.equal(cacheElements(section({ num_hidden_layers: 3, hidden_size: 32 })), {});
});

test('a plan without the programs counts the cache from it, and says that this is taken for granted', async () => {
  // Whatever model caches this machine has: the folder of configurations alone is meant.
  process.env['HF_HOME'] = join(packageRoot(), 'test', 'golden');
  const shaped = await plan(join(packageRoot(), 'pipelines', 'internvl-1b.yaml'));
  const language = shaped.programs.find((p) => p.program === 'language');
  assert.equal([language?.stateBytes, language?.stateAssumed], [24 * 2 * 2 * 64 * 4 * 4096, true]);
  assert.equal([language?.weightBytes, shaped.memoryBytes], [null, null]);
  const known = await plan(join(packageRoot(), 'pipelines', 'internvl.yaml'));
  assert.ok(known.programs.every((p) => p.stateAssumed === undefined && p.stateBytes !== null));
});

test.run();
