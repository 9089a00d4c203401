/** Phase 5: what refers to what. References, ports, devices, and options that are deprecated. */
import type { OptionSchema } from '../contracts/node.js';
import { type Draft, type DraftNode, type DraftReference, parseReference } from './draft.js';
import type { Problems } from './problems.js';
import { deviceManifest, type Registry } from './registry.js';
import { type DocumentPath, mapAt, missingSpanAt, type Span } from './source.js';
import { didYouMean, nearest } from './suggest.js';

export function link(draft: Draft, registry: Registry, problems: Problems): void {
  checkModel(draft, problems);
  for (const node of draft.nodes.values()) {
    for (const input of node.inputs) checkReference(input, ['nodes', node.name, 'inputs', input.name], draft, problems);
    checkPorts(node, draft, problems);
    checkDevice(node, draft, problems);
    checkDeprecated(node, problems);
  }
  for (const output of draft.outputs) {
    checkReference(output, ['outputs', output.name], draft, problems);
    if (output.ref?.from === 'input') {
      problems.add('E_REFERENCE', `the output "${output.name}" only repeats an input`, {
        at: output.at,
        path: ['outputs', output.name],
        hint: 'refer to a node output: $node.port',
      });
    }
  }
  checkDeprecatedDevices(draft, registry, problems);
}

/** How one of the two keys gives way to the other: by null, where one came through `extends`. */
function replacing(path: Span, hub: Span): string {
  const given = [path, hub].some(({ file }) => file.path.startsWith('--'));
  if (given || path.file === hub.file) return "--set 'model={path: FOLDER}' replaces both";
  return 'where "extends" brought one of them, write null for it (path: null)';
}

function checkModel({ tree }: Draft, problems: Problems): void {
  const entry = tree.entries.get('model');
  const model = mapAt(tree, 'model');
  if (entry === undefined || model === null) return;
  const path = model.entries.get('path');
  const hub = model.entries.get('hub');
  const revision = model.entries.get('revision');
  if (path !== undefined && hub !== undefined) {
    problems.add('E_MODEL', 'the model has both "path" and "hub"', {
      at: hub.key,
      path: 'model.hub',
      hint: `keep one: "path" is a folder, "hub" a repository of the Hugging Face hub; ${replacing(path.key, hub.key)}`,
    });
  } else if (path === undefined && hub === undefined) {
    problems.add('E_MODEL', 'the model has neither "path" nor "hub"', {
      at: entry.key,
      path: 'model',
      hint: 'add "path: FOLDER" or "hub: OWNER/NAME": tokenizer and configuration are read from there',
    });
  } else if (revision !== undefined && hub === undefined) {
    problems.add('E_MODEL', '"revision" belongs to "hub", a folder has none', {
      at: revision.key,
      path: 'model.revision',
      hint: 'remove it',
    });
  }
}

/** Reports a reference that is malformed or names nothing. */
function checkReference(reference: DraftReference, path: DocumentPath, draft: Draft, problems: Problems): void {
  const { ref, text, at } = reference;
  if (ref === null) {
    problems.add('E_REFERENCE', `"${text}" is not a reference`, { at, path, hint: referenceHint(text, draft) });
    return;
  }
  if (ref.from === 'input') {
    if (hasKey(draft, 'inputs', ref.name)) return;
    problems.add('E_UNKNOWN_INPUT', `the recipe has no input "${ref.name}"`, {
      at,
      path,
      hint: didYouMean(ref.name, draft.inputs.keys(), 'inputs') ?? 'add it under "inputs:"',
    });
    return;
  }
  const node = draft.nodes.get(ref.node);
  if (node === undefined) {
    if (hasKey(draft, 'nodes', ref.node)) return;
    problems.add('E_UNKNOWN_NODE', `the recipe has no node "${ref.node}"`, {
      at,
      path,
      hint: unknownNodeHint(ref.node, ref.port, draft),
    });
    return;
  }
  if (node.manifest === null || Object.hasOwn(node.manifest.outputs, ref.port)) return;
  problems.add('E_UNKNOWN_PORT', `${node.kind} node "${node.name}" has no output "${ref.port}"`, {
    at,
    path,
    hint: portHint(ref.port, node),
  });
}

/** True for an entry that is there but broken: its own diagnostic is enough. */
function hasKey(draft: Draft, section: string, name: string): boolean {
  return mapAt(draft.tree, section)?.entries.has(name) ?? draft.tree.entries.has(section);
}

