/** The answer on standard output: alone when the recipe has one text output, else each under its name. */
import type { GroundedBox, PortValue } from '../contracts/ports.js';
import type { Plan } from '../contracts/recipe.js';
import type { ItemRecord } from '../contracts/record.js';
import { textOutputs } from '../runner/chains.js';
import { plainValue } from '../runner/run-directory.js';
import { harmless, type Io } from './io.js';
import type { Progress } from './progress.js';

/** What is written before a text; nothing where there is one text alone. */
function labelOf(names: readonly string[], name: string | undefined): string {
  return names.length > 1 && name !== undefined ? `${name}: ` : '';
}

export interface Streamed {
  /** The node whose pieces are the text that is printed first, as it grows: of that output itself, or of what it fuses. */
  readonly streamNode: string | null;
  readonly label: string;
}

/** The first text alone can be printed as it grows: later ones wait for it. */
export function streamedAnswer(plan: Plan): Streamed {
  const names = textOutputs(plan);
  return { streamNode: streamNode(plan, names[0]), label: labelOf(names, names[0]) };
}

function streamNode(plan: Plan, name: string | undefined): string | null {
  const output = plan.outputs[name ?? ''];
  if (output === undefined || output.ref.from !== 'node') return null;
  const { node: from } = output.ref;
  const node = plan.nodes.find((n) => n.name === from);
  if (node === undefined) return null;
  if (output.kind === 'completion') return node.name;
  if (output.kind !== 'answer' || node.plugin !== undefined) return null;
  const text = Object.values(node.inputs).find((ref) => {
    const source = ref.from === 'node' ? plan.nodes.find((n) => n.name === ref.node) : undefined;
    return ref.from === 'node' && source?.manifest.outputs[ref.port]?.kind === 'completion';
  });
  return text?.from === 'node' ? text.node : null;
}

interface Shown {
  readonly label: string;
  readonly text: string;
  readonly boxes: readonly GroundedBox[];
}

/** Prints what is not printed yet of the answer, then its boxes. */
export function printAnswers(io: Io, plan: Plan, items: readonly ItemRecord[], progress: Progress): void {
  for (const item of items) {
    const { printed } = progress;
    if (item.ok) printItem(io, shownOf(plan, item), printed);
    else progress.breakOff();
  }
}

function printItem(io: Io, parts: readonly Shown[], printed: string): void {
  const show = (text: string): void => io.out(io.outIsTerminal ? harmless(text) : text);
  for (const [i, { label, text, boxes }] of parts.entries()) {
    const before = i === 0 ? printed : '';
    if (before !== '' && text.startsWith(before)) show(text.slice(before.length));
    else show(`${before === '' ? '' : '\n'}${label}${text}`);
    if (!text.endsWith('\n')) io.out('\n');
    for (const { label: name, box, image } of boxes) {
      const which = image === 0 ? '' : ` in image ${image + 1}`;
      show(`${label === '' ? '' : '  '}${name}: [${box.map((v) => Math.round(v)).join(', ')}]${which}\n`);
    }
  }
}

function shownOf(plan: Plan, item: ItemRecord): readonly Shown[] {
  const names = textOutputs(plan);
  const outputs = Object.entries(item.outputs ?? {});
  if (names.length > 0) {
    return names.flatMap((name) => {
      const value = item.outputs?.[name];
      return value !== undefined && 'text' in value
        ? [{ label: labelOf(names, name), text: value.text, boxes: boxesOf(value) }]
        : [];
    });
  }
  const data = outputs.flatMap(([name, value]) => (value.kind === 'json' ? [{ name, value: value.value }] : []));
  if (data.length === 0) return [{ label: '', text: item.text ?? '', boxes: [] }];
  const dataNames = data.map(({ name }) => name);
  return data.map(({ name, value }) => ({
    label: labelOf(dataNames, name),
    text: JSON.stringify(plainValue(value), null, 2) ?? 'null',
    boxes: [],
  }));
}

function boxesOf(value: PortValue): readonly GroundedBox[] {
  return value.kind === 'answer' ? value.boxes : [];
}
