/** The native binding and, through it, the card runtime. Each thing that can be missing has an error of its own. */
import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { DeviceConfig } from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';
import { buildNativeCommand } from '../../util/native-parts.js';
import { packageRoot } from '../../util/package-root.js';

/** Bump together with VLM_AI100_ABI in native/ai100/addon.cc. */
const ABI = 2;

/** What a call of the runtime said, when it was not success. `call` is the function's name. */
export interface Failure {
  readonly status: number;
  readonly call: string;
}

export interface NativeSlot {
  readonly control: ArrayBuffer;
  /** Null for bindings that are always skipped. */
  readonly buffers: readonly (ArrayBuffer | null)[];
}

export interface NativeProgram {
  create(path: string): Failure | null;
  load(): Failure | null;
  descriptor(): Uint8Array | Failure;
  allocate(sizes: Uint32Array, depth: number): readonly NativeSlot[] | null;
  activate(): Failure | null;
  deactivate(): Failure | null;
  runSync(slot: number, timeoutUs: number): Failure | null;
  run(slot: number, timeoutUs: number): Promise<Failure | null>;
  release(): Failure | null;
  /** The best `k` of each row of an output. `what`: binding, 1 for float16, rows, width, k. */
  best(slot: number, what: Uint32Array, ids: Int32Array, values: Float32Array): void;
}

export interface NativeResources {
  readonly status: number;
  readonly memoryTotal: number;
  readonly memoryFree: number;
  readonly coresTotal: number;
  readonly coresFree: number;
}

export interface Addon {
  readonly abi: number;
  readonly isa: string;
  /** Built against the SDK's header: several cards can run one program. */
  readonly sdk: boolean;
  openLibrary(path: string): {
    readonly library?: object;
    readonly emulator?: boolean;
    readonly version?: string;
    readonly error?: string;
    readonly symbol?: string;
  };
  resources(library: object, id: number): NativeResources;
  /** Heap allocations of the binding's own code so far, in all threads. */
  allocations(): number;
  toFloats(from: Uint16Array, into: Float32Array, portable?: boolean): void;
  toHalves(from: Float32Array, into: Uint16Array, portable?: boolean): void;
  readonly Program: new (library: object, ids: readonly number[]) => NativeProgram;
  /** One call of the runtime with these arguments, right or wrong: it may end the process. Selftest alone uses it. */
  invoke(library: object, name: string, words: readonly RawWord[]): number;
  /** Where bytes lie; they do not move. */
  address(bytes: Buffer): bigint;
  /** Fewer bytes where the memory ends, null where there is none. */
  readMemory(address: bigint, size: number): Buffer | null;
  symbols(path: string): {
    readonly error?: string;
    readonly names?: readonly string[];
    readonly missing?: readonly string[];
  };
}

/** An argument as it goes to the runtime: a number, an address, memory, a C string. */
export type RawWord = number | bigint | boolean | string | Buffer | null;

export interface CardLibrary {
  readonly addon: Addon;
  readonly library: object;
  readonly path: string;
  readonly version: string;
  readonly emulator: boolean;
}

/** Throws DEVICE_UNAVAILABLE. `path`: another place of the binary (tests). */
export function loadAddon(path = join(packageRoot(), 'build', 'native', 'vlm_ai100.node')): Addon {
  if (process.platform !== 'linux') {
    throw unavailable(
      'Cloud AI 100 cards run on Linux only',
      process.platform,
      'run the recipe with --device NAME=cpu',
    );
  }
  if (!existsSync(path)) {
    throw unavailable(
      'The binding of the card runtime is not built',
      'no build/native/vlm_ai100.node',
      `install a C++ compiler (Debian: apt install g++) and run ${buildNativeCommand()}`,
    );
  }
  let addon: unknown;
  try {
    addon = createRequire(import.meta.url)(path);
  } catch (cause) {
    throw unavailable(
      'The binding of the card runtime does not load',
      cause instanceof Error ? cause.message : String(cause),
      `run ${buildNativeCommand()} on this machine`,
      cause,
    );
  }
  if (typeof addon === 'object' && addon !== null && 'abi' in addon && addon.abi === ABI) return addon as Addon;
  throw unavailable(
    'The binding of the card runtime is of another version',
    'another ABI',
    `run ${buildNativeCommand()}`,
  );
}

/** Where the runtime is looked for: QAIC_LIB, else the emulator for `emulated: true`, else the SDK's place. */
export function libraryPath(config: DeviceConfig): string {
  if (config.emulated === true) return join(packageRoot(), 'build', 'native', 'libvlm_aic_emulator.so');
  const given = process.env['QAIC_LIB'];
  if (given !== undefined && given !== '') return given;
  return `/opt/qti-aic/dev/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}/libQAic.so`;
}

/** The runtime's file, not yet opened. Throws DEVICE_UNAVAILABLE. */
export function findLibrary(config: DeviceConfig): string {
  const path = libraryPath(config);
  if (!existsSync(path)) {
    throw config.emulated === true
      ? unavailable(
          'The emulated card is not built',
          `no file ${path}`,
          `run ${buildNativeCommand()} with a C++ compiler`,
        )
      : unavailable(
          'The runtime library of the card is not installed',
          `no file ${path}`,
          'install the Cloud AI platform SDK, or name the library with QAIC_LIB; without a card, set emulated: true',
        );
  }
  return path;
}

/** Throws DEVICE_UNAVAILABLE. */
export function openLibrary(config: DeviceConfig): CardLibrary {
  const addon = loadAddon();
  const path = findLibrary(config);
  const opened = addon.openLibrary(path);
  if (opened.symbol !== undefined) {
    throw unavailable(
      'The runtime library of the card lacks a function',
      `no ${opened.symbol} in ${path}`,
      'update the platform SDK, or check that QAIC_LIB names libQAic.so',
    );
  }
  if (opened.library === undefined) {
    throw unavailable(
      'The runtime library of the card does not load',
      opened.error ?? 'no reason given',
      'check that the file is for this machine and that the libraries it needs are installed',
    );
  }
  return {
    addon,
    library: opened.library,
    path,
    version: opened.version ?? 'unknown',
    emulator: opened.emulator === true,
  };
}

/** Whether programs of this device run on an emulated card: asked for, or in the card's place (QAIC_LIB). */
export function runsEmulated(config: DeviceConfig): boolean {
  if (config.kind !== 'ai100') return false;
  if (config.emulated === true) return true;
  try {
    return openLibrary(config).emulator;
  } catch (error) {
    if (error instanceof VlmError) return false;
    throw error;
  }
}

/** Why this user cannot reach the cards, or null: the kernel's nodes say more than the runtime's status 5. */
export function permissionProblem(folder = '/dev/accel'): VlmError | null {
  let nodes: string[];
  try {
    nodes = readdirSync(folder).filter((n) => n.startsWith('accel'));
  } catch {
    return null;
  }
  const closed = nodes.filter((n) => {
    try {
      accessSync(join(folder, n), constants.R_OK | constants.W_OK);
      return false;
    } catch {
      return true;
    }
  });
  if (nodes.length === 0 || closed.length < nodes.length) return null;
  return unavailable(
    'This user may not use the cards',
    `no read and write access to ${closed.map((n) => join(folder, n)).join(', ')}`,
    'add the user to the group that owns the files (ls -l /dev/accel), then log in again',
  );
}

export function unavailable(what: string, received: string, hint: string, cause?: unknown): VlmError {
  return new VlmError('DEVICE_UNAVAILABLE', { what, received, hint, ...(cause === undefined ? {} : { cause }) });
}