function unknownNodeHint(name: string, port: string, draft: Draft): string | undefined {
  if (name === 'input' || nearest(name, ['inputs']) === 'inputs') return `did you mean "$inputs.${port}"?`;
  if (draft.inputs.has(name)) return `"${name}" is an input: write "$inputs.${name}"`;
  return didYouMean(name, draft.nodes.keys(), 'nodes');
}

function portHint(port: string, node: DraftNode): string | undefined {
  const outputs = Object.keys(node.manifest?.outputs ?? {});
  if (Object.hasOwn(node.manifest?.inputs ?? {}, port) && nearest(port, outputs) === undefined) {
    return `"${port}" is an input of it; its outputs are ${outputs.join(', ')}`;
  }
  return outputs.length === 1 ? `did you mean "${outputs[0]}"?` : didYouMean(port, outputs, 'outputs');
}

function referenceHint(text: string, draft: Draft): string {
  const bare = text
    .trim()
    .replace(/^\$?\{+\s*|\s*\}+$/g, '')
    .replace(/^\$/, '');
  if (parseReference(`$${bare}`) !== null) return `did you mean "$${bare}"?`;
  if (draft.inputs.has(bare)) return `did you mean "$inputs.${bare}"?`;
  const outputs = Object.keys(draft.nodes.get(bare)?.manifest?.outputs ?? {});
  if (outputs.length > 0) return `did you mean ${outputs.map((o) => `"$${bare}.${o}"`).join(' or ')}?`;
  return 'write "$inputs.name" or "$node.port"';
}

/** Ports of one node: unknown ones, missing ones, groups of which one is needed. */
function checkPorts(node: DraftNode, draft: Draft, problems: Problems): void {
  const { manifest, name } = node;
  if (manifest === null) return;
  const inputs =
    mapAt(mapAt(mapAt(draft.tree, 'nodes') ?? undefined, name) ?? undefined, 'inputs')?.entries ?? new Map();
  const given = new Set<string>(inputs.keys());
  for (const [port, { key }] of inputs) {
    if (Object.hasOwn(manifest.inputs, port)) continue;
    problems.add('E_UNKNOWN_PORT', `${node.kind} node "${name}" has no input port "${port}"`, {
      at: key,
      path: ['nodes', name, 'inputs', port],
      hint: Object.hasOwn(manifest.options, port)
        ? `"${port}" is an option: write it under "with:"`
        : didYouMean(port, Object.keys(manifest.inputs), 'ports'),
    });
  }
  // A misspelt port explains a missing one.
  const misspelt = [...given].some((port) => !Object.hasOwn(manifest.inputs, port));
  for (const [port, { required, description }] of Object.entries(manifest.inputs)) {
    if (required === false || given.has(port)) continue;
    if (misspelt && [...given].some((g) => nearest(g, [port]) === port && !Object.hasOwn(manifest.inputs, g))) continue;
    problems.add('E_MISSING_PORT', `${node.kind} node "${name}" needs its input port "${port}"`, {
      at: removedPort(draft, name, port) ?? node.key,
      path: ['nodes', name, 'inputs', port],
      hint: `${suggestSource(port, node, draft)}${description}`,
    });
  }
  for (const group of manifest.oneOf ?? []) checkGroup(group, node, given, misspelt, draft, problems);
}

function checkGroup(
  group: readonly string[],
  node: DraftNode,
  given: ReadonlySet<string>,
  misspelt: boolean,
  draft: Draft,
  problems: Problems,
): void {
  const connected = group.filter((port) => given.has(port));
  if (connected.length === 1 || (connected.length === 0 && misspelt)) return;
  const names = group.map((g) => `"${g}"`);
  const list = names.join(' and ');
  const second = node.inputs.find((i) => i.name === connected[1]);
  if (connected.length === 0) {
    problems.add(
      'E_MISSING_PORT',
      `${node.kind} node "${node.name}" needs one of its input ports ${names.join(', ')}`,
      {
        at: group.map((port) => removedPort(draft, node.name, port)).find((at) => at !== undefined) ?? node.key,
        path: ['nodes', node.name, 'inputs'],
      },
    );
  } else {
    problems.add('E_VALUE', `${node.kind} node "${node.name}" takes only one of its input ports ${list}`, {
      at: second?.key ?? node.key,
      path: ['nodes', node.name, 'inputs', connected[1] ?? ''],
      hint: 'keep one of them',
    });
  }
}

