/** The library itself: it loads, has the functions, and says its version. */
import { openLibrary } from '../../library.js';
import { Out } from '../runtime.js';
import { type Check, Deviation, FACTS } from '../types.js';

const DEVICE_RESOURCES_ABSENT = -1;

export const ABI_CHECKS: readonly Check[] = [
  {
    name: 'abi/symbols',
    assumption: 'the library loads and exports every function that the binding calls',
    source: FACTS.runtime,
    light: true,
    run: ({ addon, order }) => {
      const { error, names = [], missing = [] } = addon.symbols(order.library);
      if (error !== undefined) throw new Deviation('a library that loads', error);
      if (missing.length > 0) throw new Deviation(`${names.length} functions`, `without ${missing.join(', ')}`);
      return { received: `${names.length} functions` };
    },
  },
  {
    name: 'abi/library',
    assumption: 'the binding opens the library and reads version and resources of the card',
    source: FACTS.runtime,
    needs: ['abi/symbols'],
    light: true,
    run: ({ addon, order }) => {
      const opened = openLibrary({ kind: 'ai100', emulated: order.emulated });
      const found = addon.resources(opened.library, order.device);
      const known = found.status === 0;
      return {
        received: `version ${opened.version}`,
        survey: {
          emulated: opened.emulator,
          version: opened.version,
          sdkHeader: addon.sdk,
          coresTotal: known ? found.coresTotal : DEVICE_RESOURCES_ABSENT,
          memoryTotal: known ? found.memoryTotal : DEVICE_RESOURCES_ABSENT,
        },
      };
    },
  },
  {
    name: 'abi/version',
    assumption: 'qaicGetAicVersion writes two uint16 and the addresses of two C strings',
    source: FACTS.runtime,
    needs: ['abi/library'],
    light: true,
    run: ({ runtime }) => {
      const major = new Out(2);
      const minor = new Out(2);
      const patch = new Out();
      const variant = new Out();
      runtime.ok('qaicGetAicVersion', major.bytes, minor.bytes, patch.bytes, variant.bytes);
      const words = [runtime.text(patch.value), runtime.text(variant.value)];
      const numbers = [major, minor].map((out) => out.bytes.readUInt16LE(0));
      const received = `${numbers.join('.')}, patch ${quoted(words[0])}, variant ${quoted(words[1])}`;
      if (![major, minor, patch, variant].every((out) => out.whole)) {
        throw new Deviation('two uint16 and two addresses', `${received}; more was written`, 0);
      }
      if (words.includes(null) || words[0] === undefined) {
        throw new Deviation('numbers, and two readable C strings', received, 0);
      }
      return { received, status: 0 };
    },
  },
];

function quoted(text: string | null | undefined): string {
  return text === null || text === undefined ? 'not readable' : `"${text}"`;
}
