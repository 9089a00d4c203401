/** Programs that share a card, and programs that take turns. */
import { ACTIVATE, DEACTIVATE, type Kit } from '../kit.js';
import { SUCCESS } from '../runtime.js';
import { type Check, Deviation, FACTS } from '../types.js';
import { echo, setOf } from './run.js';

/** A second program on a card that has one active: the first call that was not a success, or null. */
function second(kit: Kit, name: 'echo' | 'halves'): { readonly call: string; readonly status: number } | null {
  try {
    kit.open(kit.facts(name));
    return null;
  } catch (error) {
    if (!(error instanceof Deviation) || error.status === undefined || error.status === SUCCESS) throw error;
    return { call: error.received, status: error.status };
  }
}

export const SWAP_CHECKS: readonly Check[] = [
  {
    name: 'swap/deactivate-frees',
    assumption: 'a program that is deactivated leaves its cores to the next one, and can come back',
    source: FACTS.field,
    needs: ['run/echo'],
    program: 'echo',
    run: (kit) => {
      const facts = kit.facts('echo');
      const first = kit.open(facts);
      kit.runtime.ok('qaicRunActivationCmd', first.program, DEACTIVATE);
      const other = kit.open(facts);
      const call = kit.exec(other);
      echo(call, facts, setOf(facts, 0), 2);
      kit.runtime.ok('qaicReleaseExecObj', call.exec);
      kit.runtime.ok('qaicRunActivationCmd', other.program, DEACTIVATE);
      kit.runtime.ok('qaicRunActivationCmd', first.program, ACTIVATE);
      echo(kit.exec(first), facts, setOf(facts, 0), 4);
      return { received: 'two programs of all cores took turns', status: SUCCESS };
    },
  },
  {
    name: 'swap/one-at-a-time',
    assumption: 'while a program of all cores is active, a second one is refused and the first goes on',
    source: FACTS.field,
    needs: ['run/echo'],
    program: 'echo',
    run: (kit) => {
      const facts = kit.facts('echo');
      const first = kit.exec(kit.open(facts));
      const refused = second(kit, 'echo');
      if (refused === null) throw new Deviation('the second program is refused', 'both are active', SUCCESS);
      echo(first, facts, setOf(facts, 0), 6);
      return { received: refused.call, status: refused.status };
    },
  },
  {
    name: 'swap/halves-share',
    assumption: 'two programs whose cores fit the card together are active at the same time',
    source: FACTS.field,
    needs: ['run/echo'],
    program: 'halves',
    run: (kit) => {
      const facts = kit.facts('halves');
      const calls = [0, 1].map(() => kit.exec(kit.open(facts)));
      for (const [i, call] of calls.entries()) echo(call, facts, setOf(facts, 0), i);
      return { received: 'both ran', status: SUCCESS };
    },
  },
];
