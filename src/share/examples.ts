/** Examples of a lock: inputs as they are given, as they are run, and as a lock keeps them. */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { VlmError } from '../contracts/errors.js';
import type { ImageValue, PortValue } from '../contracts/ports.js';
import type { Plan, PlanInput } from '../contracts/recipe.js';
import { type InputGiven, type LoadedInputs, loadInputs } from '../runner/inputs/load.js';
import { canonicalJson, digestOf, isAddress, sha256Of } from './canonical.js';
import type { LockedExample, LockedInput, LockedValue } from './format.js';

export const MAX_EXAMPLES = 100;

/** Texts by input name, as `--example` gives them; an input that is not named takes its default. */
export type GivenExample = Readonly<Record<string, readonly string[]>>;

export interface Example {
  readonly loaded: LoadedInputs;
  readonly inputs: LockedExample['inputs'];
}

/**
 * `name=value` texts -> sets. A name that the set has already begins the next one; an input that takes many values may
 * be named several times in a row.
 */
export function groupExamples(plan: Plan, texts: readonly string[]): readonly GivenExample[] {
  const sets: Record<string, string[]>[] = [];
  let last = '';
  for (const text of texts) {
    const at = text.indexOf('=');
    const name = text.slice(0, Math.max(at, 0));
    const input = plan.inputs[name];
    if (at <= 0) {
      throw new VlmError('USAGE', {
        what: 'An --example is not written as name=value',
        expected: `such as --example ${Object.keys(plan.inputs)[0] ?? 'image'}=…`,
        received: text,
      });
    }
    if (input === undefined) throw unknownInput(plan, name);
    const current = sets.at(-1);
    const known = current?.[name];
    if (current === undefined || (known !== undefined && !(input.many && last === name))) {
      sets.push({ [name]: [text.slice(at + 1)] });
    } else {
      current[name] = [...(known ?? []), text.slice(at + 1)];
    }
    last = name;
  }
  if (sets.length > MAX_EXAMPLES) {
    throw new VlmError('USAGE', {
      what: 'There are too many examples',
      expected: `at most ${MAX_EXAMPLES}`,
      received: String(sets.length),
    });
  }
  return sets;
}

function unknownInput(plan: Plan, name: string): VlmError {
  return new VlmError('INPUT_UNKNOWN', {
    what: `The recipe has no input "${name}"`,
    expected: `one of ${Object.keys(plan.inputs).join(', ')}`,
    received: name,
  });
}

/** Whether the recipe runs with nothing given. */
export function hasDefaults(plan: Plan): boolean {
  return Object.values(plan.inputs).every((input) => !input.required || (input.default ?? null) !== null);
}

/** The folder that examples must lie in: the project's (package.json or .git), else the recipe's own or the one above. */
export function projectFolder(recipe: string): string {
  const own = dirname(resolve(recipe));
  for (let dir = own; dirname(dir) !== dir && dir !== homedir(); dir = dirname(dir)) {
    if (existsSync(join(dir, '.git')) || existsSync(join(dir, 'package.json'))) return dir;
  }
  const above = dirname(own);
  return dirname(above) === above || above === homedir() ? own : above;
}

/** A place as a lock may hold it: from the recipe's folder, or an address. Throws OPTION_INVALID. */
function placeOf(plan: Plan, value: string, cwd: string): string {
  if (isAddress(value)) return publicAddress(value);
  const project = projectFolder(plan.file);
  const path = resolve(cwd, value);
  if (/^data:/i.test(value) || value === '-' || !`${path}${sep}`.startsWith(`${project}${sep}`)) {
    throw new VlmError('OPTION_INVALID', {
      what: 'An example cannot be found again on another machine',
      expected: 'a file in the recipe’s project, which the lock can name without a path of this machine',
      received: value.slice(0, 120),
      where: project,
      hint: 'copy the file beside the recipe and give that copy',
    });
  }
  return relative(dirname(plan.file), path).split(sep).join('/');
}

