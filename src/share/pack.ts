/** Gathers what a pack holds: the recipe with every place inside the pack, its lock, examples, and the model if small. */
import { existsSync, readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, join, relative, sep } from 'node:path';
import { VlmError } from '../contracts/errors.js';
import type { Plan } from '../contracts/recipe.js';
import { fileDigest } from '../model/digest.js';
import { typed } from '../util/typed-command.js';
import { addressesIn, sha256Of } from './canonical.js';
import { compareHeads } from './compare.js';
import { modelOf, placedFiles } from './files.js';
import { isPackName, type Lock, lockFileOf } from './format.js';
import { type LockOptions, lockHead, lockText, makeLock } from './lock.js';
import { LOCK, type PackManifest, RECIPE } from './pack-format.js';
import { addDefaults, addExamples, type Files } from './pack-inputs.js';
import { type PackRequest, type WrittenPack, writePack } from './packer.js';
import { parseLock } from './read-lock.js';

/** Models up to this size go along without being asked for. */
export const SMALL_MODEL_BYTES = 64 * 1024 * 1024;

export interface PackOptions extends LockOptions {
  readonly out: string;
  readonly includeModel?: boolean;
  /** Without it SMALL_MODEL_BYTES. */
  readonly smallModelBytes?: number;
  /** Called when there is no lock yet and one is made. */
  readonly onLocking?: () => void;
  readonly onPacking?: PackRequest['onProgress'];
}

export interface PackedRecipe extends WrittenPack {
  readonly model: PackManifest['model'];
  /** A lock that was made because there was none. */
  readonly madeLock: string | null;
  readonly notes: readonly string[];
}

/** Throws LOCK_INVALID when the lock no longer fits, OPTION_INVALID for what a pack cannot hold, and what packing throws. */
export async function packRecipe(plan: Plan, options: PackOptions): Promise<PackedRecipe> {
  checkPackable(plan);
  checkName(options.out);
  const { lock, text, made } = await lockFor(plan, options);
  const files: Files = new Map();
  files.set(LOCK, { bytes: new TextEncoder().encode(text) });
  await addExamples(plan, lock, files);
  const defaults = await addDefaults(plan, files);
  const plugins = await addPlugins(plan, files);
  const packed = await addModel(plan, files, options);
  files.set(RECIPE, { bytes: await recipeText(plan, defaults, plugins, packed.reference) });
  const written = await writePack({
    path: options.out,
    name: plan.name,
    model: packed.model,
    files,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(options.onPacking === undefined ? {} : { onProgress: options.onPacking }),
  });
  return { ...written, model: packed.model, madeLock: made, notes: packed.notes };
}

/** Before the work: under another name nothing would open what was written. */
function checkName(out: string): void {
  if (isPackName(out)) return;
  throw new VlmError('USAGE', {
    what: 'A pack is known by the end of its name',
    expected: 'a name that ends in .tgz or .tar.gz',
    received: basename(out),
    hint: `--out ${basename(out)}.tgz`,
  });
}

function checkPackable(plan: Plan): void {
  for (const input of Object.values(plan.inputs)) {
    const [address] = input.type === 'text' ? [] : addressesIn(input.default);
    if (address === undefined) continue;
    throw new VlmError('OPTION_INVALID', {
      what: 'A default of the recipe lies on the network, and a pack holds its inputs itself',
      received: address.slice(0, 120),
      where: `inputs.${input.name}.default`,
      hint: 'download it beside the recipe and name the file',
    });
  }
}

/** The lock beside the recipe, which must fit it; without one, a new one. */
async function lockFor(
  plan: Plan,
  options: PackOptions,
): Promise<{ readonly lock: Lock; readonly text: string; readonly made: string | null }> {
  const path = lockFileOf(plan.file);
  if (!existsSync(path)) {
    options.onLocking?.();
    const lock = await makeLock(plan, options);
    const text = lockText(lock);
    // Beside the recipe it would stand for the recipe as it is written, not as it was changed for this pack.
    if (options.recipeArguments?.some((text) => text !== '--allow-plugins') === true) return { lock, text, made: null };
    const { writeFileAtomic } = await import('../util/atomic-write.js');
    await writeFileAtomic(path, text);
    return { lock, text, made: path };
  }
  const text = readFileSync(path, 'utf8');
  const lock = parseLock(text, path);
  const head = await lockHead(plan, lock.tolerances, options);
  const broken = compareHeads(lock, head).find((f) => f.status === 'break');
  const message =
    broken?.message ?? (lock.recipe.sha256 === head.recipe.sha256 ? null : 'it was made for other devices');
  if (message !== null) {
    throw new VlmError('LOCK_INVALID', {
      what: 'The lock no longer fits the recipe',
      received: broken === undefined ? message : `${broken.layer}: ${message}`,
      where: path,
      hint: `lock it again: ${typed(['vlm-run', 'lock', relative(process.cwd(), plan.file), ...(options.recipeArguments ?? [])])}`,
    });
  }
  return { lock, text, made: null };
}

