import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { DRIVER_KINDS, loadDriver } from '../../src/devices/drivers.js';
import { DEVICE_MANIFESTS } from '../../src/devices/manifests.js';
import { rejects } from './conformance.js';

const test = suite('drivers');

test('every device kind has an entry, and every entry a manifest', () => {
  assert.equal([...DRIVER_KINDS].sort(), DEVICE_MANIFESTS.map((m) => m.kind).sort());
});

test('cpu loads; unknown kinds are told from those that cannot run here', async () => {
  assert.is((await loadDriver('cpu')).kind, 'cpu');
  await rejects(loadDriver('gpu'), 'DEVICE_UNKNOWN');
  await rejects(loadDriver('toString'), 'DEVICE_UNKNOWN');
});

test.run();
