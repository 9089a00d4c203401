/** vlm-run schema: the JSON Schemas that editors use. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { VlmError } from '../../contracts/errors.js';
import { packageRoot } from '../../util/package-root.js';
import type { Io } from '../io.js';

const SCHEMAS = ['recipe', 'run'];

export function schemaCommand(io: Io): Command {
  return new Command('schema')
    .description('print the JSON Schema of recipes (or of run records)')
    .argument('[which]', `one of ${SCHEMAS.join(', ')}`, 'recipe')
    .option('--json', 'the same: the schema is JSON')
    .addHelpText(
      'after',
      `
Examples:
  $ vlm-run schema > recipe.schema.json
  $ vlm-run schema run`,
    )
    .action((which: string) => {
      if (!SCHEMAS.includes(which)) {
        throw new VlmError('USAGE', {
          what: `There is no schema "${which}"`,
          expected: `one of ${SCHEMAS.join(', ')}`,
        });
      }
      io.out(readFileSync(join(packageRoot(), 'schemas', `${which}.schema.json`), 'utf8'));
    });
}
