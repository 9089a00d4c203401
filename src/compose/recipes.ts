/** Recipes with the built-in kinds: what the command line and the library compile with. */
import { VlmError } from '../contracts/errors.js';
import type { Compilation, Diagnostic, Plan } from '../contracts/recipe.js';
import { DEVICE_MANIFESTS } from '../devices/manifests.js';
import { NODE_MANIFESTS } from '../nodes/manifests.js';
import { compile, formatDiagnostics, type Registry } from '../recipe/index.js';
import { modelWarnings } from './model-facts.js';

export const REGISTRY: Registry = { nodes: NODE_MANIFESTS, devices: DEVICE_MANIFESTS };

export interface RecipeOptions {
  /** `path=value` changes, in order, as `--set` takes them. */
  readonly set?: readonly string[];
  /** `name=kind[:ids]` changes, as `--device` takes them. */
  readonly devices?: readonly string[];
  /** Lets the recipe run node modules of its own. */
  readonly allowPlugins?: boolean;
  /** Folder that places in `set` start from. Default: the working directory. */
  readonly cwd?: string;
}

/** Problems of the recipe are diagnostics, never exceptions. */
export async function compileRecipe(file: string, options: RecipeOptions = {}): Promise<Compilation> {
  const compilation = await compile(file, {
    registry: REGISTRY,
    set: options.set,
    devices: options.devices,
    allowPlugins: options.allowPlugins,
    cwd: options.cwd,
    loadPlugin: async (path) => (await import('../runner/plugin.js')).loadPluginManifest(path),
  });
  const { plan, diagnostics, sources } = compilation;
  if (plan === null) return compilation;
  return { ...compilation, diagnostics: [...diagnostics, ...modelWarnings(plan, sources)] };
}

/** The plan of a compilation, or its errors as one VlmError. */
export function requirePlan(compilation: Compilation, options: RecipeOptions = {}): Plan {
  const { plan, diagnostics } = compilation;
  if (plan !== null) return plan;
  const errors = diagnostics.filter((d) => d.severity === 'error');
  const [first] = errors;
  const only = (code: Diagnostic['code']): boolean => errors.length > 0 && errors.every((d) => d.code === code);
  const code =
    only('E_PLUGIN') && options.allowPlugins !== true
      ? 'PLUGIN_FORBIDDEN'
      : only('E_PLUGIN')
        ? 'PLUGIN_INVALID'
        : only('E_READ')
          ? 'RECIPE_UNREADABLE'
          : only('E_SET')
            ? 'SET_INVALID'
            : 'RECIPE_INVALID';
  const count = errors.length === 1 ? 'an error' : `${errors.length} errors`;
  throw new VlmError(code, {
    what: `The recipe has ${count}`,
    received: formatDiagnostics(errors, { color: false }).trimEnd(),
    ...(first?.location === undefined ? {} : { location: first.location }),
    ...(first?.hint === undefined ? {} : { hint: first.hint }),
  });
}