/** Where an override took the port away, or all of them. */
function removedPort({ tree }: Draft, name: string, port: string): Span | undefined {
  const node = mapAt(mapAt(tree, 'nodes') ?? undefined, name);
  return mapAt(node ?? undefined, 'inputs')?.removed?.get(port) ?? node?.removed?.get('inputs');
}

/** The one place in the recipe that gives the kind a port takes. */
function suggestSource(port: string, node: DraftNode, draft: Draft): string {
  const wanted = node.manifest?.inputs[port]?.kind;
  const fits = (kind: string): boolean => (Array.isArray(wanted) ? wanted.includes(kind) : wanted === kind);
  const sources = [
    ...[...draft.inputs.values()].filter((i) => i.type !== null && fits(i.type)).map((i) => `$inputs.${i.name}`),
    ...[...draft.nodes.values()].flatMap((n) =>
      Object.entries(n.manifest?.outputs ?? {})
        .filter(([, out]) => fits(out.kind))
        .map(([out]) => `$${n.name}.${out}`),
    ),
  ];
  return sources.length === 1 ? `add "${port}: ${sources[0]}". ` : '';
}

function checkDevice(node: DraftNode, draft: Draft, problems: Problems): void {
  const { device, manifest, name } = node;
  const path = ['nodes', name, 'device'];
  if (device === null) {
    const raw = mapAt(mapAt(draft.tree, 'nodes') ?? undefined, name)?.entries.has('device');
    if (manifest?.program === undefined || raw) return;
    const known = [...draft.devices.keys()];
    problems.add(
      'E_MISSING_DEVICE',
      `${node.kind} node "${name}" runs the ${manifest.program} program: it needs a device`,
      {
        at: missingSpanAt(draft.tree, ['nodes', name], 'device'),
        path,
        hint:
          known.length > 0 ? `add "device: ${known[0]}"` : 'add "devices: { main: { kind: cpu } }" and "device: main"',
      },
    );
    return;
  }
  if (!draft.devices.has(device.name) && !hasKeyIn(draft, 'devices', device.name)) {
    problems.add('E_UNKNOWN_DEVICE', `the recipe has no device "${device.name}"`, {
      at: device.at,
      path,
      hint:
        didYouMean(device.name, draft.devices.keys(), 'devices') ?? `add "devices: { ${device.name}: { kind: cpu } }"`,
    });
  } else if (manifest !== null && manifest.program === undefined) {
    problems.add('W_DEVICE_IGNORED', `${node.kind} node "${name}" runs no program: its device is not used`, {
      at: device.at,
      path,
      hint: 'remove "device"',
    });
  }
}

const hasKeyIn = (draft: Draft, section: string, name: string): boolean =>
  mapAt(draft.tree, section)?.entries.has(name) ?? false;

function checkDeprecated(node: DraftNode, problems: Problems): void {
  for (const [option, { key }] of node.with?.entries ?? []) {
    const problem = deprecation(option, node.with?.entries, node.manifest?.options ?? {});
    if (problem === null) continue;
    problems.add('W_DEPRECATED', `the option "${option}" of ${node.kind} is deprecated`, {
      at: key,
      path: ['nodes', node.name, 'with', option],
      hint: problem,
    });
  }
}

function checkDeprecatedDevices(draft: Draft, registry: Registry, problems: Problems): void {
  for (const device of draft.devices.values()) {
    const options = deviceManifest(registry, device.kind ?? '')?.options ?? {};
    for (const [option, { key }] of device.entries.entries) {
      const problem = deprecation(option, device.entries.entries, options);
      if (problem === null) continue;
      problems.add('W_DEPRECATED', `the option "${option}" of ${device.kind} devices is deprecated`, {
        at: key,
        path: ['devices', device.name, option],
        hint: problem,
      });
    }
  }
}

/** What to do about an option, when it is a deprecated one. */
function deprecation(
  option: string,
  given: ReadonlyMap<string, unknown> | undefined,
  options: Readonly<Record<string, OptionSchema>>,
): string | null {
  const schema = Object.hasOwn(options, option) ? options[option] : undefined;
  const newer = schema?.replacedBy;
  if (newer === undefined) return schema?.deprecated === true ? schema.description : null;
  return given?.has(newer) === true
    ? `remove it: "${newer}" took its place, is given as well and is what counts`
    : `rename it to "${newer}"; its value is used as that until then`;
}
