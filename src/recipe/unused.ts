/** Parts of a recipe that nothing needs. Silent where a mistake reported elsewhere may be the reason. */
import type { Reference } from '../contracts/recipe.js';
import type { Draft } from './draft.js';
import type { Problems } from './problems.js';
import { mapAt } from './source.js';
import { nearest } from './suggest.js';

const referencesOf = (draft: Draft): readonly Reference[] =>
  [...draft.outputs, ...[...draft.nodes.values()].flatMap((n) => n.inputs)].flatMap((r) =>
    r.ref === null ? [] : [r.ref],
  );

/** Names of the nodes that some output needs. */
export function neededNodes(draft: Draft): ReadonlySet<string> {
  const needed = new Set<string>();
  const queue = draft.outputs.map((o) => o.ref);
  for (let ref = queue.pop(); ref !== undefined; ref = queue.pop()) {
    if (ref === null || ref.from !== 'node' || needed.has(ref.node)) continue;
    needed.add(ref.node);
    for (const input of draft.nodes.get(ref.node)?.inputs ?? []) queue.push(input.ref);
  }
  return needed;
}

export function checkUnused(draft: Draft, problems: Problems): void {
  const refs = referencesOf(draft);
  // An output that could not be read may need any node: nothing is known to be unused then.
  const outputs = mapAt(draft.tree, 'outputs');
  const complete = outputs !== null && outputs.entries.size > 0 && draft.outputs.every((o) => o.ref !== null);
  const needed = neededNodes(draft);
  const known = complete && !leadsNowhere(needed, draft);
  for (const node of draft.nodes.values()) {
    if (!known || needed.has(node.name)) continue;
    problems.add('W_UNUSED_NODE', `no output needs the node "${node.name}": it will not run`, {
      at: node.key,
      path: ['nodes', node.name],
    });
  }
  const missed = misspeltNames(draft);
  for (const input of draft.inputs.values()) {
    if (refs.some((r) => r.from === 'input' && r.name === input.name) || isNear(input.name, missed.inputs)) continue;
    problems.add('W_UNUSED_INPUT', `nothing uses the input "${input.name}"`, {
      at: input.key,
      path: ['inputs', input.name],
      hint: `refer to it as $inputs.${input.name}, or remove it`,
    });
  }
  const used = new Set([...draft.nodes.values()].map((n) => n.device?.name));
  for (const device of draft.devices.values()) {
    if (used.has(device.name) || isNear(device.name, missed.devices) || missed.noDevice) continue;
    problems.add('W_UNUSED_DEVICE', `no node uses the device "${device.name}"`, {
      at: device.key,
      path: ['devices', device.name],
    });
  }
}

const isNear = (name: string, words: readonly string[]): boolean =>
  words.includes(name) || nearest(name, words) !== undefined;

/** Names that references give wrongly: what they are meant to be is not called unused as well. */
function misspeltNames(draft: Draft): {
  readonly inputs: readonly string[];
  readonly devices: readonly string[];
  readonly noDevice: boolean;
} {
  const nodes = [...draft.nodes.values()];
  const written = [...draft.outputs, ...nodes.flatMap((n) => n.inputs)];
  return {
    inputs: written.flatMap(({ ref, text }) => {
      if (ref === null) return text.split(/[^\w-]+/);
      if (ref.from === 'input') return draft.inputs.has(ref.name) ? [] : [ref.name];
      return draft.nodes.has(ref.node) ? [] : [ref.node, ref.port];
    }),
    devices: nodes.flatMap(({ device }) => (device === null || draft.devices.has(device.name) ? [] : [device.name])),
    noDevice: nodes.some((n) => n.device === null && n.manifest?.program !== undefined),
  };
}

/** True when a reference on the way to an output names a node that is not there: it may be any of them, misspelt. */
function leadsNowhere(needed: ReadonlySet<string>, draft: Draft): boolean {
  return [...needed].some((name) => {
    const node = draft.nodes.get(name);
    return node === undefined || node.inputs.some((i) => i.ref === null);
  });
}
