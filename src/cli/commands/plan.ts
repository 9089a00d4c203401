/** vlm-run plan FILE: tiles, tokens, chunks, shapes and memory before anything is opened. */
import { Command } from 'commander';
import type { CardCall, CardPlan } from '../../compose/card-plan.js';
import type { PlannedPrompt, ShapePlan } from '../../runner/shape-plan.js';
import type { Io, Paint } from '../io.js';
import { addRecipeOptions, collect, compileAndTell, type RecipeFlags } from '../recipe-options.js';
import type { SuggestFlags } from '../suggest-text.js';

export function planCommand(io: Io): Command {
  const command = new Command('plan')
    .description('print tiles, tokens, prefill chunks, shapes and memory of a run before anything is opened')
    .argument('<file>', 'the recipe')
    .option('--input <name=value>', 'give an input, as for a run', collect)
    .option('--suggest', 'propose shapes to compile for cards that waste least for the images or prompts given')
    .option('--sets <n>', 'with --suggest: how many sets of shapes both programs may have', '6')
    .option('--images <folder>', 'with --suggest: every picture of a folder')
    .option('--dataset <file>', 'with --suggest: one JSON object of inputs a line')
    .option('--call-cost <n>', 'with --suggest: what one more prefill call costs, in prompt tokens', '64');
  return addRecipeOptions(command)
    .addHelpText(
      'after',
      `
Examples:
  $ vlm-run plan pipelines/internvl.yaml --input image=cat.jpg
  $ vlm-run plan pipelines/internvl.ai100.yaml --suggest --sets 6 --images photos`,
    )
    .action(async (file: string, flags: RecipeFlags & SuggestFlags & { readonly suggest?: boolean }) => {
      const { plan, compilation } = await compileAndTell(file, flags, io);
      if (flags.suggest === true) {
        await (await import('../suggest-text.js')).suggestAndTell(plan, flags, io);
        return;
      }
      const [{ shapePlan }, { readInputs }] = await Promise.all([
        import('../../compose/plan.js'),
        import('../input-options.js'),
      ]);
      const { values } = await readInputs(plan, flags);
      const shapes = await shapePlan(plan, values);
      if (flags.json === true) {
        io.out(`${JSON.stringify({ ok: true, diagnostics: compilation.diagnostics, plan: shapes }, null, 2)}\n`);
        return;
      }
      io.out(planText(shapes, io.paint));
      for (const warning of shapes.warnings) io.err(`warning: ${warning}\n`);
    });
}

function bytes(value: number | null): string {
  if (value === null) return 'unknown';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let amount = value;
  let unit = 0;
  while (amount >= 1024 && unit < units.length - 1) {
    amount /= 1024;
    unit++;
  }
  return `${unit === 0 ? amount : amount.toFixed(1)} ${units[unit]}`;
}

export function planText(plan: ShapePlan & { readonly cards?: CardPlan | null }, paint: Paint): string {
  const lines = [`${paint.bold(plan.recipe)} on ${plan.model}`];
  const row = (label: string, text: string): void => {
    lines.push(`  ${label.padEnd(14)} ${text}`);
  };
  for (const prompt of plan.prompts) promptRows(prompt, plan.prompts.length > 1, row);
  for (const d of plan.decodes) {
    row(
      d.node,
      `prefill ${d.prefillChunks.join(' + ')} · ${d.positions === undefined ? `ctx_len ${d.ctxLen} leaves` : `${d.positions} positions of the model leave`} ${d.roomForAnswer} for the answer`,
    );
  }
  for (const call of plan.calls) {
    const shapes = Object.entries(call.shapes).map(([name, dims]) => `${name} [${dims.join(', ')}]`);
    row(call.node, `${call.what} × ${call.times}: ${shapes.join(', ')}`);
  }
  for (const p of plan.programs) {
    const together = p.nodes.length > 1 ? ` for ${p.nodes.join(', ')} in turn` : '';
    const assumed = p.stateAssumed === true ? ' if float32' : '';
    const state = p.program === 'language' ? `, cache ${bytes(p.stateBytes)}${assumed}` : '';
    row('memory', `${p.program} on ${p.device}${together}: weights ${bytes(p.weightBytes)}${state}`);
  }
  row('in all', bytes(plan.memoryBytes));
  if (plan.cards !== undefined && plan.cards !== null) cardRows(plan.cards, row);
  return `${lines.join('\n')}\n`;
}

function promptRows(prompt: PlannedPrompt, isOneOfMany: boolean, row: (label: string, text: string) => void): void {
  const head = isOneOfMany ? `${prompt.node}: ` : '';
  for (const image of prompt.images) {
    const [columns, rows] = image.grid;
    const extra = image.tiles - columns * rows;
    const more = extra > 0 ? ` + ${extra} whole` : '';
    row(
      'image',
      `${head}${image.name} ${image.width}×${image.height} → ${columns}×${rows}${more} = ${image.tiles} ${image.tiles === 1 ? 'tile' : 'tiles'} of ${image.tileSize.join('×')} → ${image.visionTokens} vision tokens`,
    );
  }
  if (prompt.images.length === 0) row('image', `${head}none: the language program runs alone`);
  const exactly = prompt.promptExact ? '' : 'at most ';
  row('prompt', `${head}${exactly}${prompt.promptTokens} tokens, ${prompt.visionTokens} of them vision`);
}

const MODES = {
  alone: 'one program',
  shared: 'programs share it',
  swapped: 'programs are swapped: one is deactivated before the other is activated',
} as const;

function batchText(program: 'vision' | 'language', together: boolean): string {
  if (program === 'vision') return `items like this one, ${together ? 'several a call' : 'one a call'}`;
  const how = together ? 'prefilled together' : 'prefilled one after another, the other rows padded';
  return `prompts like this one at once, ${how}`;
}

function callText(call: CardCall, unit: string): string {
  const symbols = Object.entries(call.symbols).map(([name, value]) => `${name} ${value}`);
  return `${call.what} × ${call.times}: ${call.specialization} (${symbols.join(', ')}), ${call.used} of ${call.slots} ${unit}, ${call.wastePercent} % padding`;
}

function cardRows(cards: CardPlan, row: (label: string, text: string) => void): void {
  for (const p of cards.programs) {
    const unit = p.program === 'vision' ? 'tiles' : 'positions';
    if (p.ready !== null) row(p.node, `${p.program} program compiled already: ${p.ready}`);
    for (const call of p.calls) row(p.node, callText(call, unit));
    for (const batch of p.batches) {
      row(p.node, `${batch.rows} ${batchText(p.program, batch.together)}: ${batch.wastePercent} % padding`);
      for (const call of batch.calls) row('', callText(call, unit));
    }
    if (p.calls.length > 0)
      row('padding', `${p.program} ${p.wastePercent} % of ${p.program === 'vision' ? 'tiles' : 'prefill positions'}`);
  }
  for (const c of cards.cards) {
    row(
      `card ${c.card}`,
      `${c.programs.join(' + ')}: ${c.cores} of 16 cores, about ${bytes(c.bytes)} of ${bytes(c.cardBytes)}${c.cardBytesKnown ? '' : ' (assumed)'}; ${MODES[c.mode]}`,
    );
  }
  for (const note of cards.notes) row('note', note);
}