/** Locks are shared: what follows a `?` or stands before an `@` may be a key. */
function publicAddress(address: string): string {
  if (!/[?#]|\/\/[^/]*@/.test(address)) return address;
  throw new VlmError('OPTION_INVALID', {
    what: 'The address of an example may hold a key, and a lock would publish it',
    expected: 'an address without user, query and fragment',
    received: address.replace(/[?#].*$/s, '').replace(/\/\/[^/]*@/, '//'),
    hint: 'download the file into the recipe’s project and give that copy',
  });
}

/** Reads an example that is given in words. Throws what placeOf and reading throw. */
export async function openExample(plan: Plan, given: GivenExample, cwd = process.cwd()): Promise<Example> {
  const places: Record<string, readonly string[]> = {};
  const values: Record<string, InputGiven> = {};
  for (const [name, texts] of Object.entries(given)) {
    const input = plan.inputs[name];
    if (input === undefined) throw unknownInput(plan, name);
    if (input.type === 'text') {
      values[name] = oneOf(texts, input);
      continue;
    }
    places[name] = texts.map((text) => placeOf(plan, text, cwd));
    const absolute = texts.map((text) => (isAddress(text) ? text : resolve(cwd, text)));
    values[name] = oneOf(absolute, input);
  }
  const loaded = await loadInputs(plan, values);
  return { loaded, inputs: lockedInputs(plan, loaded, places) };
}

function oneOf(texts: readonly string[], input: PlanInput): InputGiven {
  const [only] = texts;
  return texts.length === 1 && only !== undefined && !input.many ? only : texts;
}

function lockedInputs(
  plan: Plan,
  loaded: LoadedInputs,
  places: Readonly<Record<string, readonly string[]>>,
): LockedExample['inputs'] {
  const entries = Object.entries(loaded.values).map(([name, value]): [string, LockedInput] => {
    const list = (Array.isArray(value) ? value : [value]) as readonly PortValue[];
    return [name, lockedInput(list, places[name], plan.inputs[name])];
  });
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function lockedInput(
  list: readonly PortValue[],
  places: readonly string[] | undefined,
  input: PlanInput | undefined,
): LockedInput {
  const [first] = list;
  if (input?.type === 'text') {
    const texts = list.map((v) => (v.kind === 'text' ? v.text : ''));
    const text = input.many ? texts : (texts[0] ?? '');
    const isDefault = canonicalJson(text) === canonicalJson(input.default ?? null);
    return { type: 'text', text, ...(isDefault ? { default: true } : {}) };
  }
  const isDefault = places === undefined ? { default: true as const } : {};
  if (first?.kind === 'messages') {
    const [place] = places ?? [];
    return {
      type: 'messages',
      sha256: digestOf(first.messages),
      images: first.images.map((image) => lockedValue(image, undefined)),
      ...(place === undefined ? {} : { place }),
      ...isDefault,
    };
  }
  const images = list.flatMap((v) => (v.kind === 'image' ? [v] : []));
  return { type: 'image', images: images.map((image, i) => lockedValue(image, places?.[i])), ...isDefault };
}

function lockedValue(image: ImageValue, place: string | undefined): LockedValue {
  const { name, bytes } = image;
  return { name, bytes: bytes.length, sha256: sha256Of(bytes), ...(place === undefined ? {} : { place }) };
}

/** Name of a picture or conversation inside a pack: known by its content, and readable. */
export function packedName(sha256: string, name: string, ending = ''): string {
  const base = basename(name)
    .replace(/[^\w.-]+/g, '_')
    .replace(/^\.+/, '')
    .slice(-60);
  return `examples/${sha256.slice(0, 12)}-${base === '' ? 'value' : base}${ending}`;
}

export const packedMessages = (sha256: string): string => packedName(sha256, 'messages', '.json');

/**
 * Reads an example of a lock again: from its place, or beside the recipe where a pack puts it. Digests are for the
 * caller to compare. Throws what reading throws.
 */
export async function reopenExample(plan: Plan, example: LockedExample): Promise<Example> {
  const base = dirname(plan.file);
  const find = (place: string, packed: string): string => {
    if (isAddress(place)) return place;
    const inPack = join(base, packed);
    return existsSync(inPack) ? inPack : resolve(base, place);
  };
  const values: Record<string, InputGiven> = {};
  const places: Record<string, readonly string[]> = {};
  for (const [name, input] of Object.entries(example.inputs)) {
    const many = plan.inputs[name]?.many === true;
    if (input.type === 'text') {
      values[name] = input.text;
    } else if (input.default === true) {
      // The recipe says where it is.
    } else if (input.type === 'messages') {
      if (input.place === undefined) continue;
      places[name] = [input.place];
      values[name] = find(input.place, packedMessages(input.sha256));
    } else {
      const images = input.images.flatMap(({ name: file, sha256, place }) =>
        place === undefined ? [] : [{ place, path: find(place, packedName(sha256, file)) }],
      );
      places[name] = images.map((image) => image.place);
      const [only] = images;
      values[name] = !many && only !== undefined ? only.path : images.map((image) => image.path);
    }
  }
  const loaded = await loadInputs(plan, values);
  return { loaded, inputs: lockedInputs(plan, loaded, places) };
}

/** How messages name an example. */
export function exampleName(example: LockedExample, index: number): string {
  const isDefault = Object.values(example.inputs).every((input) => input.default === true);
  return isDefault ? 'default' : `example ${index + 1}`;
}
