/**
 * A run beside a lock: says where it departs from it, from what can be known without running the examples. Large files
 * are only measured, unless their digests are remembered from earlier.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import type { Plan } from '../contracts/recipe.js';
import { cacheFolder } from '../devices/ai100/compile/cache.js';
import { knownDigest, rememberedDigest } from '../devices/ai100/compile/digests.js';
import { PREPROCESSING_VERSION } from '../image/preprocessing-version.js';
import { canonicalRecipe, differences, differenceText, digestOf } from './canonical.js';
import { compiledPrograms, modelOf, placedFiles, SMALL_BYTES } from './files.js';
import { type Lock, lockFileOf } from './format.js';

export interface Departure {
  /** Name of the lock file. */
  readonly lock: string;
  /** Empty: nothing was found. */
  readonly departs: readonly string[];
}

/**
 * Null without a lock beside the recipe. Never throws: a run does not fail for its lock. `resolved` is the plan with
 * compiled programs in place.
 */
export async function departureOf(
  plan: Plan,
  resolved: Plan,
  versions: Readonly<Record<string, string>>,
): Promise<Departure | null> {
  const path = lockFileOf(plan.file);
  if (!existsSync(path)) return null;
  const lock = basename(path);
  try {
    const value = JSON.parse(readFileSync(path, 'utf8')) as Lock;
    if (value.format !== 1) return { lock, departs: ['it is of a format that this vlm-run does not read'] };
    return { lock, departs: await departures(plan, resolved, value, versions) };
  } catch (error) {
    return { lock, departs: [`it cannot be compared: ${error instanceof Error ? error.message : String(error)}`] };
  }
}

async function departures(
  plan: Plan,
  resolved: Plan,
  lock: Lock,
  versions: Readonly<Record<string, string>>,
): Promise<readonly string[]> {
  const cache = cacheFolder();
  const found: string[] = [];
  const recipe = await canonicalRecipe(plan, (path) => rememberedDigest(path, cache));
  if (digestOf(recipe) !== lock.recipe.sha256) {
    found.push(...differences(lock.recipe.resolved, recipe).map(differenceText));
  }
  const placed = await placedFiles(plan, await modelOf(plan));
  for (const { name, use, path } of placed) {
    const locked = lock.model.files.find((file) => file.name === name && file.use === use);
    if (locked === undefined) found.push(`${name} is not in the lock`);
    else if (statSync(path).size !== locked.bytes) found.push(`${name} has another size`);
    else {
      const digest = locked.bytes <= SMALL_BYTES ? await rememberedDigest(path, cache) : await knownDigest(path, cache);
      if (digest !== null && digest !== locked.sha256) found.push(`${name} has other content`);
    }
  }
  for (const { name, use } of lock.model.files) {
    if (!placed.some((file) => file.name === name && file.use === use)) found.push(`${name} is not there`);
  }
  const compiled = await compiledPrograms(resolved);
  for (const { device, role, compiled: locked } of lock.programs) {
    const here = compiled.get(`${device} ${role}`);
    if (locked === undefined || here === undefined) continue;
    found.push(...differences(locked, here, `the compiled ${role} program: `).map(differenceText));
  }
  if (lock.preprocessing !== PREPROCESSING_VERSION) {
    found.push(`preprocessing is version ${PREPROCESSING_VERSION} (lock: ${lock.preprocessing})`);
  }
  for (const [name, version] of Object.entries(lock.versions)) {
    if (versions[name] !== version) found.push(`${name} is ${versions[name] ?? 'absent'} (lock: ${version})`);
  }
  return found;
}

/** One sentence; a long list is cut. */
export function departureText({ lock, departs }: Departure): string {
  const shown = departs.slice(0, 3).join('; ');
  const more = departs.length > 3 ? `; and ${departs.length - 3} more` : '';
  return `this run departs from ${lock}: ${shown}${more}`;
}
