/** Parts of a recipe that nothing needs. Silent where a mistake reported elsewhere may be the reason. */
import { kindFits, type PortKind } from '../contracts/ports.js';
import type { Reference } from '../contracts/recipe.js';
import type { Draft } from './draft.js';
import { kindOf } from './kinds.js';
import { portKinds } from './option-schema.js';
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

/** Mistakes after which a node may be unused only because a reference does not say what it should. */
const MISDIRECTED = [
  'E_REFERENCE',
  'E_UNKNOWN_NODE',
  'E_UNKNOWN_PORT',
  'E_UNKNOWN_KIND',
  'E_MISSING_PORT',
  'E_PORT_KIND',
  'E_CYCLE',
  'E_PLUGIN',
] as const;

export function checkUnused(draft: Draft, problems: Problems): void {
  const refs = referencesOf(draft);
  // An output that could not be read may need any node: nothing is known to be unused then.
  const outputs = mapAt(draft.tree, 'outputs');
  const complete = outputs !== null && outputs.entries.size > 0 && draft.outputs.every((o) => o.ref !== null);
  const needed = neededNodes(draft);
  const known = complete && !problems.has(MISDIRECTED);
  for (const node of draft.nodes.values()) {
    if (!known || needed.has(node.name)) continue;
    problems.add('W_UNUSED_NODE', `no output needs the node "${node.name}": it will not run`, {
      at: node.key,
      path: ['nodes', node.name],
      hint: 'name one of its outputs under "outputs" or as the input of a node that runs, or remove it (write null where "extends" brought it)',
    });
  }
  const missed = misspeltNames(draft);
  const hungry = hungryKinds(draft);
  for (const input of draft.inputs.values()) {
    if (refs.some((r) => r.from === 'input' && r.name === input.name) || isNear(input.name, missed.inputs)) continue;
    if (input.type !== null && hungry.has(input.type)) continue;
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
      hint: 'give it to a node (device: NAME), or remove it',
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

/** Kinds of ports that are left open or get something else: an input of such a kind is missing there. */
function hungryKinds(draft: Draft): ReadonlySet<PortKind> {
  const hungry = new Set<PortKind>();
  for (const { manifest, inputs } of draft.nodes.values()) {
    if (manifest === null) continue;
    const given = new Map(inputs.map((input) => [input.name, input.ref]));
    const open = (port: string): boolean => !given.has(port);
    for (const [name, port] of Object.entries(manifest.inputs)) {
      const kinds = portKinds(port) as readonly PortKind[];
      const ref = given.get(name);
      const kind = ref === undefined || ref === null ? null : kindOf(ref, draft);
      const inGroup = (manifest.oneOf ?? []).some((group) => group.includes(name) && group.every(open));
      const missing = open(name) && (port.required !== false || inGroup);
      if (missing || (kind !== null && !kinds.some((k) => kindFits(kind, k)))) for (const k of kinds) hungry.add(k);
    }
  }
  return hungry;
}