async function addPlugins(plan: Plan, files: Files): Promise<ReadonlyMap<string, string>> {
  const names = new Map<string, string>();
  for (const { plugin } of plan.nodes) {
    if (plugin === undefined || names.has(plugin)) continue;
    const bytes = readFileSync(plugin);
    const [, imported] = /(?:from|import|require)\s*\(?\s*['"](\.{1,2}\/[^'"]*)['"]/.exec(bytes.toString('utf8')) ?? [];
    if (imported !== undefined) {
      throw new VlmError('OPTION_INVALID', {
        what: 'A node module imports another file, which a pack does not hold',
        received: imported,
        where: basename(plugin),
        hint: 'bundle the module into one file',
      });
    }
    const packed = `plugins/${sha256Of(bytes).slice(0, 12)}/${basename(plugin)}`;
    files.set(packed, { bytes: new Uint8Array(bytes) });
    names.set(plugin, packed);
  }
  return names;
}

interface PackedModel {
  readonly model: PackManifest['model'];
  /** `model:` of the packed recipe. */
  readonly reference: Readonly<Record<string, unknown>>;
  readonly notes: readonly string[];
}

async function addModel(plan: Plan, files: Files, options: PackOptions): Promise<PackedModel> {
  const folder = await modelOf(plan);
  const placed = (await placedFiles(plan, folder)).filter((file) => file.use !== 'plugin');
  const sized = await Promise.all(
    placed.map(async (file) => {
      const { size } = await stat(file.path);
      return { ...file, size };
    }),
  );
  const total = sized.reduce((n, file) => n + file.size, 0);
  const { hub, revision } = plan.model;
  const published = { ...(hub === undefined ? {} : { hub }), ...(revision === undefined ? {} : { revision }) };
  const notes = plan.nodes.some(({ device }) => plan.devices[device ?? '']?.kind === 'ai100')
    ? ['programs for cards are not in the pack: vlm-run compile makes them from it']
    : [];
  if (total > (options.smallModelBytes ?? SMALL_MODEL_BYTES) && options.includeModel !== true) {
    if (folder.hub === null) throw tooLarge(total, folder.name);
    const { id, revision: branch, commit } = folder.hub;
    return {
      model: { included: false, hub: id, revision: branch, commit },
      reference: published,
      notes: [...notes, `the model is not in the pack: vlm-run models pull ${id}, and its exported programs beside it`],
    };
  }
  const programs: Record<string, string> = {};
  for (const file of sized) {
    const name = `model/${placeIn(file.path, folder.folders) ?? file.name}`;
    const known = files.get(name);
    if (known !== undefined) throw collision(name);
    files.set(name, { path: file.path, size: file.size, sha256: await fileDigest(file.path) });
    for (const role of ['vision', 'language'] as const) {
      if (folder.programs[role].path === file.path) programs[role] = name;
    }
  }
  return { model: { included: true }, reference: { path: 'model', ...published, programs }, notes };
}

/** As it lies in the model's folder; a file from elsewhere goes by its name. */
function placeIn(path: string, folders: readonly string[]): string | null {
  const inside = folders.map((root) => relative(root, path)).find((name) => name !== '' && !name.startsWith('..'));
  return inside === undefined ? null : inside.split(sep).join('/');
}

function tooLarge(total: number, name: string): VlmError {
  const mib = (bytes: number): string => `${Math.round(bytes / 1024 / 1024)} MiB`;
  return new VlmError('OPTION_INVALID', {
    what: `The model ${name} is too large to go along unasked`,
    expected: `at most ${mib(SMALL_MODEL_BYTES)}, or model.hub in the recipe`,
    received: mib(total),
    hint: 'give --include-model, or name where the model is published',
  });
}

function collision(name: string): VlmError {
  return new VlmError('OPTION_INVALID', {
    what: 'Two files of the model have the same name',
    received: name,
    where: 'model.programs',
    hint: 'put the programs and their data into the model’s folder under names of their own',
  });
}

/** The recipe as resolved, with every place inside the pack. Sorted by its own order: a recipe reads top to bottom. */
async function recipeText(
  plan: Plan,
  defaults: ReadonlyMap<string, string | readonly string[]>,
  plugins: ReadonlyMap<string, string>,
  model: Readonly<Record<string, unknown>>,
): Promise<Uint8Array> {
  const { version, name, description, inputs, nodes, outputs } = plan.recipe;
  const used = new Set(plan.nodes.map((node) => node.name));
  const plugin = new Map(plan.nodes.flatMap((node) => (node.plugin === undefined ? [] : [[node.name, node.plugin]])));
  const recipe = {
    version,
    name,
    ...(description === undefined ? {} : { description }),
    model,
    inputs: Object.fromEntries(
      Object.entries(inputs).map(([key, input]) => {
        const packed = defaults.get(key);
        return [key, packed === undefined ? input : { ...input, default: packed }];
      }),
    ),
    devices: Object.fromEntries(
      Object.entries(plan.recipe.devices).map(([key, { programs: _, ...device }]) => [key, device]),
    ),
    nodes: Object.fromEntries(
      Object.entries(nodes)
        .filter(([key]) => used.has(key))
        .map(([key, node]) => {
          const packed = plugins.get(plugin.get(key) ?? '');
          return [key, packed === undefined ? node : { ...node, kind: `./${packed}` }];
        }),
    ),
    outputs,
  };
  const { stringify } = await import('yaml');
  const head = '# Packed by vlm-run: complete, and with every file it names beside it.\n';
  return new TextEncoder().encode(head + stringify(recipe, { lineWidth: 0, aliasDuplicateObjects: false }));
}

export function packFileOf(recipe: string): string {
  return join(process.cwd(), `${basename(recipe).replace(/\.ya?ml$/i, '')}.vlm.tgz`);
}
