/** vlm-run devices: what this machine can run programs on. */
import { Command } from 'commander';
import type { DeviceInfo } from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';
import type { Io } from '../io.js';

export function devicesCommand(io: Io): Command {
  return new Command('devices')
    .description('list the devices of this machine')
    .option('--json', 'one JSON document on standard output')
    .addHelpText(
      'after',
      `
Examples:
  $ vlm-run devices
  $ vlm-run devices --json`,
    )
    .action(async (flags: { readonly json?: boolean }) => {
      const devices = await listDevices();
      if (flags.json === true) {
        io.out(`${JSON.stringify({ ok: true, devices, native: await nativeParts() }, null, 2)}\n`);
        return;
      }
      for (const device of devices) io.out(deviceLine(device));
      const { images, freedMemory } = await nativeParts();
      io.out(`native   images resized: ${images}\n${' '.repeat(9)}freed memory: ${freedMemory}\n`);
    });
}

export async function listDevices(): Promise<readonly DeviceInfo[]> {
  const { DRIVER_KINDS, loadDriver } = await import('../../devices/drivers.js');
  const lists = await Promise.all(
    DRIVER_KINDS.map(async (kind): Promise<readonly DeviceInfo[]> => {
      const found = await orWhy(kind, async () => (await loadDriver(kind)).list());
      const emulated = await orWhy(kind, async () => (await (await loadDriver(kind)).listEmulated?.()) ?? []);
      // Where nothing of a kind works, the first reason says why.
      return [...found, ...emulated.filter((d) => d.status === 'ready')];
    }),
  );
  return lists.flat();
}

/** Parts in native code that only make things faster; where one is missing, what to do about it. */
async function nativeParts(): Promise<{ readonly images: string; readonly freedMemory: string }> {
  const [{ loadKernels }, { freedMemory }] = await Promise.all([
    import('../../image/native.js'),
    import('../../util/native-memory.js'),
  ]);
  let why = '';
  const { label } = loadKernels({ notice: (_, reason) => (why = `: ${reason}`) });
  return {
    images: label === 'typescript' ? `in TypeScript (same pixels, slower)${why}` : label,
    freedMemory: freedMemory(),
  };
}

/** A kind that cannot be listed is one device that is not available, with the reason. */
async function orWhy(kind: string, list: () => Promise<readonly DeviceInfo[]>): Promise<readonly DeviceInfo[]> {
  try {
    return await list();
  } catch (error) {
    if (!(error instanceof VlmError)) throw error;
    const { what, hint } = error.details;
    const summary = hint === undefined ? what : `${what}; ${hint}`;
    return [{ kind, id: kind, status: 'unavailable', summary, details: {}, emulated: false }];
  }
}

function deviceLine(device: DeviceInfo): string {
  const details = Object.entries(device.details)
    .map(([key, value]) => `${key} ${value}`)
    .join(', ');
  const emulated = device.emulated ? ' (emulated)' : '';
  return `${device.id.padEnd(8)} ${device.status.padEnd(11)} ${device.summary}${emulated}${details === '' ? '' : `\n${' '.repeat(21)}${details}`}\n`;
}
