/** The control addon of the emulator, bound to the library that the binding loads as well. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { VlmError } from '../../../contracts/errors.js';
import { buildNativeCommand } from '../../../util/native-parts.js';
import { packageRoot } from '../../../util/package-root.js';

export interface EmulatorJob {
  readonly job: number;
  readonly exec: string;
  /** 0: a call; 1: the exec object is gone; 2, 3: a deviation loses its cache, its vision rows. */
  readonly kind: number;
  readonly set: number;
  readonly folder: string;
  readonly inputs: readonly (ArrayBuffer | null)[];
}

export interface EmulatorControl {
  open(path: string): boolean;
  create(): number;
  /** For the programs that this thread creates from now on; 0: the newest of its executors again. */
  use(executor: number): void;
  close(executor: number): void;
  take(executor: number, timeoutMs: number): EmulatorJob | null | false;
  finish(executor: number, job: number, status: number, outputs: readonly (number | Uint8Array)[]): void;
  calls(name: string): number;
  /** Sets the faults anew and counts calls from 0. False: not understood, `problem` says why. */
  faults(text: string): boolean;
  latency(text: string): boolean;
  /** What of the environment or of a text is not understood; every call answers 6 meanwhile. */
  problem(): string;
  liveHandles(): number;
}

export function emulatorLibrary(): string {
  return join(packageRoot(), 'build', 'native', 'libvlm_aic_emulator.so');
}

/** Throws OPTION_INVALID where the environment asks the emulator for something that it does not know. */
export function checkEnvironment(control: EmulatorControl): void {
  const problem = control.problem();
  if (problem === '') return;
  const [received, ...expected] = problem.split('; expected ');
  throw new VlmError('OPTION_INVALID', {
    what: 'The emulated card does not understand its settings',
    ...(expected.length === 0 ? {} : { expected: expected.join('; expected ') }),
    received: received ?? problem,
    hint: 'docs/ai100.md lists the variables of the emulated card',
  });
}

/** Throws DEVICE_UNAVAILABLE. */
export function loadControl(library = emulatorLibrary()): EmulatorControl {
  try {
    const load = createRequire(import.meta.url);
    const control = load(join(packageRoot(), 'build', 'native', 'vlm_aic_emulator.node')) as EmulatorControl;
    if (control.open(library)) return control;
  } catch (cause) {
    throw unavailable('the control addon does not load', cause);
  }
  throw unavailable('the library does not load');
}

function unavailable(received: string, cause?: unknown): VlmError {
  return new VlmError('DEVICE_UNAVAILABLE', {
    what: 'The emulated card cannot be used',
    received,
    hint: `install a C++ compiler and run ${buildNativeCommand()}`,
    cause,
  });
}
