/** vlm-run graph FILE: the recipe as a Mermaid diagram. */
import { Command } from 'commander';
import type { Plan, Reference } from '../../contracts/recipe.js';
import { harmless, type Io } from '../io.js';
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
      const { plan, compilation } = await compileAndTell(file, flags, io);
      const text = mermaid(plan);
      const told = { ok: true, diagnostics: compilation.diagnostics, mermaid: text };
      io.out(flags.json === true ? `${JSON.stringify(told, null, 2)}\n` : text);
    });
}

/** Of a description, so that a box stays a box. */
const MAX_LABEL = 160;

export function mermaid(plan: Plan): string {
  const { input, node: box, output } = idsOf(plan);
  const source = (ref: Reference): string => (ref.from === 'input' ? input(ref.name) : box(ref.node));
  const used = new Set<string>();
  for (const node of plan.nodes) for (const ref of Object.values(node.inputs)) used.add(source(ref));
  for (const { ref } of Object.values(plan.outputs)) used.add(source(ref));
  const lines = ['graph LR'];
  for (const { name } of Object.values(plan.inputs)) {
    if (used.has(input(name))) lines.push(`  ${input(name)}[/"${label(name)}"/]`);
  }
  for (const node of plan.nodes) {
    const rows = [node.name, node.device ?? '', node.description ?? ''].map(label).filter((row) => row !== '');
    lines.push(`  ${box(node.name)}["${rows.join('<br/>')}"]`);
  }
  for (const name of Object.keys(plan.outputs)) lines.push(`  ${output(name)}[/"${label(name)}"/]`);
  for (const node of plan.nodes) {
    for (const [port, ref] of Object.entries(node.inputs)) {
      lines.push(`  ${source(ref)} -->${words(ref.from === 'node' ? ref.port : port)} ${box(node.name)}`);
    }
  }
  for (const [name, { ref }] of Object.entries(plan.outputs)) {
    lines.push(`  ${source(ref)} -->${words(ref.from === 'node' ? ref.port : '')} ${output(name)}`);
  }
  return `${lines.join('\n')}\n`;
}

type IdOf = (name: string) => string;

/** Ids are prefixed, so that no name of a recipe is a word of Mermaid ("end"). A "-" may be part of an arrow there. */
function idsOf(plan: Plan): { readonly input: IdOf; readonly node: IdOf; readonly output: IdOf } {
  const taken = new Set<string>();
  const ids = (prefix: string, names: readonly string[]): IdOf => {
    const known = new Map<string, string>();
    for (const name of names) {
      const plain = `${prefix}_${name.replace(/[^A-Za-z0-9_]/g, '_')}`;
      let id = plain;
      for (let n = 2; taken.has(id); n++) id = `${plain}_${n}`;
      taken.add(id);
      known.set(name, id);
    }
    return (name) => known.get(name) ?? name;
  };
  return {
    input: ids('in', Object.keys(plan.inputs)),
    node: ids(
      'n',
      plan.nodes.map(({ name }) => name),
    ),
    output: ids('out', Object.keys(plan.outputs)),
  };
}

/** Of an arrow: ports of a node of one's own may have any name, and brackets need quotes. */
function words(port: string): string {
  const text = label(port);
  if (text === '') return '';
  return /^\w+$/.test(text) ? `|${text}|` : `|"${text}"|`;
}

/** Nothing in a label may end it, begin markup, be read as an entity, or steer the terminal that it is printed on. */
function label(text: string): string {
  const plain = harmless(text.replace(/["|<>`#\s\u0085]+|&(?=\w+;)/g, ' ')).trim();
  const letters = [...plain];
  return letters.length > MAX_LABEL ? `${letters.slice(0, MAX_LABEL - 1).join('')}…` : plain;
}
