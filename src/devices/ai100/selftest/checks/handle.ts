/** Handles that are no longer valid. A runtime may well crash here: each check has a process of its own. */
import { ACTIVATE, DEACTIVATE, type Kit } from '../kit.js';
import { SUCCESS } from '../runtime.js';
import { type Check, FACTS } from '../types.js';

interface All {
  readonly releases: readonly (readonly [name: string, handle: bigint])[];
  readonly program: bigint;
  readonly context: bigint;
}

/** Everything made, used and released once. */
function released(kit: Kit): All {
  const { runtime } = kit;
  const facts = kit.facts('any');
  const opened = kit.open(facts);
  const call = kit.exec(opened);
  const releases = [
    ['qaicReleaseExecObj', call.exec],
    ['qaicReleaseProgram', opened.program],
    ['qaicCloseQpc', opened.qpc],
    ['qaicReleaseQueue', opened.queue],
    ['qaicReleaseContext', opened.context],
  ] as const;
  for (const [name, handle] of releases) {
    if (name === 'qaicReleaseProgram') {
      runtime.ok('qaicRunActivationCmd', handle, DEACTIVATE);
      runtime.ok('qaicUnloadProgram', handle);
    }
    runtime.ok(name, handle);
  }
  kit.forget();
  return { releases, program: opened.program, context: opened.context };
}

export const HANDLE_CHECKS: readonly Check[] = [
  {
    name: 'handle/stale',
    assumption: 'calls with a handle that was released are refused',
    source: FACTS.strict,
    needs: ['program/lifecycle'],
    program: 'any',
    run: (kit) => {
      const { program, context, releases } = released(kit);
      const exec = releases[0]?.[1] ?? 0n;
      const statuses = [
        kit.runtime.refused('qaicSetLogLevel', context, 1),
        kit.runtime.refused('qaicLoadProgram', program),
        kit.runtime.refused('qaicRunActivationCmd', program, ACTIVATE),
        kit.runtime.refused('qaicExecObjWaitForCompletion', exec, 1000),
      ];
      return { received: `statuses ${statuses.join(', ')}`, status: statuses[0] ?? SUCCESS };
    },
  },
  {
    name: 'handle/double-release',
    assumption: 'a handle that is released a second time is refused',
    source: FACTS.strict,
    needs: ['program/lifecycle'],
    program: 'any',
    run: (kit) => {
      const { releases } = released(kit);
      const statuses = releases.map(([name, handle]) => kit.runtime.refused(name, handle));
      return { received: `statuses ${statuses.join(', ')}`, status: statuses[0] ?? SUCCESS };
    },
  },
  {
    name: 'handle/null',
    assumption: 'calls with a null handle are refused',
    source: FACTS.strict,
    needs: ['abi/library'],
    run: ({ runtime }) => {
      const statuses = [
        runtime.refused('qaicReleaseContext', null),
        runtime.refused('qaicLoadProgram', null),
        runtime.refused('qaicExecObjWaitForCompletion', null, 1000),
      ];
      return { received: `statuses ${statuses.join(', ')}`, status: statuses[0] ?? SUCCESS };
    },
  },
];
