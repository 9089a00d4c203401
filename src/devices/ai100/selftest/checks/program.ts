/** Compiled programs: opened from a file and from memory, and the order of calls that is known to work. */
import { readFileSync } from 'node:fs';
import { readDescription } from '../description.js';
import { ACTIVATE, DEACTIVATE } from '../kit.js';
import { SUCCESS } from '../runtime.js';
import { type Check, Deviation, FACTS } from '../types.js';

export const PROGRAM_CHECKS: readonly Check[] = [
  {
    name: 'program/open-file',
    assumption: 'qaicOpenQpcFile opens programqpc.bin by its path',
    source: FACTS.runtime,
    needs: ['device/context'],
    program: 'any',
    light: true,
    run: (kit) => {
      kit.runtime.ok('qaicCloseQpc', kit.qpc(kit.facts('any').file));
      kit.forget();
      return { received: 'opened and closed', status: SUCCESS };
    },
  },
  {
    name: 'program/open-memory',
    assumption: 'qaicOpenQpc opens the same bytes from memory, which may go when they are copied',
    source: FACTS.runtime,
    needs: ['program/open-file'],
    program: 'any',
    light: true,
    run: (kit) => {
      const bytes = readFileSync(kit.facts('any').file);
      const qpc = kit.make('qaicOpenQpc', (out) => [out, bytes, bytes.length, 1]);
      bytes.fill(0);
      kit.runtime.ok('qaicCloseQpc', qpc);
      return { received: 'opened and closed', status: SUCCESS };
    },
  },
  {
    name: 'program/info',
    assumption: 'qaicQpcGetInfo answers with an address',
    source: 'the struct is opaque to vlm-run',
    needs: ['program/open-file'],
    program: 'any',
    light: true,
    run: (kit) => {
      const qpc = kit.qpc(kit.facts('any').file);
      const info = kit.make('qaicQpcGetInfo', (out) => [qpc, out]);
      const bytes = kit.runtime.read(info, 8);
      if (bytes === null) throw new Deviation('an address of readable memory', 'memory that is not there', SUCCESS);
      return { received: 'an address of readable memory', status: SUCCESS };
    },
  },
];

/** After the descriptor: without it there is no exec object. */
export const LIFECYCLE_CHECKS: readonly Check[] = [
  {
    name: 'program/lifecycle',
    assumption:
      'context, queue, QPC, program created, loaded, activated, exec object; deactivated, unloaded, released in reverse',
    source: FACTS.field,
    needs: ['program/properties', 'io/descriptor'],
    program: 'any',
    run: (kit) => {
      const { runtime } = kit;
      const opened = kit.open(kit.facts('any'));
      const { data } = readDescription(runtime, opened.program);
      const exec = kit.make('qaicCreateExecObj', (out) => [
        opened.context,
        out,
        Buffer.alloc(4),
        opened.program,
        data,
        null,
        null,
      ]);
      runtime.ok('qaicReleaseExecObj', exec);
      runtime.ok('qaicRunActivationCmd', opened.program, DEACTIVATE);
      runtime.ok('qaicUnloadProgram', opened.program);
      runtime.ok('qaicReleaseProgram', opened.program);
      runtime.ok('qaicCloseQpc', opened.qpc);
      runtime.ok('qaicReleaseQueue', opened.queue);
      runtime.ok('qaicReleaseContext', opened.context);
      kit.forget();
      return { received: 'every call succeeded', status: SUCCESS };
    },
  },
  {
    name: 'program/activated-again',
    assumption: 'a program made from a QPC that stays open can be activated, deactivated and activated again',
    source: FACTS.field,
    needs: ['program/lifecycle', 'swap/deactivate-frees'],
    program: 'any',
    run: (kit) => {
      const { program } = kit.open(kit.facts('any'));
      kit.runtime.ok('qaicRunActivationCmd', program, DEACTIVATE);
      kit.runtime.ok('qaicRunActivationCmd', program, ACTIVATE);
      return { received: 'activated twice', status: SUCCESS };
    },
  },
];
