/** Makes the lock of a recipe: digests of all it depends on, and what its examples gave. */
import { basename } from 'node:path';
import { VlmError } from '../contracts/errors.js';
import type { Plan } from '../contracts/recipe.js';
import { PREPROCESSING_VERSION } from '../image/preprocessing-version.js';
import { fileDigest } from '../model/digest.js';
import type { ModelFolder } from '../model/folder.js';
import { canonicalRecipe, digestOf } from './canonical.js';
import { type Example, type GivenExample, hasDefaults, openExample } from './examples.js';
import { lockedFiles, lockedPrograms, modelOf, placedFiles, templateDigest } from './files.js';
import { DEFAULT_TOLERANCES, type Lock, type Tolerances } from './format.js';
import { type ObserveOptions, observe } from './observe.js';

export interface LockOptions extends ObserveOptions {
  /** Beside the recipe's own defaults, which are an example where they suffice. */
  readonly examples?: readonly GivenExample[];
  /** Relative places of examples start here. */
  readonly cwd?: string;
  readonly tolerances?: Tolerances;
  readonly onNotice?: (text: string) => void;
}

/** Everything of a lock but its examples: what can be said without running. */
export type LockHead = Omit<Lock, 'examples'>;

export async function lockHead(
  plan: Plan,
  tolerances: Tolerances,
  options: LockOptions & { readonly damaged?: boolean } = {},
): Promise<LockHead> {
  const [{ versions }, { resolvePrograms, usesCards }] = await Promise.all([
    import('../compose/run.js'),
    import('../compose/compile.js'),
  ]);
  const folder = await modelOf(plan);
  const resolved = usesCards(plan)
    ? await resolvePrograms(plan, {
        ...(options.recipeArguments === undefined ? {} : { args: options.recipeArguments }),
        ...(options.onNotice === undefined ? {} : { notice: options.onNotice }),
      })
    : plan;
  const resolvedRecipe = await canonicalRecipe(plan, fileDigest);
  return {
    format: 1,
    recipe: { name: plan.name, sha256: digestOf(resolvedRecipe), resolved: resolvedRecipe },
    model: {
      name: folder.name,
      ...hubOf(folder),
      files: await lockedFiles(await placedFiles(plan, folder, options), fileDigest),
      tokenizer: folder.paths['tokenizer.json'] === undefined ? null : await fileDigest(folder.paths['tokenizer.json']),
      template: templateDigest(folder),
    },
    programs: await lockedPrograms(resolved, fileDigest),
    preprocessing: PREPROCESSING_VERSION,
    versions: versions(),
    tolerances,
  };
}

function hubOf({ hub }: ModelFolder): Pick<Lock['model'], 'hub'> {
  return hub === null ? {} : { hub: { id: hub.id, revision: hub.revision, commit: hub.commit } };
}

/** Throws what running an example throws, and INPUT_MISSING when there is none. */
export async function makeLock(plan: Plan, options: LockOptions = {}): Promise<Lock> {
  const examples = await openExamples(plan, options);
  const head = await lockHead(plan, options.tolerances ?? DEFAULT_TOLERANCES, options);
  const measured = await observe(plan, examples, options);
  return {
    ...head,
    examples: examples.map(({ inputs }, i) => {
      const layers = measured[i];
      if (layers === undefined) throw new VlmError('INTERNAL', { what: `Example ${i + 1} gave no result` });
      return { inputs, ...layers };
    }),
  };
}

async function openExamples(plan: Plan, options: LockOptions): Promise<readonly Example[]> {
  const given = [...(hasDefaults(plan) ? [{}] : []), ...(options.examples ?? [])];
  if (given.length === 0) {
    const missing = Object.values(plan.inputs).filter((i) => i.required && (i.default ?? null) === null);
    throw new VlmError('INPUT_MISSING', {
      what: 'A lock needs an example, and the recipe does not run with its defaults alone',
      expected: missing.map((input) => `--example ${input.name}=…`).join(' '),
      where: basename(plan.file),
    });
  }
  const examples: Example[] = [];
  for (const one of given) examples.push(await openExample(plan, one, options.cwd));
  return examples;
}

/** The same lock is the same bytes: no time, no machine, keys in the order of the format. */
export function lockText(lock: Lock): string {
  return `${pretty(lock)}\n`;
}

/** JSON, with lists of plain values on one line: token ids are many. */
function pretty(value: unknown, indent = ''): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    const isFlat = value.every(
      (v) => typeof v !== 'object' || (Array.isArray(v) && v.every((w) => typeof w !== 'object')),
    );
    if (isFlat) return JSON.stringify(value);
    return `[\n${value.map((v) => inner + pretty(v, inner)).join(',\n')}\n${indent}]`;
  }
  const entries = Object.entries(value).filter(([, v]) => v !== undefined);
  if (entries.length === 0) return '{}';
  return `{\n${entries.map(([k, v]) => `${inner}${JSON.stringify(k)}: ${pretty(v, inner)}`).join(',\n')}\n${indent}}`;
}
