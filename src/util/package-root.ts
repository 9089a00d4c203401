import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VlmError } from '../contracts/errors.js';

let found: string | undefined;

/** Folder of vlm-run's package.json (the one of dist/ only tells Node what its files are): shipped schemas, recipes and native parts are found from here. */
export function packageRoot(): string {
  if (found !== undefined) return found;
  for (let dir = dirname(fileURLToPath(import.meta.url)); ; dir = dirname(dir)) {
    if (existsSync(join(dir, 'schemas', 'recipe.schema.json'))) {
      found = dir;
      return dir;
    }
    if (dirname(dir) === dir) {
      throw new VlmError('INTERNAL', { what: 'The package root was not found', hint: 'reinstall vlm-run' });
    }
  }
}
