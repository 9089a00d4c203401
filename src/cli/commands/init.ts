/** vlm-run init: writes a starter recipe that runs as it is. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { Command } from 'commander';
import { VlmError } from '../../contracts/errors.js';
import { writeFileAtomic } from '../../util/atomic-write.js';
import { packageRoot } from '../../util/package-root.js';
import type { Io } from '../io.js';

export function initCommand(io: Io): Command {
  return new Command('init')
    .description('write a starter recipe that runs as it is')
    .argument('[file]', 'where to', 'vlm.yaml')
    .option('--model <folder>', 'model folder to use instead of the demonstration model')
    .option('--force', 'replace the file if it is there')
    .option('--json', 'one JSON document on standard output')
    .addHelpText(
      'after',
      `
Examples:
  $ vlm-run init && vlm-run vlm.yaml
  $ vlm-run init cats.yaml --model ~/models/InternVL2_5-1B`,
    )
    .action(
      async (file: string, flags: { readonly model?: string; readonly force?: boolean; readonly json?: boolean }) => {
        const path = resolve(file);
        if (existsSync(path) && flags.force !== true) {
          throw new VlmError('USAGE', { what: `${file} is there already`, hint: 'replace it with --force' });
        }
        await writeFileAtomic(path, starterRecipe(path, flags.model));
        if (flags.json === true) io.out(`${JSON.stringify({ ok: true, file: path }, null, 2)}\n`);
        else io.err(`wrote ${file}\nrun it:  vlm-run ${file}\n`);
      },
    );
}

/** The shipped recipe with its paths as seen from `path`. */
export function starterRecipe(path: string, model?: string): string {
  const root = packageRoot();
  const from = (target: string): string => {
    const rel = relative(dirname(path), target).split(sep).join('/');
    return JSON.stringify(rel.startsWith('.') ? rel : `./${rel}`);
  };
  const shipped = readFileSync(join(root, 'pipelines', 'internvl.yaml'), 'utf8');
  const modelFolder = model === undefined ? join(root, 'models', 'shapes-internvl') : resolve(model);
  return shipped
    .replace(/\$schema=\S+/, () => `$schema=${JSON.parse(from(join(root, 'schemas', 'recipe.schema.json')))}`)
    .replaceAll('../models/shapes-internvl', () => from(modelFolder))
    .replaceAll('../examples/scene.png', () => from(join(root, 'examples', 'scene.png')))
    .replaceAll('npx vlm-run pipelines/internvl.yaml', () => `vlm-run ${relative(dirname(path), path)}`);
}
