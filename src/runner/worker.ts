/** Entry of every worker thread and its composition root: everything behind these functions loads when first used. */
import { loadNode } from '../nodes/modules.js';
import { enableCompileCache } from '../util/compile-cache.js';
import { loadPluginModule } from './plugin.js';
import { createWorkerHandler } from './worker-runtime.js';

enableCompileCache();
// Standard output is the answer alone: what a node prints there, console.log included, goes where messages go.
Object.defineProperty(process, 'stdout', { get: () => process.stderr });

export default createWorkerHandler({
  loadNode,
  loadPlugin: loadPluginModule,
  loadDriver: async (kind) => (await import('../devices/drivers.js')).loadDriver(kind),
  openModel: async (model) => {
    const [{ openModel }, { describeFile }] = await Promise.all([
      import('../model/context.js'),
      import('../devices/describe.js'),
    ]);
    return openModel(model, { describe: describeFile });
  },
  programPath: async (model, role) => {
    const { openModelFolder, requireProgram } = await import('../model/folder.js');
    return requireProgram(await openModelFolder(model), role);
  },
  programDigest: async (path) => (await import('../model/digest.js')).programDigest(path),
});
