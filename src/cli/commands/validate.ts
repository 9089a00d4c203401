/** vlm-run validate FILE: every mistake of a recipe at once. */
import { Command } from 'commander';
import type { Io } from '../io.js';
import { addRecipeOptions, compileAndTell, type RecipeFlags } from '../recipe-options.js';

export function validateCommand(io: Io): Command {
  const command = new Command('validate')
    .description('check a recipe and show every mistake with its line')
    .argument('<file>', 'the recipe');
  return addRecipeOptions(command)
    .addHelpText(
      'after',
      `
Examples:
  $ vlm-run validate pipelines/internvl.yaml
  $ vlm-run validate my.yaml --set nodes.decode.with.ctx_len=4096 --json`,
    )
    .action(async (file: string, flags: RecipeFlags) => {
      const { plan, compilation } = await compileAndTell(file, flags, io);
      if (flags.json === true) {
        io.out(`${JSON.stringify({ ok: true, recipe: plan.name, diagnostics: compilation.diagnostics }, null, 2)}\n`);
      } else {
        const { green } = io.paint;
        io.err(`${green('ok')} ${file}: ${plan.nodes.map((n) => n.name).join(' → ')}\n`);
      }
    });
}
