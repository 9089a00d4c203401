/** `plan --suggest`: the proposal as a table and as YAML. */
import type { Suggestion } from '../compose/suggest.js';
import { VlmError } from '../contracts/errors.js';
import type { Plan } from '../contracts/recipe.js';
import { parseInputs } from './input-options.js';
import type { Io } from './io.js';

export interface SuggestFlags {
  readonly sets: string;
  readonly callCost: string;
  readonly images?: string;
  readonly dataset?: string;
  readonly input?: readonly string[];
  readonly json?: boolean;
}

export async function suggestAndTell(plan: Plan, flags: SuggestFlags, io: Io): Promise<void> {
  const { folderItems, listItems, suggest } = await import('../compose/suggest.js');
  const given = parseInputs(plan, flags.input ?? []);
  const items = [
    ...(flags.images === undefined ? [] : await folderItems(plan, flags.images, given)),
    ...(flags.dataset === undefined ? [] : await listItems(plan, flags.dataset, given)),
  ];
  if (flags.images === undefined && flags.dataset === undefined) items.push(given);
  const suggestion = await suggest(plan, {
    sets: whole('--sets', flags.sets, 1),
    callCost: whole('--call-cost', flags.callCost, 0),
    items,
  });
  if (flags.json === true) io.out(`${JSON.stringify({ ok: true, suggestion }, null, 2)}\n`);
  else io.out(suggestText(suggestion));
}

function whole(flag: string, text: string, least: number): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= least && value <= 100_000) return value;
  throw new VlmError('USAGE', {
    what: `${flag} is not usable`,
    expected: `a whole number of ${least} or more`,
    received: text,
  });
}

export function suggestText({ items, before, after, yaml }: Suggestion): string {
  const row = (label: string, a: string, b: string): string =>
    `# ${label.padEnd(24)} ${a.padStart(26)} ${b.padStart(26)}`;
  const pair = (label: string, value: (side: Suggestion['before']) => string): string =>
    row(label, value(before), value(after));
  const share = ({ used, computed, wastePercent }: Suggestion['before']['waste']['tiles']): string =>
    `${wastePercent} % (${used} of ${computed})`;
  return [
    `# Shapes to compile for ${items} ${items === 1 ? 'prompt' : 'prompts'}, each counted alone.`,
    row('', 'now', 'proposed'),
    pair('sets', ({ waste }) => String(waste.sets)),
    pair('padding of tiles', ({ waste }) => share(waste.tiles)),
    pair('padding of prefill', ({ waste }) => share(waste.prefill)),
    pair('prefill calls', ({ waste }) => String(waste.prefillCalls)),
    pair('unused cache slots', ({ waste }) => share(waste.context)),
    pair('prompts that do not fit', ({ waste }) => String(waste.unfit)),
    yaml,
  ].join('\n');
}
