/** Runs the examples of a lock again and compares layer by layer. */
import { type ErrorData, VlmError } from '../contracts/errors.js';
import type { Plan } from '../contracts/recipe.js';
import { compareExample, compareHeads, type Finding, inputsFinding, LAYERS, type Layer, notesOf } from './compare.js';
import { type Example, exampleName, reopenExample } from './examples.js';
import type { Lock, LockedExample } from './format.js';
import { type LockOptions, lockHead } from './lock.js';
import { layerOfFailure, type Observed, observeEach } from './observe.js';

export interface Verification {
  readonly verdict: 'same' | 'near' | 'break';
  readonly findings: readonly Finding[];
  /** Programs and versions that differ: no findings, but where to look. */
  readonly notes: readonly string[];
  /** The first break, or else the first near-tie or tolerated difference. */
  readonly first: Finding | null;
}

/**
 * What a difference keeps from running is a finding, and the rest is compared all the same. Throws what opening the model
 * and running an example throw where nothing differs that could explain it.
 */
export async function verify(plan: Plan, lock: Lock, options: LockOptions = {}): Promise<Verification> {
  const head = await lockHead(plan, lock.tolerances, { ...options, damaged: true });
  const findings = [...compareHeads(lock, head)];
  const opened = await Promise.all(lock.examples.map((example) => openedOrWhy(plan, example)));
  const examples = opened.filter((one): one is Example => 'loaded' in one);
  const unreadable = opened.find((one): one is ErrorData => !('loaded' in one));
  const explained = unreadable !== undefined || findings.some(({ status }) => status === 'break');
  const observed = [...(await observedOrWhy(plan, examples, options, explained))];
  for (const [i, locked] of lock.examples.entries()) {
    const example = opened[i];
    if (example === undefined) continue;
    if (!('loaded' in example)) {
      findings.push(...failedExample(locked, i, 'inputs', example));
      continue;
    }
    const here = observed.shift();
    if (here === undefined) continue;
    if ('measured' in here) {
      findings.push(...compareExample(locked, example.inputs, here.measured, lock.tolerances, i));
      continue;
    }
    const inputs = inputsFinding(locked.inputs, example.inputs);
    // Nothing differs, and yet it does not run: that is trouble of this machine, not of the recipe.
    if (!explained && inputs.status !== 'break') throw VlmError.fromData(here.error).at(`example ${i + 1}`);
    findings.push({ ...inputs, example: exampleName(locked, i) });
    findings.push(...failedExample(locked, i, layerOfFailure(plan, here.error), here.error));
  }
  return { ...verdictOf(findings), findings, notes: notesOf(lock, head) };
}

async function openedOrWhy(plan: Plan, locked: LockedExample): Promise<Example | ErrorData> {
  try {
    return await reopenExample(plan, locked);
  } catch (error) {
    if (!(error instanceof VlmError) || error.code !== 'INPUT_UNREADABLE') throw error;
    return error.toData();
  }
}

/** Programs are opened before any example: when one is broken, none runs. */
async function observedOrWhy(
  plan: Plan,
  examples: readonly Example[],
  options: LockOptions,
  explained: boolean,
): Promise<readonly Observed[]> {
  try {
    const observed = await observeEach(plan, examples, options);
    const stopped = observed.find((one) => 'error' in one && one.error.code === 'CANCELLED');
    if (stopped !== undefined && 'error' in stopped) throw VlmError.fromData(stopped.error);
    return observed;
  } catch (error) {
    if (!explained || !(error instanceof VlmError) || error.code === 'CANCELLED') throw error;
    return examples.map(() => ({ error: error.toData() }));
  }
}

/** The layer that was not got past is broken; those above and below it are not known. */
function failedExample(locked: LockedExample, index: number, at: Layer, error: ErrorData): readonly Finding[] {
  const example = exampleName(locked, index);
  const message = [error.what, error.received].filter((part) => part !== undefined).join(': ');
  const first = at === 'inputs' ? 'inputs' : 'pixels';
  return LAYERS.slice(LAYERS.indexOf(first)).map((layer) =>
    layer === at
      ? { layer, status: 'break', example, message: `${error.code}: ${message}` }
      : { layer, status: 'none', example, message: 'not known' },
  );
}

function verdictOf(findings: readonly Finding[]): Pick<Verification, 'verdict' | 'first'> {
  const broken = findings.find((f) => f.status === 'break');
  if (broken !== undefined) return { verdict: 'break', first: broken };
  const near = findings.find((f) => f.status === 'near');
  return near === undefined ? { verdict: 'same', first: null } : { verdict: 'near', first: near };
}
