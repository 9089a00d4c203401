/** vlm-run graph FILE: the recipe as a Mermaid diagram. */
import { Command } from 'commander';
import type { Plan, Reference } from '../../contracts/recipe.js';
import type { Io } from '../io.js';
import { addRecipeOptions, compileAndTell, type RecipeFlags } from '../recipe-options.js';

export function graphCommand(io: Io): Command {
  const command = new Command('graph')
    .description('draw a recipe as a Mermaid diagram')
    .argument('<file>', 'the recipe');
  return addRecipeOptions(command)
    .addHelpText(
      'after',
      `
Examples:
  $ vlm-run graph pipelines/internvl.yaml
  $ vlm-run graph pipelines/internvl.yaml > internvl.mmd`,
    )
    .action(async (file: string, flags: RecipeFlags) => {
      const { plan } = await compileAndTell(file, flags, io);
      const text = mermaid(plan);
      io.out(flags.json === true ? `${JSON.stringify({ ok: true, mermaid: text }, null, 2)}\n` : text);
    });
}

/** Ids are prefixed so that no name of a recipe is a word of Mermaid ("end"). */
export function mermaid(plan: Plan): string {
  const source = (ref: Reference): string => (ref.from === 'input' ? `in_${id(ref.name)}` : `n_${id(ref.node)}`);
  const used = new Set<string>();
  for (const node of plan.nodes) for (const ref of Object.values(node.inputs)) used.add(source(ref));
  for (const output of Object.values(plan.outputs)) used.add(source(output.ref));
  const lines = ['graph LR'];
  for (const { name } of Object.values(plan.inputs)) {
    if (used.has(`in_${id(name)}`)) lines.push(`  in_${id(name)}[/"${label(name)}"/]`);
  }
  for (const node of plan.nodes) {
    const device = node.device === null ? '' : `<br/>${label(node.device)}`;
    const note = node.description === undefined ? '' : `<br/>${label(node.description)}`;
    lines.push(`  n_${id(node.name)}["${label(node.name)}${device}${note}"]`);
  }
  for (const name of Object.keys(plan.outputs)) lines.push(`  out_${id(name)}[/"${label(name)}"/]`);
  for (const node of plan.nodes) {
    for (const [port, ref] of Object.entries(node.inputs)) {
      lines.push(`  ${source(ref)} -->|${label(ref.from === 'node' ? ref.port : port)}| n_${id(node.name)}`);
    }
  }
  for (const [name, { ref }] of Object.entries(plan.outputs)) {
    lines.push(`  ${source(ref)} -->${ref.from === 'node' ? `|${label(ref.port)}|` : ''} out_${id(name)}`);
  }
  return `${lines.join('\n')}\n`;
}

const id = (name: string): string => name.replace(/[^A-Za-z0-9_]/g, '_');
/** Nothing in a label may end it, begin markup, or be read as an entity. */
const label = (name: string): string => name.replace(/["|<>`#\s]+/g, ' ').trim();
