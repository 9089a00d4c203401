/** Where the tiny random-weight models of the families lie. */
import { join } from 'node:path';
import { packageRoot } from '../src/util/package-root.js';

/**
 * The committed ones, or those of VLM_TEST_TINY_MODELS: scripts/checks/export.sh makes them anew where a Python is there, with
 * goldens of that Python's own transformers and programs of the exporter for either target.
 */
export function tinyModel(name: 'internvl' | 'llava-next' | 'llama4'): string {
  const made = process.env['VLM_TEST_TINY_MODELS'];
  if (made !== undefined) return join(made, name);
  const golden = join(packageRoot(), 'test', 'golden');
  return {
    internvl: join(golden, 'internvl-tiny'),
    'llava-next': join(golden, 'llava-next', 'tiny'),
    llama4: join(golden, 'llama4-tiny'),
  }[name];
}
