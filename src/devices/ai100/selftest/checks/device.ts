/** Cards: which there are, what they have, contexts and queues on them. */
import { accessSync, constants, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { CANARY, NO_DEVICE, SUCCESS, statusText } from '../runtime.js';
import { type Check, Deviation, FACTS } from '../types.js';

const RESOURCE_BYTES = 56;
const OPAQUE_BYTES = 4096;
const needs = ['abi/library'];

export const DEVICE_CHECKS: readonly Check[] = [
  {
    name: 'device/nodes',
    assumption: 'the kernel driver qaic makes /dev/accel/accel*, and this user may read and write them',
    source: 'the driver in Linux',
    cardOnly: 'an emulated card has no kernel driver',
    light: true,
    run: () => {
      const nodes = accelNodes();
      if (nodes.length === 0) throw new Deviation('at least one /dev/accel/accel*', 'none');
      const closed = nodes.filter((n) => !open(n));
      if (closed.length > 0) throw new Deviation('read and write access', `none to ${closed.join(', ')}`);
      return { received: nodes.join(', ') };
    },
  },
  {
    name: 'device/resources',
    assumption: 'QResourceInfo has 56 bytes with natural alignment, and its figures agree with each other',
    source: FACTS.runtime,
    needs,
    light: true,
    run: ({ runtime, device }) => {
      const info = Buffer.alloc(RESOURCE_BYTES + 64, CANARY);
      info.fill(0, 0, RESOURCE_BYTES);
      runtime.ok('qaicGetResourceInfo', device, info);
      const total = info.readBigUInt64LE(8);
      const free = info.readBigUInt64LE(16);
      const cores = { total: info.readUInt8(26), free: info.readUInt8(27) };
      const received = `memory ${total} of which free ${free}, cores ${cores.total} of which free ${cores.free}`;
      const pairs = [
        [info.readUInt8(24), info.readUInt8(25)],
        [info.readUInt32LE(28), info.readUInt32LE(32)],
        [info.readUInt32LE(36), info.readUInt32LE(40)],
      ];
      const good =
        total >= 1n << 30n &&
        total <= 1n << 42n &&
        free <= total &&
        cores.total >= 1 &&
        cores.total <= 64 &&
        cores.free <= cores.total &&
        pairs.every(([all = 0, left = 0]) => left <= all);
      if (!good) throw new Deviation('1 GiB or more, 1 to 64 cores, nowhere more free than there is', received, 0);
      if (!info.subarray(RESOURCE_BYTES).every((b) => b === CANARY)) {
        throw new Deviation('56 bytes', 'more than 56 bytes were written', 0);
      }
      return { received, status: 0 };
    },
  },
  {
    name: 'device/info',
    assumption: 'qaicGetDeviceInfo fits into a zeroed block of 4096 bytes',
    source: 'the struct is opaque to vlm-run; its size is assumed',
    needs,
    light: true,
    run: ({ runtime, device }) => {
      const info = Buffer.alloc(OPAQUE_BYTES * 2, CANARY);
      info.fill(0, 0, OPAQUE_BYTES);
      runtime.ok('qaicGetDeviceInfo', device, info);
      return opaque(info);
    },
  },
  {
    name: 'device/list-ends',
    assumption: 'an id without a card is answered with status 5 by both functions, so that trying ids lists the cards',
    source: FACTS.runtime,
    needs,
    light: true,
    run: ({ runtime, order }) => {
      // Emulated cards number 64 at most.
      const count = order.emulated ? 64 : Math.max(1, accelNodes().length);
      const info = Buffer.alloc(OPAQUE_BYTES);
      for (const id of [count, 1 << 20]) {
        for (const name of ['qaicGetResourceInfo', 'qaicGetDeviceInfo']) {
          const status = runtime.call(name, id, info);
          if (status !== NO_DEVICE) {
            throw new Deviation(`id ${id}: ${statusText(name, NO_DEVICE)}`, statusText(name, status), status);
          }
        }
      }
      return { received: `status ${NO_DEVICE} from id ${count} on`, status: NO_DEVICE };
    },
  },
  {
    name: 'device/context',
    assumption: 'a context is made without properties and callbacks, twice at a time, and released',
    source: FACTS.runtime,
    needs,
    light: true,
    run: (kit) => {
      const handles = [kit.context(), kit.context()];
      if (handles[0] === handles[1]) throw new Deviation('two handles', 'the same handle twice', SUCCESS);
      for (const handle of handles) {
        kit.runtime.ok('qaicReleaseContext', handle);
      }
      kit.forget();
      return { received: 'two contexts, released', status: SUCCESS };
    },
  },
  {
    name: 'device/log-level',
    assumption: 'qaicSetLogLevel takes a context and a level',
    source: FACTS.runtime,
    needs: ['device/context'],
    light: true,
    run: (kit) => {
      kit.runtime.ok('qaicSetLogLevel', kit.context(), 1);
      return { received: 'level 1 taken', status: SUCCESS };
    },
  },
  {
    name: 'device/queue',
    assumption: 'a queue is made without properties on a card of the context, and released before it',
    source: FACTS.runtime,
    needs: ['device/context'],
    light: true,
    run: (kit) => {
      const context = kit.context();
      const queue = kit.queue(context);
      kit.runtime.ok('qaicReleaseQueue', queue);
      kit.runtime.ok('qaicReleaseContext', context);
      kit.forget();
      return { received: 'made and released', status: SUCCESS };
    },
  },
  {
    name: 'program/properties',
    assumption: 'qaicProgramPropertiesInitDefault fits into a zeroed block of 4096 bytes',
    source: 'the struct is opaque to vlm-run; its size is assumed',
    needs,
    light: true,
    run: ({ runtime }) => {
      const properties = Buffer.alloc(OPAQUE_BYTES * 2, CANARY);
      properties.fill(0, 0, OPAQUE_BYTES);
      runtime.ok('qaicProgramPropertiesInitDefault', properties);
      return opaque(properties);
    },
  },
];

function opaque(block: Buffer): { received: string; status: number } {
  if (block.subarray(OPAQUE_BYTES).every((b) => b === CANARY)) {
    return { received: `nothing written past ${OPAQUE_BYTES} bytes`, status: SUCCESS };
  }
  throw new Deviation(`at most ${OPAQUE_BYTES} bytes`, 'more was written', SUCCESS);
}

function accelNodes(): string[] {
  try {
    return readdirSync('/dev/accel').filter((n) => n.startsWith('accel'));
  } catch {
    return [];
  }
}

function open(node: string): boolean {
  try {
    accessSync(join('/dev/accel', node), constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
