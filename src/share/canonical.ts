/**
 * The canonical form of a recipe: what it computes, not how it is written. Options are complete, keys sorted, and
 * whatever names a place is replaced by the content found there, so the same recipe has one digest on every machine,
 * in every folder and inside a pack. Names, descriptions and comments are left out.
 */
import { createHash } from 'node:crypto';
import { VlmError } from '../contracts/errors.js';
import type { Plan, PlanInput, PlanNode } from '../contracts/recipe.js';
import { referenceText } from '../recipe/index.js';
import { loadInputs } from '../runner/inputs/load.js';

export interface CanonicalRecipe {
  readonly version: 1;
  readonly model: { readonly hub?: string; readonly revision?: string };
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly devices: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly nodes: Readonly<Record<string, unknown>>;
  readonly outputs: Readonly<Record<string, string>>;
}

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** Plain data with sorted keys and without `undefined`. */
function sorted(value: unknown): Json {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value)
      .filter(([, inner]) => inner !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
  }
  return value as Json;
}

export function canonicalJson(value: unknown): string {
  return JSON.stringify(sorted(value));
}

export function sha256Of(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

export function digestOf(value: unknown): string {
  return sha256Of(canonicalJson(value));
}

export const isAddress = (value: string): boolean => /^https?:/i.test(value);

/** `pluginDigest`: digest of a node module's file. */
export async function canonicalRecipe(
  plan: Plan,
  pluginDigest: (path: string) => Promise<string>,
): Promise<CanonicalRecipe> {
  const inputs: Record<string, unknown> = {};
  for (const input of Object.values(plan.inputs)) {
    const { type, many, required } = input;
    inputs[input.name] = { type, many, required, default: await canonicalDefault(plan, input) };
  }
  const nodes: Record<string, unknown> = {};
  for (const node of plan.nodes) nodes[node.name] = await canonicalNode(node, pluginDigest);
  const used = new Set(plan.nodes.flatMap((node) => node.device ?? []));
  const { hub, revision } = plan.model;
  return sorted({
    version: 1,
    // Programs and folders are known by their files' digests.
    model: { hub, revision },
    inputs,
    devices: Object.fromEntries(
      Object.entries(plan.devices)
        .filter(([name]) => used.has(name))
        .map(([name, { programs: _, ...config }]) => [name, config]),
    ),
    nodes,
    outputs: Object.fromEntries(Object.entries(plan.outputs).map(([name, { ref }]) => [name, referenceText(ref)])),
  }) as unknown as CanonicalRecipe;
}

async function canonicalNode(node: PlanNode, pluginDigest: (path: string) => Promise<string>): Promise<unknown> {
  return {
    kind: node.plugin === undefined ? node.manifest.kind : { plugin: await pluginDigest(node.plugin) },
    device: node.device ?? undefined,
    inputs: Object.fromEntries(Object.entries(node.inputs).map(([port, ref]) => [port, referenceText(ref)])),
    with: node.options,
  };
}

/** Text as it is; pictures and conversations by the digests of what they hold; an address stays one. */
async function canonicalDefault(plan: Plan, input: PlanInput): Promise<unknown> {
  const { default: value, type } = input;
  if (value === undefined || value === null) return undefined;
  if (type === 'text') return value;
  if (addressesIn(value).length > 0) return value;
  try {
    const { digests } = await loadInputs({ ...plan, inputs: { [input.name]: input } }, {});
    return digests.map(({ sha256 }) => sha256);
  } catch (error) {
    if (error instanceof VlmError && error.code === 'INPUT_UNREADABLE') return 'unreadable';
    throw error;
  }
}

/** Addresses on the network that a default names, however deep. */
export function addressesIn(value: unknown): readonly string[] {
  if (typeof value === 'string') return isAddress(value) ? [value] : [];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => (key === 'text' ? [] : addressesIn(inner)));
}

export interface Difference {
  /** Place in the recipe, such as nodes.decode.with.ctx_len. */
  readonly path: string;
  readonly locked: unknown;
  readonly here: unknown;
}

/** Where two canonical values differ, in order of their paths. */
export function differences(locked: unknown, here: unknown, path = ''): readonly Difference[] {
  if (canonicalJson(locked ?? null) === canonicalJson(here ?? null)) return [];
  if (!isMap(locked) || !isMap(here)) return [{ path, locked, here }];
  // Another kind of device or node has other options: naming each of them says nothing.
  if ('kind' in locked && canonicalJson(locked['kind']) !== canonicalJson(here['kind'] ?? null)) {
    return [{ path: `${path}.kind`, locked: locked['kind'], here: here['kind'] }];
  }
  const keys = [...new Set([...Object.keys(locked), ...Object.keys(here)])].sort();
  return keys.flatMap((key) => differences(locked[key], here[key], path === '' ? key : `${path}.${key}`));
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function differenceText({ path, locked, here }: Difference): string {
  const show = (value: unknown): string => {
    const text = value === undefined || value === null ? 'absent' : (JSON.stringify(value) ?? 'absent');
    return text.length > 60 ? `${text.slice(0, 57)}…` : text;
  };
  return `${path} is ${show(here)} (lock: ${show(locked)})`;
}
