/** Runs cases in forked children under a watchdog: a hang or crash costs its own case, and the next child goes on. */
import { fork } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from '../../../../src/util/package-root.js';
import type { FaultCase, Phase } from './cases.js';
import type { Order, Told } from './child.js';

export interface Outcome {
  readonly name: string;
  readonly results: readonly [boolean, boolean, boolean];
  readonly wrong: boolean;
  readonly error: { readonly phase: Phase; readonly code: string; readonly message: string } | null;
  readonly warnings: readonly string[];
  readonly leaked: number;
  readonly child: 'well' | 'hung' | 'crashed';
}

type Draft = { -readonly [K in keyof Outcome]: Outcome[K] };

/** `silenceMs`: how long a child may say nothing before it counts as hung. */
export async function runCases(order: Order, silenceMs: number): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  while (outcomes.length < order.cases.length) {
    const rest = order.cases.slice(outcomes.length);
    const made = await runChild({ ...order, cases: rest }, silenceMs);
    // A child that ends before its first case would be started for ever.
    if (made.length === 0) throw new Error(`no case of ${rest[0]?.name} began`);
    outcomes.push(...made);
  }
  return outcomes;
}

function runChild(order: Order, silenceMs: number): Promise<Outcome[]> {
  const file = join(packageRoot(), '.build/test/devices/ai100/faults/child.js');
  const child = fork(file, [], {
    env: { ...process.env, VLM_AICEMU_DEVICES: '64', NODE_NO_WARNINGS: '1' },
    silent: true,
  });
  const outcomes: Outcome[] = [];
  let current: Draft | null = null;
  let hung = false;
  const bite = (): void => {
    hung = true;
    child.kill('SIGKILL');
  };
  let dog = setTimeout(bite, silenceMs + 10_000);
  child.on('message', (told: Told) => {
    clearTimeout(dog);
    dog = setTimeout(bite, silenceMs);
    if (told.kind === 'begin') current = fresh(told.name);
    else if (current !== null) hear(current, told);
    if (told.kind === 'end' && current !== null) {
      outcomes.push(current);
      current = null;
    }
  });
  child.send(order);
  return new Promise((resolve) => {
    child.once('close', (code, signal) => {
      clearTimeout(dog);
      if (current !== null) outcomes.push({ ...current, child: hung ? 'hung' : 'crashed' });
      else if (outcomes.length === order.cases.length && (code !== 0 || signal !== null)) {
        // All cases were over: it fell at its own end.
        outcomes.push({ ...(outcomes.pop() as Outcome), child: hung ? 'hung' : 'crashed' });
      }
      resolve(outcomes);
    });
  });
}

function fresh(name: string): Draft {
  return { name, results: [false, false, false], wrong: false, error: null, warnings: [], leaked: 0, child: 'well' };
}

function hear(draft: Draft, told: Told): void {
  if (told.kind === 'result') {
    draft.wrong ||= !told.right;
    draft.results = [0, 1, 2].map((i) => (i === told.index ? told.right : draft.results[i])) as [
      boolean,
      boolean,
      boolean,
    ];
  } else if (told.kind === 'error') draft.error ??= told;
  else if (told.kind === 'warning') draft.warnings = [...draft.warnings, told.message];
  else if (told.kind === 'end') draft.leaked = told.leaked;
}

/** What is not as expected, or null. */
export function complaint(fault: FaultCase, outcome: Outcome): string | null {
  const { error } = outcome;
  const told = error === null ? 'no error' : `${error.phase}: ${error.code}: ${error.message}`;
  if (outcome.name !== fault.name) return `reported as ${outcome.name}`;
  if (outcome.child !== (fault.child ?? 'well')) return `the child ${outcome.child}`;
  if (outcome.wrong || outcome.results.join() !== fault.results.join()) return `results ${outcome.results}; ${told}`;
  if (fault.child !== undefined) return null;
  if ((error === null) !== (fault.error === null)) return told;
  if (fault.error !== null && (error?.phase !== fault.error.phase || error.code !== fault.error.code)) return told;
  const unsaid = fault.error?.says.find((words) => error?.message.includes(words) === false);
  if (unsaid !== undefined) return `"${unsaid}" is not in: ${told}`;
  if (fault.recovered !== outcome.warnings.some((w) => w.includes('made anew'))) return `warnings: ${outcome.warnings}`;
  // Only what the runtime itself refused to release may be left.
  if (outcome.leaked > 0 && fault.error?.phase !== 'close') return `${outcome.leaked} handles left`;
  return null;
}
