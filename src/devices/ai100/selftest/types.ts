/** What the acceptance kit is made of. All of it but `Check.run` crosses a process boundary. */
import { VlmError } from '../../../contracts/errors.js';
import type { Kit } from './kit.js';

export type ProgramName = 'echo' | 'halves' | 'language';

export interface ProgramFacts {
  /** programqpc.bin */
  readonly file: string;
  /** By the name in the contract; the order is that of the descriptor. */
  readonly ports: readonly PortFacts[];
  readonly sets: readonly Readonly<Record<string, readonly number[]>>[];
  /** False for a program of the user: nothing is known of what it computes. */
  readonly own: boolean;
}

export interface PortFacts {
  readonly name: string;
  readonly direction: 'in' | 'out';
  readonly type: number;
}

export interface Evidence {
  readonly received: string;
  readonly status?: number;
  /** Of `abi/library` alone: what later checks and the report need. */
  readonly survey?: Survey;
}

export interface Survey {
  readonly emulated: boolean;
  readonly version: string;
  readonly sdkHeader: boolean;
  readonly coresTotal: number;
  readonly memoryTotal: number;
}

export interface Check {
  readonly name: string;
  readonly assumption: string;
  /** Where the assumption comes from. */
  readonly source: string;
  /** Checks without which this one says nothing: it is skipped where one of them did not pass. */
  readonly needs?: readonly string[];
  /** `any`: the echo program, else the one that the user gives. */
  readonly program?: ProgramName | 'any';
  /** Makes sense for a card alone, or needs what the emulator has not: why. */
  readonly cardOnly?: string;
  /** Leaves nothing on the card, so that the next check may share its process. */
  readonly light?: boolean;
  run(kit: Kit): Promise<Evidence> | Evidence;
}

export type Verdict = 'passed' | 'failed' | 'skipped';

export interface Outcome {
  readonly name: string;
  readonly assumption: string;
  readonly source: string;
  readonly verdict: Verdict;
  readonly expected?: string;
  readonly received?: string;
  /** Status of the call that decided. */
  readonly status?: number;
  /** Why a check was skipped. */
  readonly reason?: string;
  readonly ms: number;
}

/** Sent to the child for each check. */
export interface Order {
  readonly check: string;
  readonly library: string;
  readonly device: number;
  readonly emulated: boolean;
  readonly programs: Readonly<Partial<Record<ProgramName | 'given', ProgramFacts>>>;
}

export type Answer = Pick<Outcome, 'verdict' | 'expected' | 'received' | 'status' | 'reason'> & {
  readonly survey?: Survey;
  /** Of the check alone, without the start of its process. */
  readonly ms?: number;
};

/** The card is not as assumed. */
export class Deviation extends VlmError {
  constructor(
    readonly expected: string,
    readonly received: string,
    readonly status?: number,
  ) {
    super('DEVICE_FAILED', { what: 'The card runtime is not as assumed', expected, received });
  }
}

/** Nothing can be said, and why. */
export class Undecided extends VlmError {
  constructor(readonly reason: string) {
    super('DEVICE_FAILED', { what: reason });
  }
}

export const FACTS = {
  runtime: 'open runtime (quic/software-kit-for-qualcomm-cloud-ai-100)',
  programs: 'public programs that use the SDK',
  field: 'behaviour seen in the field',
  contract: 'contract of the exported programs (efficient-transformers)',
  strict: 'the facts are silent: what the emulated card does',
} as const;
