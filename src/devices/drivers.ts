/** Drivers by device kind. A driver, and the runtime behind it, is loaded when the first program of its kind opens. */
import type { DeviceDriver } from '../contracts/device.js';
import { VlmError } from '../contracts/errors.js';

const DRIVERS: Readonly<Record<string, () => Promise<DeviceDriver>>> = {
  cpu: async () => (await import('./cpu/index.js')).cpuDriver,
  ai100: async () => (await import('./ai100/index.js')).ai100Driver,
};

/** Device kinds that `loadDriver` knows, available or not. */
export const DRIVER_KINDS: readonly string[] = Object.keys(DRIVERS);

/** Throws DEVICE_UNKNOWN for a kind nobody has heard of, DEVICE_UNAVAILABLE for one that cannot run here. */
export async function loadDriver(kind: string): Promise<DeviceDriver> {
  const load = Object.hasOwn(DRIVERS, kind) ? DRIVERS[kind] : undefined;
  if (load === undefined) {
    throw new VlmError('DEVICE_UNKNOWN', {
      what: 'A device kind is unknown',
      expected: `one of ${DRIVER_KINDS.join(', ')}`,
      received: kind,
    });
  }
  return load();
}
