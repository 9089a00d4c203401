/** Runs the examples of a lock again and compares layer by layer. */
import type { Plan } from '../contracts/recipe.js';
import { compareExample, compareHeads, type Finding, notesOf } from './compare.js';
import { type Example, reopenExample } from './examples.js';
import type { Lock } from './format.js';
import { type LockOptions, lockHead } from './lock.js';
import { observe } from './observe.js';

export interface Verification {
  readonly verdict: 'same' | 'near' | 'break';
  readonly findings: readonly Finding[];
  /** Programs and versions that differ: no findings, but where to look. */
  readonly notes: readonly string[];
  /** The first break, or else the first near-tie or tolerated difference. */
  readonly first: Finding | null;
}

/** Throws what opening the model and running an example throw. */
export async function verify(plan: Plan, lock: Lock, options: LockOptions = {}): Promise<Verification> {
  const head = await lockHead(plan, lock.tolerances, options);
  const findings = [...compareHeads(lock, head)];
  const examples: Example[] = [];
  for (const example of lock.examples) examples.push(await reopenExample(plan, example));
  const measured = await observe(plan, examples, options);
  for (const [i, locked] of lock.examples.entries()) {
    const example = examples[i];
    const here = measured[i];
    if (example === undefined || here === undefined) continue;
    findings.push(...compareExample(locked, example.inputs, here, lock.tolerances, i));
  }
  return { ...verdictOf(findings), findings, notes: notesOf(lock, head) };
}

function verdictOf(findings: readonly Finding[]): Pick<Verification, 'verdict' | 'first'> {
  const broken = findings.find((f) => f.status === 'break');
  if (broken !== undefined) return { verdict: 'break', first: broken };
  const near = findings.find((f) => f.status === 'near');
  return near === undefined ? { verdict: 'same', first: null } : { verdict: 'near', first: near };
}
