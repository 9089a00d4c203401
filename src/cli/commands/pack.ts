/** vlm-run pack RECIPE: one file that runs anywhere. */
import { relative, resolve } from 'node:path';
import { Command } from 'commander';
import { VlmError } from '../../contracts/errors.js';
import type { Diagnostic } from '../../contracts/recipe.js';
import type { PackedRecipe } from '../../share/pack.js';
import { harmless, type Io } from '../io.js';
import { Progress } from '../progress.js';
import { addRecipeOptions, compileAndTell, type RecipeFlags, recipeArguments } from '../recipe-options.js';
import { watchSignals } from '../signals.js';
import { size } from './models.js';

interface PackFlags extends RecipeFlags {
  readonly out?: string;
  readonly includeModel?: boolean;
  readonly quiet?: boolean;
}

export function packCommand(io: Io): Command {
  const command = new Command('pack')
    .description('put a recipe, its lock, its examples and a small model into one file that runs anywhere')
    .argument('<file>', 'the recipe')
    .option('--out <file>', 'where the pack goes; without it, RECIPE.vlm.tgz in this folder')
    .option('--include-model', 'take the model along however large it is')
    .option('--quiet', 'no progress and no summary');
  return addRecipeOptions(command)
    .addHelpText(
      'after',
      `
A model of up to 64 MiB goes along; a larger one is named by model.hub, or goes along with --include-model. The same
recipe packed twice is the same bytes. Without a lock beside the recipe, one is made first.

Examples:
  $ vlm-run pack pipelines/internvl.yaml
  $ vlm-run internvl.vlm.tgz --input image=cat.jpg`,
    )
    .action((file: string, flags: PackFlags) => pack(file, flags, io));
}

async function pack(file: string, flags: PackFlags, io: Io): Promise<void> {
  const signals = watchSignals();
  const isQuiet = flags.quiet === true || flags.json === true;
  const progress = new Progress(io, { quiet: isQuiet, streamNode: null });
  try {
    const { isPackName } = await import('../../share/format.js');
    if (isPackName(file)) {
      throw new VlmError('USAGE', { what: 'This is a pack already', received: file, hint: `run it: vlm-run ${file}` });
    }
    const { plan, compilation } = await compileAndTell(file, flags, io);
    const { packFileOf, packRecipe } = await import('../../share/pack.js');
    const out = flags.out === undefined ? packFileOf(file) : resolve(flags.out);
    const packed = await packRecipe(plan, {
      out,
      includeModel: flags.includeModel === true,
      recipeArguments: recipeArguments(flags),
      signal: signals.signal,
      onEvent: (event) => progress.handle(event),
      onNotice: (text) => progress.note(text),
      onLocking: () => {
        if (!isQuiet) progress.note('there is no lock yet: making one');
      },
      onPacking: (done, total) => progress.handle({ type: 'progress', node: 'packing', done, total, unit: 'bytes' }),
    });
    progress.stop();
    tell(packed, compilation.diagnostics, flags, io);
  } finally {
    progress.stop();
    signals.release();
  }
}

function tell(packed: PackedRecipe, diagnostics: readonly Diagnostic[], flags: PackFlags, io: Io): void {
  if (flags.json === true) {
    io.out(`${JSON.stringify({ ok: true, ...packed, diagnostics }, null, 2)}\n`);
    return;
  }
  io.out(`${relative(process.cwd(), packed.path)}\n`);
  if (flags.quiet === true) return;
  if (packed.madeLock !== null) io.err(`wrote ${packed.madeLock}\n`);
  io.err(`${packed.files} files, ${size(packed.unpackedBytes)} in ${size(packed.bytes)}, sha256 ${packed.sha256}\n`);
  for (const note of packed.notes) io.err(`note: ${harmless(note)}\n`);
}
