/** What goes wrong, and what must come of it. The expectations are written from the contract, not from the code. */
import type { ErrorCode } from '../../../../src/contracts/errors.js';

export type Role = 'vision' | 'language';

/** One line of work at a time: open, activate, three calls, deactivate and close. */
export type Phase = 'open' | 'activate' | 'run' | 'close';

export interface FaultCase {
  readonly name: string;
  readonly faults: string;
  readonly role: Role;
  /** Which of the three results must be right; the others have failed or were never asked for. */
  readonly results: readonly [boolean, boolean, boolean];
  /** The first error and when it comes; null: none may come. */
  readonly error: { readonly phase: Phase; readonly code: ErrorCode; readonly says: readonly string[] } | null;
  /** A warning must tell of a recovery. */
  readonly recovered: boolean;
  readonly timeoutMs?: number;
  /** What becomes of the child itself. */
  readonly child?: 'hung' | 'crashed';
}

export const STATUSES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 300, 500];

export const OPENING = [
  'qaicProgramPropertiesInitDefault',
  'qaicCreateContext',
  'qaicCreateQueue',
  'qaicOpenQpcFile',
  'qaicCreateProgram',
  'qaicLoadProgram',
  'qaicProgramGetIoDescriptor',
];
const ACTIVATING = ['qaicRunActivationCmd', 'qaicCreateExecObj'];
const RUNNING = ['qaicExecObjSetDataExt', 'qaicEnqueueExecObj', 'qaicExecObjWaitForCompletion'];
const CLOSING = [
  'qaicReleaseExecObj',
  'qaicUnloadProgram',
  'qaicReleaseProgram',
  'qaicCloseQpc',
  'qaicReleaseQueue',
  'qaicReleaseContext',
];
/** All functions that a session calls, in order; opening the library and listing cards are cases of their own. */
export const SESSION_FUNCTIONS = [...OPENING, ...ACTIVATING, ...RUNNING, ...CLOSING];

const NONE = [false, false, false] as const;
const ALL = [true, true, true] as const;

export function codeOf(call: string, status: number): ErrorCode {
  if (status === 1 || status === 5) return 'DEVICE_UNAVAILABLE';
  // What is wrong with the file, not with the card.
  if (call === 'qaicOpenQpcFile' && [6, 8, 11, 12, 500].includes(status)) return 'PROGRAM_INVALID';
  return 'DEVICE_FAILED';
}

function one(role: Role, faults: string, rest: Partial<FaultCase>): FaultCase {
  return { name: `${role}: ${faults}`, faults, role, results: ALL, error: null, recovered: false, ...rest };
}

function failing(role: Role, call: string, nth: number, status: number, phase: Phase): FaultCase {
  const says = [call, `status ${status}`];
  const results = phase === 'close' ? ALL : NONE;
  const error = { phase, code: codeOf(call, status), says };
  return one(role, `${call} ${nth} status ${status}`, { results, error });
}

/** A call that fails: a vision program is made anew and asked again; a language program has lost its state. */
function runFault(
  role: Role,
  line: (nth: number) => string,
  says: readonly string[],
  more: Partial<FaultCase> = {},
): FaultCase {
  if (role === 'vision') return one(role, line(2), { recovered: true, ...more });
  const error = { phase: 'run', code: 'DEVICE_FAILED', says: [...says, 'made anew', 'lost'] } as const;
  return one(role, line(3), { results: [true, false, true], error, ...more });
}

function statuses(role: Role): FaultCase[] {
  return STATUSES.flatMap((status) => [
    // Opening is the same for both roles.
    ...(role === 'vision' ? OPENING : []).map((call) => failing(role, call, 1, status, 'open')),
    ...ACTIVATING.map((call) => failing(role, call, 1, status, 'activate')),
    // The descriptor is asked for a second time when exec objects are made.
    failing(role, 'qaicProgramGetIoDescriptor', 2, status, 'activate'),
    ...RUNNING.map((call) => runFault(role, (nth) => `${call} ${nth} status ${status}`, [call, `status ${status}`])),
    ...CLOSING.map((call) => failing(role, call, 1, status, 'close')),
    failing(role, 'qaicRunActivationCmd', 2, status, 'close'),
  ]);
}

/** From the nth call on, for as long as a case goes on. */
function onwards(call: string, nth: number, status: number): string {
  return Array.from({ length: 12 }, (_, i) => `${call} ${nth + i} status ${status}`).join('; ');
}

