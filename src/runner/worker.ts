/** Entry of every worker thread and its composition root: everything behind these functions loads when first used. */
import { loadNode } from '../nodes/modules.js';
import { enableCompileCache } from '../util/compile-cache.js';
import { loadPluginModule } from './plugin.js';
import { createWorkerHandler } from './worker-runtime.js';

enableCompileCache();

export default createWorkerHandler({
  loadNode,
  loadPlugin: loadPluginModule,
  loadDriver: async (kind) => (await import('../devices/drivers.js')).loadDriver(kind),
  openModel: async (model) => (await import('../model/context.js')).openModel(model),
  programPath: async (model, role) => {
    const { openModelFolder, requireProgram } = await import('../model/folder.js');
    return requireProgram(await openModelFolder(model), role);
  },
});
