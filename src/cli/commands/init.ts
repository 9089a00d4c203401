/** vlm-run init: writes a starter recipe that runs as it is. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Command } from 'commander';
import type { StarterLengths } from '../../compose/starter.js';
import { VlmError } from '../../contracts/errors.js';
import { writeFileAtomic } from '../../util/atomic-write.js';
import { packageRoot } from '../../util/package-root.js';
import { typed } from '../../util/typed-command.js';
import { asVlmError } from '../failure.js';
import { harmless, type Io } from '../io.js';

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
    .action(async (file: string, flags: InitFlags) => {
      const path = resolve(file);
      // Of a folder the writing itself says what is wrong: no --force helps there.
      if (flags.force !== true && existsSync(path) && statSync(path).isFile()) {
        throw new VlmError('USAGE', { what: `${file} is there already`, hint: 'replace it with --force' });
      }
      const { lengths, warning } = await lengthsOf(flags.model);
      await writeFileAtomic(path, starterRecipe(path, flags.model, lengths));
      if (flags.json === true) {
        const warnings = warning === undefined ? [] : [warning];
        io.out(`${JSON.stringify({ ok: true, file: path, warnings }, null, 2)}\n`);
        return;
      }
      if (warning !== undefined) io.err(`warning: ${harmless(warning)}\n`);
      io.err(`wrote ${harmless(file)}\nrun it:  vlm-run ${harmless(argument(file))}\n`);
    });
}

interface InitFlags {
  readonly model?: string;
  readonly force?: boolean;
  readonly json?: boolean;
}

/** A recipe may be written before its model is there; that it cannot run yet is said at once. */
async function lengthsOf(model: string | undefined): Promise<{
  readonly lengths?: StarterLengths;
  readonly warning?: string;
}> {
  if (model === undefined) return {};
  const { starterLengths } = await import('../../compose/starter.js');
  try {
    return { lengths: await starterLengths(resolve(model)) };
  } catch (error) {
    const { what, where } = asVlmError(error).details;
    const said = `${what}${where === undefined ? '' : ` (${where})`}`;
    return { warning: `${said}: ctx_len is that of the demonstration model, too short for most others` };
  }
}

/** The name of a recipe as one types it: one that begins with a dash would be an option. */
function argument(file: string): string {
  return typed([file.startsWith('-') ? `./${file}` : file]);
}

/** The shipped recipe with its paths as seen from `path`, and the name and lengths of a given model. */
export function starterRecipe(path: string, model?: string, lengths?: StarterLengths): string {
  const root = packageRoot();
  const from = (target: string): string => {
    const rel = relative(dirname(path), target).split(sep).join('/');
    return rel.startsWith('.') ? rel : `./${rel}`;
  };
  const quoted = (target: string): string => JSON.stringify(from(target));
  const schema = join(root, 'schemas', 'recipe.schema.json');
  const modelFolder = model === undefined ? join(root, 'models', 'shapes-internvl') : resolve(model);
  const changes: readonly (readonly [string | RegExp, string])[] = [
    // Editors read the place up to the first blank.
    [/\$schema=\S+/, `$schema=${/\s/.test(from(schema)) ? pathToFileURL(schema).href : from(schema)}`],
    ['../models/shapes-internvl', quoted(modelFolder)],
    ['../examples/scene.png', quoted(join(root, 'examples', 'scene.png'))],
    ['npx vlm-run pipelines/internvl.yaml', oneLine(`vlm-run ${argument(basename(path))}`)],
    ...(model === undefined ? [] : named(basename(modelFolder))),
    ...(lengths === undefined ? [] : sized(lengths)),
  ];
  const shipped = readFileSync(join(root, 'pipelines', 'internvl.yaml'), 'utf8');
  return changes.reduce((text, [old, now]) => text.replace(old, () => now), shipped);
}

function named(model: string): readonly (readonly [RegExp, string])[] {
  return [
    [/The main job: InternVL/, oneLine(`A start: ${model}`)],
    [/(?<=^name: ).*$/m, JSON.stringify(model)],
    [/(?<=^description: ).*$/m, JSON.stringify(`${model} answers a question about an image.`)],
  ];
}

function sized({ prefillSeqLen, ctxLen, maxNewTokens }: StarterLengths): readonly (readonly [RegExp, string])[] {
  return [
    [/(?<=prefill_seq_len: )\d+ # .*/, `${prefillSeqLen} # prompt tokens in one prefill call, at most`],
    [/(?<=ctx_len: )\d+ # .*/, `${ctxLen} # slots of the cache: the largest picture, a question and the answer fit`],
    [/(?<=max_new_tokens: )\d+/, String(maxNewTokens)],
  ];
}

/** For a comment: a name may have a line break in it. */
function oneLine(text: string): string {
  return harmless(text).replaceAll(/\s+/g, ' ');
}
