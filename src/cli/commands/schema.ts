/** vlm-run schema: the JSON Schemas that editors use. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { VlmError } from '../../contracts/errors.js';
import { packageRoot } from '../../util/package-root.js';
import type { Io } from '../io.js';

const FOLDER = join(packageRoot(), 'schemas');
const ENDING = '.schema.json';

/** Those that ship: recipe, the usual one, first. */
function schemaNames(): readonly string[] {
  const names = readdirSync(FOLDER).flatMap((file) => (file.endsWith(ENDING) ? [file.slice(0, -ENDING.length)] : []));
  return ['recipe', ...names.filter((name) => name !== 'recipe').sort()];
}

export function schemaCommand(io: Io): Command {
  const names = schemaNames();
  return new Command('schema')
    .description('print a JSON Schema that ships: of recipes, run records, sweeps or locks')
    .argument('[which]', `one of ${names.join(', ')}`, 'recipe')
    .option('--json', 'the same: the schema is JSON')
    .addHelpText(
      'after',
      `
Examples:
  $ vlm-run schema > recipe.schema.json
  $ vlm-run schema run`,
    )
    .action(async (which: string) => {
      if (!names.includes(which)) await refuse(which, names);
      io.out(readFileSync(join(FOLDER, `${which}${ENDING}`), 'utf8'));
    });
}

async function refuse(which: string, names: readonly string[]): Promise<never> {
  const { nearest } = await import('../../recipe/index.js');
  const near = nearest(which, names);
  throw new VlmError('USAGE', {
    what: `There is no schema "${which}"`,
    expected: `one of ${names.join(', ')}`,
    ...(near === undefined ? {} : { hint: `did you mean "${near}"?` }),
  });
}
