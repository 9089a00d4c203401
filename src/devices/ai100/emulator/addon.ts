/** The control addon of the emulator, bound to the library that the binding loads as well. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { VlmError } from '../../../contracts/errors.js';
import { packageRoot } from '../../../util/package-root.js';

export interface EmulatorJob {
  readonly job: number;
  readonly exec: string;
  /** 0: a call, 1: the exec object is gone. */
  readonly kind: number;
  readonly set: number;
  readonly folder: string;
  readonly inputs: readonly (ArrayBuffer | null)[];
}

export interface EmulatorControl {
  open(path: string): boolean;
  create(): number;
  close(executor: number): void;
  take(executor: number, timeoutMs: number): EmulatorJob | null | false;
  finish(executor: number, job: number, status: number, outputs: readonly (number | Uint8Array)[]): void;
  calls(name: string): number;
  faults(text: string): void;
}

export function emulatorLibrary(): string {
  return join(packageRoot(), 'build', 'native', 'libvlm_aic_emulator.so');
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
    hint: 'install a C++ compiler and run `npm run build:native`',
    cause,
  });
}
