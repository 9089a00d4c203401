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
        io.out(`${JSON.stringify({ ok: true, devices }, null, 2)}\n`);
        return;
      }
      for (const device of devices) io.out(deviceLine(device));
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
