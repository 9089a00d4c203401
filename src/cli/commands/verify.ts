/** vlm-run verify [RECIPE|PACK]: runs the examples of a lock again and says, layer by layer, what is the same. */
import { existsSync, readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { EXIT, VlmError } from '../../contracts/errors.js';
import type { Finding, Status } from '../../share/compare.js';
import type { Verification } from '../../share/verify.js';
import { harmless, type Io } from '../io.js';
import { Progress } from '../progress.js';
import { addRecipeOptions, compileAndTell, type RecipeFlags, recipeArguments } from '../recipe-options.js';
import { watchSignals } from '../signals.js';

interface VerifyFlags extends RecipeFlags {
  readonly lock?: string;
  readonly strict?: boolean;
  readonly quiet?: boolean;
}

export function verifyCommand(io: Io): Command {
  const command = new Command('verify')
    .description('run the examples of a lock again and say layer by layer what is the same')
    .argument('[file]', 'a recipe, its lock, or a pack; without it, the only lock of this folder')
    .option('--lock <file>', 'another lock than the one beside the recipe')
    .option('--strict', 'near-ties and differences within tolerance count as breaks')
    .option('--quiet', 'no progress');
  return addRecipeOptions(command)
    .addHelpText(
      'after',
      `
Layers: recipe, files, inputs, pixels, embeddings, tokens, answer. Another processor may round otherwise: embeddings
within the lock's tolerance, and another token where the best two were closer than its margin, are told apart from a
break. Exit code 0: the same, or near; 5: a break, or anything but the same with --strict.

Examples:
  $ vlm-run verify pipelines/internvl.yaml
  $ vlm-run verify internvl.vlm.tgz --strict
  $ vlm-run verify pipelines/internvl.yaml --device main=ai100:0`,
    )
    .action((file: string | undefined, flags: VerifyFlags) => verifyAndTell(file, flags, io));
}

async function verifyAndTell(file: string | undefined, flags: VerifyFlags, io: Io): Promise<void> {
  const signals = watchSignals();
  const progress = new Progress(io, { quiet: flags.quiet === true || flags.json === true, streamNode: null });
  try {
    const { recipe, lock: own } = target(file);
    const { plan, compilation } = await compileAndTell(recipe, flags, io);
    const [{ verify }, { readLock }, { lockFileOf }] = await Promise.all([
      import('../../share/verify.js'),
      import('../../share/read-lock.js'),
      import('../../share/format.js'),
    ]);
    const lock = readLock(flags.lock === undefined ? (own ?? lockFileOf(plan.file)) : resolve(flags.lock));
    const result = await verify(plan, lock, {
      recipeArguments: recipeArguments(flags),
      signal: signals.signal,
      onEvent: (event) => progress.handle(event),
      onNotice: (text) => progress.note(text),
    });
    progress.stop();
    const isGood = result.verdict === 'same' || (result.verdict === 'near' && flags.strict !== true);
    const { diagnostics } = compilation;
    if (flags.json === true) io.out(`${JSON.stringify({ ok: isGood, ...result, diagnostics }, null, 2)}\n`);
    else print(result, flags, io);
    process.exitCode = isGood ? EXIT.ok : EXIT.run;
  } finally {
    progress.stop();
    signals.release();
  }
}

/** A lock stands for the recipe beside it. */
function target(file: string | undefined): { readonly recipe: string; readonly lock?: string } {
  const named = file ?? onlyLock();
  if (!named.endsWith('.lock.json')) return { recipe: named };
  const stem = named.slice(0, -'.lock.json'.length);
  const recipe = [`${stem}.yaml`, `${stem}.yml`].find((path) => existsSync(path));
  if (recipe !== undefined) return { recipe, lock: resolve(named) };
  throw new VlmError('RECIPE_UNREADABLE', {
    what: 'There is no recipe beside this lock',
    expected: `${stem}.yaml`,
    where: named,
    hint: `name the recipe: vlm-run verify RECIPE --lock ${named}`,
  });
}

function onlyLock(): string {
  const locks = readdirSync('.').filter((name) => name.endsWith('.lock.json'));
  const [only] = locks;
  if (locks.length === 1 && only !== undefined) return only;
  throw new VlmError('USAGE', {
    what: locks.length === 0 ? 'There is no lock in this folder' : 'There are several locks in this folder',
    expected: 'a recipe, its lock or a pack: vlm-run verify RECIPE',
    ...(locks.length === 0 ? {} : { received: locks.sort().join(', ') }),
  });
}

const WORDS: Readonly<Record<Status, string>> = { same: 'same', near: 'near', break: 'BREAK', none: '–' };

function print(result: Verification, flags: VerifyFlags, io: Io): void {
  const { paint } = io;
  let example: string | undefined;
  for (const finding of result.findings) {
    if (finding.example !== example) {
      example = finding.example;
      io.out(`${example}\n`);
    }
    io.out(`${finding.example === undefined ? '' : '  '}${line(finding)}\n`);
  }
  for (const note of result.notes) io.err(`${paint.faint(`note: ${harmless(note)}`)}\n`);
  const { first } = result;
  if (first === null) io.err(`${paint.green('verified')}: everything is the same\n`);
  else if (result.verdict === 'near') {
    const head = flags.strict === true ? paint.red('not the same') : 'verified with a warning';
    io.err(`${head}: ${where(first)}: ${harmless(first.message)}\n`);
  } else io.err(`${paint.red('broken')}, first in ${where(first)}: ${harmless(first.message)}\n`);
}

function line({ layer, status, message }: Finding): string {
  return `${layer.padEnd(11)} ${WORDS[status].padEnd(6)} ${harmless(message)}`;
}

function where({ layer, example }: Finding): string {
  return example === undefined ? layer : `${layer} of ${example}`;
}
