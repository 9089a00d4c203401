/** vlm-run lock RECIPE: writes what the recipe depends on and what its examples give, beside it. */
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { VlmError } from '../../contracts/errors.js';
import type { Diagnostic } from '../../contracts/recipe.js';
import type { Lock, Tolerances } from '../../share/format.js';
import type { Io } from '../io.js';
import { Progress } from '../progress.js';
import { addRecipeOptions, collect, compileAndTell, type RecipeFlags, recipeArguments } from '../recipe-options.js';
import { watchSignals } from '../signals.js';

interface LockFlags extends RecipeFlags {
  readonly example?: readonly string[];
  readonly out?: string;
  readonly embeddingTolerance?: string;
  readonly marginTolerance?: string;
  readonly quiet?: boolean;
}

export function lockCommand(io: Io): Command {
  const command = new Command('lock')
    .description('write RECIPE.lock.json: digests of all that a recipe depends on, and what its examples give')
    .argument('<file>', 'the recipe')
    .option(
      '--example <name=value>',
      'an input of an example beside the recipe’s defaults; a name given again begins the next example',
      collect,
    )
    .option('--out <file>', 'where the lock goes, instead of beside the recipe')
    .option('--embedding-tolerance <n>', 'how far embeddings may be off, over their own length')
    .option('--margin-tolerance <n>', 'logits; a smaller margin between the best two is a near-tie')
    .option('--quiet', 'no progress and no summary');
  return addRecipeOptions(command)
    .addHelpText(
      'after',
      `
A run beside a lock warns when it departs from it; \`vlm-run verify\` runs the examples again and compares.

Examples:
  $ vlm-run lock pipelines/internvl.yaml
  $ vlm-run lock my.yaml --example image=cat.png --example prompt="What is this?" --example image=dog.png`,
    )
    .action((file: string, flags: LockFlags) => lock(file, flags, io));
}

async function lock(file: string, flags: LockFlags, io: Io): Promise<void> {
  const signals = watchSignals();
  const progress = new Progress(io, { quiet: flags.quiet === true || flags.json === true, streamNode: null });
  try {
    const { plan, compilation } = await compileAndTell(file, flags, io);
    const [{ makeLock, lockText }, { groupExamples }, { isPackName, lockFileOf }, { writeFileAtomic }] =
      await Promise.all([
        import('../../share/lock.js'),
        import('../../share/examples.js'),
        import('../../share/format.js'),
        import('../../util/atomic-write.js'),
      ]);
    if (isPackName(file) && flags.out === undefined) {
      throw new VlmError('USAGE', {
        what: 'A pack has its lock inside already',
        received: file,
        hint: `compare with it: vlm-run verify ${file}; or write another lock with --out FILE`,
      });
    }
    const path = flags.out === undefined ? lockFileOf(plan.file) : resolve(flags.out);
    const made = await makeLock(plan, {
      examples: groupExamples(plan, flags.example ?? []),
      tolerances: await tolerancesOf(flags),
      recipeArguments: recipeArguments(flags),
      signal: signals.signal,
      onEvent: (event) => progress.handle(event),
      onNotice: (text) => progress.note(text),
    });
    const text = lockText(made);
    const before = existsSync(path) ? readFileSync(path, 'utf8') : null;
    if (before !== text) await writeFileAtomic(path, text);
    progress.stop();
    const changed = before === null ? 'written' : before === text ? 'unchanged' : 'rewritten';
    tell(made, { path, changed, diagnostics: compilation.diagnostics }, flags, io);
  } finally {
    progress.stop();
    signals.release();
  }
}

async function tolerancesOf(flags: LockFlags): Promise<Tolerances> {
  const { DEFAULT_TOLERANCES } = await import('../../share/format.js');
  const given = (text: string | undefined, option: string): number | null => {
    if (text === undefined) return null;
    const value = Number(text);
    if (text.trim() !== '' && Number.isFinite(value) && value >= 0) return value;
    throw new VlmError('USAGE', { what: `${option} is no number`, expected: '0 or more', received: text });
  };
  const { embeddings, margin } = DEFAULT_TOLERANCES;
  const relative = given(flags.embeddingTolerance, '--embedding-tolerance');
  const logits = given(flags.marginTolerance, '--margin-tolerance');
  const why = 'given when the lock was made';
  return {
    embeddings: relative === null ? embeddings : { relative, why },
    margin: logits === null ? margin : { logits, why },
  };
}

interface Written {
  readonly path: string;
  readonly changed: string;
  readonly diagnostics: readonly Diagnostic[];
}

function tell(made: Lock, { path, changed, diagnostics }: Written, flags: LockFlags, io: Io): void {
  const tokens = made.examples.reduce(
    (n, example) => n + Object.values(example.completions).reduce((m, c) => m + c.ids.length, 0),
    0,
  );
  const facts = {
    lock: path,
    changed,
    recipe: made.recipe.sha256,
    files: made.model.files.length,
    examples: made.examples.length,
    tokens,
  };
  if (flags.json === true) io.out(`${JSON.stringify({ ok: true, ...facts, diagnostics }, null, 2)}\n`);
  else if (flags.quiet !== true) {
    const { examples } = made;
    const count = `${examples.length} ${examples.length === 1 ? 'example' : 'examples'}`;
    io.err(
      `${changed} ${path}: recipe ${made.recipe.sha256.slice(0, 12)}, ${facts.files} files, ${count}, ${tokens} tokens\n`,
    );
  }
}
