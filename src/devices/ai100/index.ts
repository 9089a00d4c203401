/** The `ai100` device: compiled programs on Cloud AI 100 cards, or on an emulated card with the same interface. */
import { existsSync, readdirSync } from 'node:fs';
import type {
  DeviceConfig,
  DeviceDriver,
  DeviceInfo,
  ProgramDescription,
  ProgramSource,
} from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';
import { buildNativeCommand } from '../../util/native-parts.js';
import { type CardProgram, describeProgram, isEmulatedFile, qpcFile } from './description.js';
import type { EmulatorExecutor } from './emulator/control.js';
import { decodeIoDesc } from './io-desc.js';
import { type CardLibrary, libraryPath, type NativeProgram, openLibrary, permissionProblem } from './library.js';
import { CardSession } from './session.js';
import { failed } from './status.js';

export class Ai100Driver implements DeviceDriver {
  readonly kind = 'ai100';

  async open(source: ProgramSource, config: DeviceConfig): Promise<CardSession> {
    const file = qpcFile(source);
    const timeoutMs = whole(config, 'timeout_ms', 60_000, 4_294_967);
    const queueDepth = whole(config, 'queue_depth', 1, 64);
    const library = libraryFor(file, config);
    const executor = library.emulator ? await startExecutor() : null;
    const make = (): NativeProgram => {
      const made = (): NativeProgram => create(library, config, file, true);
      return executor === null ? made() : executor.own(made);
    };
    let native: NativeProgram | null = null;
    try {
      native = make();
      const program = describe(source, file, library, native);
      return new CardSession(library, program, native, {
        timeoutMs,
        queueDepth,
        make,
        closed: async () => executor?.close(),
      });
    } catch (error) {
      native?.release();
      await executor?.close();
      throw error;
    }
  }

  /** The descriptor is in the compiled file: the runtime reads it, nothing is loaded onto the card. */
  async inspect(source: ProgramSource, config: DeviceConfig): Promise<ProgramDescription> {
    const file = qpcFile(source);
    const library = libraryFor(file, config);
    const executor = library.emulator ? await startExecutor() : null;
    try {
      const native = create(library, config, file, false);
      try {
        return describe(source, file, library, native).description;
      } finally {
        native.release();
      }
    } finally {
      await executor?.close();
    }
  }

  /** None where the emulator is not built, or stands in the card's place already (QAIC_LIB). */
  async listEmulated(): Promise<readonly DeviceInfo[]> {
    const config = { kind: 'ai100', emulated: true };
    const given = libraryPath({ kind: 'ai100' });
    if (!existsSync(libraryPath(config)) || (existsSync(given) && openLibrary({ kind: 'ai100' }).emulator)) return [];
    const library = openLibrary(config);
    (await emulatorControl()).checkEmulator();
    return cardsOf(library).map((card) => ({
      ...card,
      summary: 'no hardware: a stand-in for a Cloud AI 100, taken with `emulated: true` in the recipe',
    }));
  }

  async list(): Promise<readonly DeviceInfo[]> {
    const library = openLibrary({ kind: 'ai100' });
    if (library.emulator) (await emulatorControl()).checkEmulator();
    const devices = cardsOf(library);
    if (devices.length > 0) return devices;
    throw (
      permissionProblem() ??
      new VlmError('DEVICE_UNAVAILABLE', {
        what: 'The runtime is installed but finds no card',
        received: 'no device 0',
        hint: 'check that the kernel driver qaic is loaded (ls /dev/accel) and the card is in the machine (lspci)',
      })
    );
  }
}

function cardsOf(library: CardLibrary): readonly DeviceInfo[] {
  const devices: DeviceInfo[] = [];
  const most = library.emulator ? 64 : Math.max(1, cardNodes());
  for (let id = 0; id < most; id++) {
    const r = library.addon.resources(library.library, id);
    if (r.status === 5) break;
    devices.push({
      kind: 'ai100',
      id: `ai100:${id}`,
      status: r.status === 0 ? 'ready' : 'unavailable',
      summary:
        r.status === 0
          ? `Cloud AI 100, ${r.coresFree} of ${r.coresTotal} cores free, runtime ${library.version}`
          : `the runtime answered status ${r.status}`,
      details: {
        runtime: library.version,
        cores: r.coresTotal,
        coresFree: r.coresFree,
        memoryMiB: Math.round(r.memoryTotal / 2 ** 20),
        memoryFreeMiB: Math.round(r.memoryFree / 2 ** 20),
      },
      emulated: library.emulator,
    });
  }
  return devices;
}

export const ai100Driver: DeviceDriver = new Ai100Driver();

/** An emulated program and a real card do not mix: the runtime would say something else. */
function libraryFor(file: string, config: DeviceConfig): CardLibrary {
  const library = openLibrary(config);
  if (!isEmulatedFile(file) || library.emulator) return library;
  throw new VlmError('PROGRAM_INVALID', {
    what: 'A program compiled for the emulated card was given to a real one',
    expected: 'a program compiled for the card',
    received: 'an emulated program',
    where: file,
    hint: 'compile for the card, or set emulated: true on the device',
  });
}

function create(library: CardLibrary, config: DeviceConfig, file: string, load: boolean): NativeProgram {
  const ids = config.ids ?? [0];
  const native = new library.addon.Program(library.library, load ? ids : ids.slice(0, 1));
  const failure = native.create(file) ?? (load ? native.load() : null);
  if (failure === null) return native;
  native.release();
  throw failed(failure, file);
}

function describe(source: ProgramSource, file: string, library: CardLibrary, native: NativeProgram): CardProgram {
  const bytes = native.descriptor();
  if (!(bytes instanceof Uint8Array)) throw failed(bytes, file);
  return describeProgram(source, file, decodeIoDesc(bytes, file), library.emulator);
}

/** The emulated card computes in a worker of its own, bound to the thread that opened the program. */
async function startExecutor(): Promise<EmulatorExecutor> {
  try {
    return await (await emulatorControl()).startEmulatorExecutor();
  } catch (cause) {
    throw VlmError.wrap(cause, 'DEVICE_UNAVAILABLE', {
      what: 'The emulated card cannot be started',
      received: cause instanceof Error ? cause.message : String(cause),
      hint: `run ${buildNativeCommand()}; a card that is not emulated needs QAIC_LIB or the platform SDK`,
    });
  }
}

/** Loaded when there is an emulated card: runs on cards do without it. */
async function emulatorControl(): Promise<typeof import('./emulator/control.js')> {
  return import('./emulator/control.js');
}

function cardNodes(): number {
  try {
    return readdirSync('/dev/accel').filter((n) => n.startsWith('accel')).length;
  } catch {
    return 0;
  }
}

function whole(config: DeviceConfig, name: string, otherwise: number, most: number): number {
  const given = config[name] ?? otherwise;
  if (typeof given === 'number' && Number.isInteger(given) && given >= 1 && given <= most) return given;
  throw new VlmError('OPTION_INVALID', {
    what: 'An option of the ai100 device is out of range',
    expected: `${name}: a whole number from 1 to ${most}`,
    received: String(given),
  });
}
