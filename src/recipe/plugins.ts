/** Node kinds that are a user's own modules: `kind: ./my-node.js`. Their code runs only when the caller allows it. */
import { VlmError } from '../contracts/errors.js';
import { LEDGER_STAGES, type NodeManifest } from '../contracts/node.js';
import { PORT_KINDS } from '../contracts/ports.js';
import { pluginPath } from './draft.js';
import type { Problems } from './problems.js';
import { mapAt, type SourceMap } from './source.js';

export type LoadPlugin = (absolutePath: string) => Promise<NodeManifest>;

export interface PluginOptions {
  readonly allowPlugins?: boolean | undefined;
  readonly loadPlugin?: LoadPlugin | undefined;
}

/** Manifests of the plugin kinds in the recipe, by absolute path. */
export async function loadPlugins(
  tree: SourceMap,
  { allowPlugins, loadPlugin }: PluginOptions,
  problems: Problems,
): Promise<ReadonlyMap<string, NodeManifest>> {
  const manifests = new Map<string, NodeManifest>();
  for (const [name, { value }] of mapAt(tree, 'nodes')?.entries ?? []) {
    const kind = value.kind === 'map' ? value.entries.get('kind')?.value : undefined;
    if (kind?.kind !== 'scalar' || typeof kind.value !== 'string') continue;
    const path = pluginPath(kind.value, kind.span);
    if (path === null || manifests.has(path)) continue;
    const where = { at: kind.span, path: ['nodes', name, 'kind'] };
    if (allowPlugins !== true || loadPlugin === undefined) {
      problems.add('E_PLUGIN', `node "${name}" runs code of its own (${kind.value})`, {
        ...where,
        hint: 'allow it with --allow-plugins when you trust the recipe',
      });
      continue;
    }
    try {
      const manifest: unknown = await loadPlugin(path);
      const trouble = manifestTrouble(manifest);
      if (trouble === null) manifests.set(path, manifest as NodeManifest);
      else problems.add('E_PLUGIN', `the manifest of ${kind.value} is not usable: ${trouble}`, where);
    } catch (error) {
      const hint = error instanceof VlmError ? error.details.hint : undefined;
      const message = error instanceof Error ? error.message : String(error);
      problems.add('E_PLUGIN', `${kind.value} cannot be loaded: ${message}`, { ...where, hint });
    }
  }
  return manifests;
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isPortKind = (kind: unknown): boolean => PORT_KINDS.some((k) => k === kind);

/** Why a value that a plugin exports is not a manifest; null when it is one. */
export function manifestTrouble(manifest: unknown): string | null {
  if (!isObject(manifest)) return 'it exports no object named "manifest"';
  for (const key of ['kind', 'description']) {
    if (typeof manifest[key] !== 'string') return `"${key}" must be text`;
  }
  for (const key of ['inputs', 'outputs', 'options']) {
    if (!isObject(manifest[key])) return `"${key}" must be an object`;
  }
  if (!LEDGER_STAGES.some((s) => s === manifest['stage'])) return `"stage" must be one of ${LEDGER_STAGES.join(', ')}`;
  const program = manifest['program'];
  if (program !== undefined && program !== 'vision' && program !== 'language') {
    return '"program" must be "vision" or "language", or be left out';
  }
  for (const [name, port] of Object.entries(manifest['inputs'] as object)) {
    const kinds: unknown = isObject(port) ? port['kind'] : undefined;
    const list: readonly unknown[] = Array.isArray(kinds) ? kinds : [kinds];
    if (list.length === 0 || !list.every(isPortKind)) return `input "${name}" has no kind of ${PORT_KINDS.join(', ')}`;
  }
  for (const [name, port] of Object.entries(manifest['outputs'] as object)) {
    if (!isObject(port) || !isPortKind(port['kind'])) return `output "${name}" has no kind of ${PORT_KINDS.join(', ')}`;
  }
  const options = manifest['options'] as object;
  for (const [name, option] of Object.entries(options)) {
    if (!isObject(option) || typeof option['description'] !== 'string') return `option "${name}" has no description`;
    const newer = option['replacedBy'];
    if (newer !== undefined && (typeof newer !== 'string' || newer === name || !Object.hasOwn(options, newer))) {
      return `"replacedBy" of option "${name}" must name another option`;
    }
  }
  return null;
}
