/**
 * The tree read as a recipe, as far as it goes: parts that the schema refuses are left out, so that the later phases can
 * still check the rest and all problems are reported together.
 */
import { resolve } from 'node:path';
import type { NodeManifest } from '../contracts/node.js';
import type { InputType, Reference } from '../contracts/recipe.js';
import { nodeManifest, type Registry } from './registry.js';
import { PLUGIN_KIND, REFERENCE } from './schema.js';
import { mapAt, type SourceEntry, type SourceMap, type SourceNode, type Span } from './source.js';

export interface DraftReference {
  /** Port or output name. */
  readonly name: string;
  readonly key: Span;
  readonly at: Span;
  readonly text: string;
  /** Null when the text is no reference. */
  readonly ref: Reference | null;
}

export interface DraftInput {
  readonly name: string;
  readonly description: string | null;
  readonly key: Span;
  readonly type: InputType | null;
  readonly many: boolean;
  readonly required: boolean;
  readonly default: SourceEntry | undefined;
}

export interface DraftDevice {
  readonly name: string;
  readonly key: Span;
  readonly kind: string | null;
  readonly entries: SourceMap;
}

export interface DraftNode {
  readonly name: string;
  readonly description: string | null;
  readonly key: Span;
  readonly kind: string | null;
  readonly kindAt: Span;
  /** Null when the kind is unknown: its ports and options are then not checked. */
  readonly manifest: NodeManifest | null;
  readonly plugin: string | null;
  readonly device: { readonly name: string; readonly at: Span } | null;
  readonly inputs: readonly DraftReference[];
  readonly with: SourceMap | null;
}

export interface Draft {
  readonly tree: SourceMap;
  readonly inputs: ReadonlyMap<string, DraftInput>;
  readonly devices: ReadonlyMap<string, DraftDevice>;
  readonly nodes: ReadonlyMap<string, DraftNode>;
  readonly outputs: readonly DraftReference[];
}

const referencePattern = new RegExp(REFERENCE);
const pluginPattern = new RegExp(PLUGIN_KIND);

export function parseReference(text: string): Reference | null {
  if (!referencePattern.test(text)) return null;
  const dot = text.indexOf('.');
  const from = text.slice(1, dot);
  const name = text.slice(dot + 1);
  return from === 'inputs' ? { from: 'input', name } : { from: 'node', node: from, port: name };
}

export function referenceText(ref: Reference): string {
  return ref.from === 'input' ? `$inputs.${ref.name}` : `$${ref.node}.${ref.port}`;
}

/** Absolute path of the module when `kind` names a plugin. */
export function pluginPath(kind: string, at: Span): string | null {
  return pluginPattern.test(kind) ? resolve(at.file.folder, kind) : null;
}

const scalarOf = (node: SourceNode | undefined): string | number | boolean | null =>
  node?.kind === 'scalar' ? node.value : null;

const textOf = (entry: SourceEntry | undefined): string | null => {
  const value = scalarOf(entry?.value);
  return typeof value === 'string' ? value : null;
};

function* maps(tree: SourceMap, section: string): Generator<readonly [string, Span, SourceMap]> {
  for (const [name, { key, value }] of mapAt(tree, section)?.entries ?? []) {
    if (value.kind === 'map') yield [name, key, value];
  }
}

function references(map: SourceMap | null): DraftReference[] {
  const found: DraftReference[] = [];
  for (const [name, { key, value }] of map?.entries ?? []) {
    if (value.kind !== 'scalar' || typeof value.value !== 'string') continue;
    found.push({ name, key, at: value.span, text: value.value, ref: parseReference(value.value) });
  }
  return found;
}

/** Reads the tree. `plugins` holds the manifests of plugin kinds by absolute path. */
export function readDraft(tree: SourceMap, registry: Registry, plugins: ReadonlyMap<string, NodeManifest>): Draft {
  const inputs = new Map<string, DraftInput>();
  for (const [name, key, map] of maps(tree, 'inputs')) {
    const type = textOf(map.entries.get('type'));
    inputs.set(name, {
      name,
      description: textOf(map.entries.get('description')),
      key,
      type: type === 'image' || type === 'text' || type === 'messages' ? type : null,
      many: scalarOf(map.entries.get('many')?.value) === true,
      required: scalarOf(map.entries.get('required')?.value) !== false,
      default: map.entries.get('default'),
    });
  }
  const devices = new Map<string, DraftDevice>();
  for (const [name, key, entries] of maps(tree, 'devices')) {
    devices.set(name, { name, key, kind: textOf(entries.entries.get('kind')), entries });
  }
  const nodes = new Map<string, DraftNode>();
  for (const [name, key, map] of maps(tree, 'nodes')) nodes.set(name, readNode(name, key, map, registry, plugins));
  return { tree, inputs, devices, nodes, outputs: references(mapAt(tree, 'outputs')) };
}

function readNode(
  name: string,
  key: Span,
  map: SourceMap,
  registry: Registry,
  plugins: ReadonlyMap<string, NodeManifest>,
): DraftNode {
  const kindEntry = map.entries.get('kind');
  const kind = textOf(kindEntry);
  const kindAt = kindEntry?.value.span ?? key;
  const plugin = kind === null ? null : pluginPath(kind, kindAt);
  const manifest = plugin === null ? nodeManifest(registry, kind ?? '') : plugins.get(plugin);
  const device = map.entries.get('device');
  const deviceName = textOf(device);
  return {
    name,
    description: textOf(map.entries.get('description')),
    key,
    kind,
    kindAt,
    manifest: manifest ?? null,
    plugin,
    device: device === undefined || deviceName === null ? null : { name: deviceName, at: device.value.span },
    inputs: references(mapAt(map, 'inputs')),
    with: mapAt(map, 'with'),
  };
}
