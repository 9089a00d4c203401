/** Last phase: a recipe without errors as a plan. Defaults filled in, references resolved, paths absolute. */
import { resolve } from 'node:path';
import type { DeviceConfig } from '../contracts/device.js';
import type { SourceLocation } from '../contracts/errors.js';
import type { OptionSchema } from '../contracts/node.js';
import { PICTURE_KEYS, type PortKind } from '../contracts/ports.js';
import type { Plan, PlanInput, PlanNode, Recipe, RecipeModel, Reference } from '../contracts/recipe.js';
import type { Draft, DraftInput, DraftNode } from './draft.js';
import { kindOf } from './kinds.js';
import { deviceManifest, type Registry } from './registry.js';
import { dependencies } from './schedule.js';
import { locationOf, mapAt, type SourceEntry, type SourceNode, type Span, toValue } from './source.js';
import { neededNodes } from './unused.js';

export function makePlan(draft: Draft, order: readonly string[], file: string, registry: Registry): Plan {
  const raw = toValue(draft.tree) as Partial<Recipe> & Pick<Recipe, 'version' | 'name' | 'model' | 'nodes' | 'outputs'>;
  const recipe: Recipe = { ...raw, inputs: raw.inputs ?? {}, devices: raw.devices ?? {} };
  const needed = neededNodes(draft);
  return {
    name: recipe.name,
    description: recipe.description ?? '',
    file,
    recipe,
    model: modelOf(draft),
    ...modelLocation(draft),
    inputs: Object.fromEntries([...draft.inputs.values()].map((input) => [input.name, planInput(input)])),
    devices: Object.fromEntries(
      [...draft.devices.values()].map((d) => [d.name, deviceConfig(toValue(d.entries), d.kind, registry)]),
    ),
    nodes: order.flatMap((name) => {
      const node = draft.nodes.get(name);
      return node === undefined || !needed.has(name) ? [] : planNode(node, draft);
    }),
    outputs: Object.fromEntries(
      draft.outputs.flatMap(({ name, ref }) => (ref === null ? [] : [[name, output(ref, draft)]])),
    ),
  };
}

function output(ref: Reference, draft: Draft): { readonly ref: Reference; readonly kind: PortKind } {
  return { ref, kind: kindOf(ref, draft) ?? 'json' };
}

const place = (span: Span): SourceLocation => {
  const { file, line, column } = locationOf(span);
  return { file, line, column };
};

/** A path as the file that wrote it means it. */
const absolute = (value: string, at: Span): string => resolve(at.file.folder, value);

function pathOf(entry: SourceEntry | undefined): string | undefined {
  const value = entry?.value;
  return value?.kind === 'scalar' && typeof value.value === 'string' ? absolute(value.value, value.span) : undefined;
}

function textOf(entry: SourceEntry | undefined): string | undefined {
  const value = entry?.value;
  return value?.kind === 'scalar' && typeof value.value === 'string' ? value.value : undefined;
}

function modelOf({ tree }: Draft): RecipeModel {
  const entries = mapAt(tree, 'model')?.entries;
  const programs = mapAt(mapAt(tree, 'model') ?? undefined, 'programs')?.entries;
  const path = pathOf(entries?.get('path'));
  const hub = textOf(entries?.get('hub'));
  const revision = textOf(entries?.get('revision'));
  const vision = pathOf(programs?.get('vision'));
  const language = pathOf(programs?.get('language'));
  return {
    ...(path === undefined ? {} : { path }),
    ...(hub === undefined ? {} : { hub }),
    ...(revision === undefined ? {} : { revision }),
    ...(programs === undefined
      ? {}
      : { programs: { ...(vision === undefined ? {} : { vision }), ...(language === undefined ? {} : { language }) } }),
  };
}

/** The reference itself, `path` or `hub`, which may stand in another file than the node that misses the model. */
function modelLocation({ tree }: Draft): Pick<Plan, 'modelLocation'> {
  const entries = mapAt(tree, 'model')?.entries;
  const entry = entries?.get('path') ?? entries?.get('hub') ?? entries?.get('programs');
  return entry === undefined ? {} : { modelLocation: place(entry.key) };
}

