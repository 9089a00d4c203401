/** Whether a program can have pictures to look at in these items: for prompts of text alone it need not be opened. */
import type { PortValue } from '../contracts/ports.js';
import type { Plan, PlanNode } from '../contracts/recipe.js';
import type { RunItem } from './item.js';

/** False only where the node descends from inputs that carry pictures, and no item has one there. */
export function mayShowPictures(plan: Plan, node: PlanNode, items: readonly RunItem[]): boolean {
  if (node.manifest.program !== 'vision') return true;
  const carriers = inputsOf(plan, node).filter((name) => {
    const type = plan.inputs[name]?.type;
    return type === 'image' || type === 'messages';
  });
  return carriers.length === 0 || items.some((item) => carriers.some((name) => hasPicture(item[name])));
}

/** Every input of the recipe that a node descends from. */
function inputsOf(plan: Plan, node: PlanNode): readonly string[] {
  const nodes = new Map(plan.nodes.map((one) => [one.name, one]));
  const names = new Set<string>();
  const seen = new Set<PlanNode>([node]);
  for (const one of seen) {
    for (const ref of Object.values(one.inputs)) {
      const before = ref.from === 'node' ? nodes.get(ref.node) : undefined;
      if (before !== undefined) seen.add(before);
      if (ref.from === 'input') names.add(ref.name);
    }
  }
  return [...names];
}

function hasPicture(value: RunItem[string] | undefined): boolean {
  const values: readonly PortValue[] = value === undefined ? [] : ([value].flat() as PortValue[]);
  return values.some((one) => one.kind === 'image' || (one.kind === 'messages' && one.images.length > 0));
}
