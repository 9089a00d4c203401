/** Run modules by node kind. A worker loads one when the first task of its kind arrives, and nothing before. */
import { VlmError } from '../contracts/errors.js';
import type { NodeModule } from '../contracts/node.js';

export const NODE_MODULES: Readonly<Record<string, () => Promise<NodeModule>>> = {
  preprocess: () => import('./preprocess/run.js'),
  encode: () => import('./encode/run.js'),
  decode: () => import('./decode/run.js'),
  fuse: () => import('./fuse/run.js'),
};

export async function loadNode(kind: string): Promise<NodeModule> {
  const load = Object.hasOwn(NODE_MODULES, kind) ? NODE_MODULES[kind] : undefined;
  if (load === undefined) {
    throw new VlmError('INTERNAL', {
      what: `No run module is registered for node kind "${kind}"`,
      expected: `one of ${Object.keys(NODE_MODULES).join(', ')}`,
    });
  }
  return load();
}