const described = (description: string | null): { readonly description?: string } =>
  description === null ? {} : { description };

function planInput({ name, description, type, many, required, default: given }: DraftInput): PlanInput {
  const base: PlanInput = { name, ...described(description), type: type ?? 'text', many, required };
  if (given === undefined) return base;
  return { ...base, default: type === 'text' ? toValue(given.value) : withPaths(given.value, type === 'messages') };
}

const isUrl = (value: string): boolean => /^(?:https?|data|file):/i.test(value);

/** Pictures (and files of messages) named in a default: absolute. Text inside messages stays as it is. */
function withPaths(node: SourceNode, inMessages: boolean): unknown {
  if (node.kind === 'scalar') {
    return typeof node.value === 'string' && !isUrl(node.value) ? absolute(node.value, node.span) : node.value;
  }
  if (node.kind === 'list') {
    return node.items.map((item) => (inMessages ? messagePaths(item) : withPaths(item, false)));
  }
  return toValue(node);
}

/** A message: only the pictures of its parts are paths. */
function messagePaths(node: SourceNode): unknown {
  if (node.kind === 'list') return node.items.map(messagePaths);
  if (node.kind === 'scalar') return node.value;
  return Object.fromEntries(
    [...node.entries].map(([key, { value }]) => [
      key,
      PICTURE_KEYS.includes(key) && value.kind === 'scalar' ? withPaths(value, false) : messagePaths(value),
    ]),
  );
}

/** Options under their newest names: of an old name and the new one, the new one counts. */
function renamed<T>(
  given: Readonly<Record<string, T>>,
  options: Readonly<Record<string, OptionSchema>>,
): Record<string, T> {
  const newest = (name: string): string =>
    (Object.hasOwn(options, name) ? options[name]?.replacedBy : undefined) ?? name;
  const entries = Object.entries(given).map(([name, value]) => ({ name, to: newest(name), value }));
  const old = entries.filter(({ name, to }) => name !== to);
  const current = entries.filter(({ name, to }) => name === to);
  return Object.fromEntries([...old, ...current].map(({ to, value }) => [to, value]));
}

/** Values given over the manifest's defaults. */
function complete(
  given: Readonly<Record<string, unknown>>,
  options: Readonly<Record<string, OptionSchema>>,
): Record<string, unknown> {
  const defaults = Object.entries(options).filter(([, schema]) => schema.default !== undefined);
  return { ...Object.fromEntries(defaults.map(([name, schema]) => [name, structuredClone(schema.default)])), ...given };
}

function deviceConfig(given: unknown, kind: string | null, registry: Registry): DeviceConfig {
  const known = deviceManifest(registry, kind ?? '')?.options ?? {};
  const options = complete(renamed(given as Record<string, unknown>, known), known);
  return { ...options, kind: kind ?? '' };
}

function planNode(node: DraftNode, draft: Draft): PlanNode[] {
  const { manifest } = node;
  if (manifest === null) return [];
  const given = renamed(node.with === null ? {} : (toValue(node.with) as Record<string, unknown>), manifest.options);
  const locations = [...(node.with?.entries ?? [])].map(([option, { key, value }]) => [
    option,
    place(value.kind === 'scalar' && value.span.end > value.span.start ? value.span : key),
  ]);
  return [
    {
      name: node.name,
      ...described(node.description),
      manifest,
      ...(node.plugin === null ? {} : { plugin: node.plugin }),
      device: manifest.program === undefined ? null : (node.device?.name ?? null),
      inputs: Object.fromEntries(node.inputs.flatMap(({ name, ref }) => (ref === null ? [] : [[name, ref]]))),
      options: complete(given, manifest.options),
      given: Object.keys(given),
      after: [...dependencies(draft, node.name)],
      location: place(node.key),
      optionLocations: renamed(Object.fromEntries(locations), manifest.options),
    },
  ];
}