/** The second try fails too, or cannot be made. */
function lasting(role: Role): FaultCase[] {
  const never = (call: string, status: number): FaultCase =>
    one(role, `${call} * status ${status}`, {
      results: NONE,
      error: { phase: 'run', code: 'DEVICE_FAILED', says: [call, `status ${status}`, 'made anew'] },
    });
  const halfway = (second: string): FaultCase =>
    one(role, `qaicExecObjWaitForCompletion 1 status 300; ${second}`, {
      results: NONE,
      error: { phase: 'run', code: 'DEVICE_FAILED', says: ['status 300', 'making the program anew', 'failed'] },
    });
  // The program cannot be made at once, and can be when the next call comes.
  const back: FaultCase = {
    ...halfway('qaicLoadProgram 2 status 5'),
    results: [false, true, true],
  };
  return [
    back,
    ...RUNNING.flatMap((call) => [never(call, 300), never(call, 9)]),
    ...['qaicCreateContext', 'qaicOpenQpcFile', 'qaicCreateProgram', 'qaicLoadProgram', 'qaicCreateExecObj'].map(
      (call) => halfway(onwards(call, 2, 3)),
    ),
    halfway(onwards('qaicRunActivationCmd', 3, 7)),
  ];
}

/** The card goes away at a call of a function. */
function vanishing(role: Role): FaultCase[] {
  const gone = (call: string, nth: number, phase: Phase, code: ErrorCode, results: FaultCase['results']): FaultCase =>
    one(role, `${call} ${nth} vanish`, { results, error: { phase, code, says: ['status 5'] } });
  const opening = OPENING.map((call) => gone(call, 1, 'open', 'DEVICE_UNAVAILABLE', NONE));
  const activating = ACTIVATING.map((call) => gone(call, 1, 'activate', 'DEVICE_UNAVAILABLE', NONE));
  const running = RUNNING.map((call) =>
    gone(call, role === 'vision' ? 2 : 3, 'run', 'DEVICE_FAILED', [true, false, false]),
  );
  return [...opening, ...activating, ...running, gone('qaicRunActivationCmd', 2, 'close', 'DEVICE_UNAVAILABLE', ALL)];
}

function slow(role: Role): FaultCase[] {
  const patience = { timeoutMs: 60 };
  return [
    ...SESSION_FUNCTIONS.map((call) => one(role, `${call} 1 delay 5`, {})),
    // An execution that never ends is given up after the timeout.
    runFault(role, (nth) => `qaicEnqueueExecObj ${nth} stall`, ['status 9', 'timed out'], patience),
    one(role, 'qaicEnqueueExecObj * stall', {
      results: NONE,
      error: { phase: 'run', code: 'DEVICE_FAILED', says: ['timed out', 'made anew'] },
      ...patience,
    }),
  ];
}

function garbage(role: Role): FaultCase[] {
  const invalid = (faults: string): FaultCase =>
    one(role, faults, { results: NONE, error: { phase: 'open', code: 'PROGRAM_INVALID', says: [] } });
  return [
    invalid('qaicProgramGetIoDescriptor 1 garbage'),
    invalid('deviate descriptor-short'),
    // A runtime that takes no descriptor but its own: what it handed out before the exec object does not fit.
    one(role, 'qaicProgramGetIoDescriptor 2 garbage', {
      results: NONE,
      error: { phase: 'activate', code: 'DEVICE_FAILED', says: ['qaicCreateExecObj', 'status 8'] },
    }),
  ];
}

/** Cases that leave the process well. */
export function gentleCases(): FaultCase[] {
  return (['vision', 'language'] as const).flatMap((role) => [
    one(role, '', {}),
    ...statuses(role),
    ...lasting(role),
    ...vanishing(role),
    ...slow(role),
    ...garbage(role),
  ]);
}

/** Calls that never come back: only a watchdog outside the process ends them. What was finished before is kept. */
export function hangingCases(): FaultCase[] {
  const hang = (role: Role, call: string, nth: number, results: FaultCase['results']): FaultCase =>
    one(role, `${call} ${nth} hang`, { results, child: 'hung' });
  return [
    ...[...OPENING, ...ACTIVATING].map((call) => hang('vision', call, 1, NONE)),
    ...RUNNING.map((call) => hang('language', call, 3, [true, false, false])),
    ...CLOSING.map((call) => hang('vision', call, 1, ALL)),
  ];
}
