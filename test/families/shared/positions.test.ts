import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { maxPositionsOf } from '../../../src/families/shared/positions.js';

const positions = (values: Record<string, unknown>): number => maxPositionsOf({ file: 'config.json', values });

test('positions of a text model: as written, or what scaled rotary angles reach', () => {
  const written = { max_position_embeddings: 32768 };
  assert.is(positions(written), 32768);
  assert.is(positions({ ...written, rope_scaling: null }), 32768);
  assert.is(positions({ ...written, rope_parameters: { rope_type: 'default', rope_theta: 1e6 } }), 32768);
  // The trained length stands in the configuration: as models with YaRN publish it, and InternLM2 with dynamic angles.
  const yarn = { type: 'yarn', factor: 4, original_max_position_embeddings: 32768 };
  assert.is(positions({ ...written, rope_scaling: yarn }), 131072);
  assert.is(positions({ ...written, rope_scaling: { type: 'dynamic', factor: 2 } }), 65536);
  // The stretched length stands there, as in Llama 4.
  const llama = { rope_type: 'llama3', factor: 16, original_max_position_embeddings: 8192 };
  assert.is(positions({ max_position_embeddings: 10485760, rope_parameters: llama }), 10485760);
  assert.throws(() => positions({ max_position_embeddings: 0 }), /config\.json|max_position_embeddings/);
});

test.run();
