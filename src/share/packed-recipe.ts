/** A pack's recipe names only files of the pack. Whoever wrote it by hand may have thought otherwise. */
import { readFileSync } from 'node:fs';
import { basename, join, relative, resolve, sep } from 'node:path';
import type { Compilation, Plan } from '../contracts/recipe.js';
import { packedMessages, packedName } from './examples.js';
import { LOCK, packInvalid, RECIPE } from './pack-format.js';
import { parseLock } from './read-lock.js';
import type { OpenedPack } from './unpack.js';

/** The recipe of a pack, opened and checked as it was packed: what the caller changes may lie anywhere. */
export async function openPackedRecipe(
  file: string,
  options: { readonly allowPlugins?: boolean } = {},
): Promise<string> {
  const [{ openPack }, { compileRecipe }] = await Promise.all([import('./unpack.js'), import('../compose/recipes.js')]);
  const pack = await openPack(file);
  const { allowPlugins } = options;
  // Checking a recipe runs the code of its node modules.
  if (allowPlugins === true) await checkModules(pack);
  checkPackedRecipe(await compileRecipe(pack.recipe, allowPlugins === undefined ? {} : { allowPlugins }), pack);
  return pack.recipe;
}

async function checkModules(pack: OpenedPack): Promise<void> {
  const { parse } = await import('yaml');
  let recipe: unknown;
  try {
    recipe = parse(readFileSync(pack.recipe, 'utf8'));
  } catch {
    throw packInvalid('its recipe is not YAML', RECIPE);
  }
  const nodes: unknown = Reflect.get(Object(recipe), 'nodes');
  for (const [name, node] of Object.entries(Object(nodes) as object)) {
    const kind: unknown = Reflect.get(Object(node), 'kind');
    if (typeof kind !== 'string' || !/[./\\]/.test(kind)) continue;
    if (!isFile(resolve(pack.folder, kind), pack)) throw leads(`nodes.${name}.kind`);
  }
}

/** `compilation` of the pack's recipe without any change by the caller. Throws PACK_INVALID. */
export function checkPackedRecipe({ plan, sources }: Compilation, pack: OpenedPack): void {
  if ((sources?.length ?? 0) > 1) throw packInvalid('its recipe extends another one');
  if (plan !== null) checkPlan(plan, pack);
  checkLock(pack);
}

function checkPlan(plan: Plan, pack: OpenedPack): void {
  const { path, programs } = plan.model;
  if (path !== undefined && !isInside(path, pack.folder)) throw leads('model.path');
  for (const [role, program] of Object.entries(programs ?? {})) {
    if (typeof program === 'string' && !isFile(program, pack)) throw leads(`model.programs.${role}`);
  }
  for (const [name, device] of Object.entries(plan.devices)) {
    if (device['programs'] !== undefined) throw leads(`devices.${name}.programs`);
  }
  for (const node of plan.nodes) {
    if (node.plugin !== undefined && !isFile(node.plugin, pack)) throw leads(`nodes.${node.name}.kind`);
  }
  for (const input of Object.values(plan.inputs)) {
    if (input.type === 'text') continue;
    for (const file of placesIn(input.default)) {
      if (!isFile(file, pack)) throw leads(`inputs.${input.name}.default`);
      if (input.type === 'messages') checkConversation(file, pack);
    }
  }
}

/** Every string that is not the text of a message. */
function placesIn(value: unknown): readonly string[] {
  if (typeof value === 'string') return /^data:/i.test(value) ? [] : [value];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    key === 'text' || key === 'role' || key === 'type' || (key === 'content' && typeof inner === 'string')
      ? []
      : placesIn(inner),
  );
}

/** Pictures of a conversation lie beside it. */
function checkConversation(path: string, pack: OpenedPack): void {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    throw packInvalid('a conversation is not JSON', nameOf(path, pack.folder));
  }
  for (const place of placesIn(value)) {
    if (place !== basename(place) || !isFile(join(path, '..', place), pack)) throw leads(nameOf(path, pack.folder));
  }
}

/** Whatever the lock's examples need beyond the recipe's defaults is in the pack. */
function checkLock(pack: OpenedPack): void {
  const lock = parseLock(readFileSync(join(pack.folder, LOCK), 'utf8'), LOCK);
  for (const { inputs } of lock.examples) {
    for (const input of Object.values(inputs)) {
      if (input.type === 'text' || input.default === true) continue;
      const needed =
        input.type === 'messages'
          ? [packedMessages(input.sha256)]
          : input.images.map((image) => packedName(image.sha256, image.name));
      for (const name of needed) {
        if (!Object.hasOwn(pack.manifest.files, name)) throw packInvalid('an example of the lock is not in it', name);
        if (input.type === 'messages') checkConversation(join(pack.folder, name), pack);
      }
    }
  }
}

function nameOf(path: string, folder: string): string {
  return relative(folder, path).split(sep).join('/');
}

function isInside(path: string, folder: string): boolean {
  const name = nameOf(path, folder);
  return name !== '' && name !== '..' && !name.startsWith('../') && !name.startsWith('/');
}

function isFile(path: string, pack: OpenedPack): boolean {
  return Object.hasOwn(pack.manifest.files, nameOf(path, pack.folder));
}

function leads(where: string): Error {
  return packInvalid('its recipe names something outside of it', where);
}
