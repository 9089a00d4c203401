/** The shape plan with the built-in registries. */
import { VlmError } from '../contracts/errors.js';
import type { Plan } from '../contracts/recipe.js';
import type { RunItem } from '../runner/item.js';
import { planShapes, type ShapePlan } from '../runner/shape-plan.js';

export async function shapePlan(plan: Plan, item: RunItem): Promise<ShapePlan> {
  const [{ openModelFolder }, { openModelContext }, { readImageSize }, { loadDriver }] = await Promise.all([
    import('../model/folder.js'),
    import('../model/context.js'),
    import('../image/decode.js'),
    import('../devices/drivers.js'),
  ]);
  const folder = await openModelFolder(plan.model);
  const model = await openModelContext(folder);
  return planShapes(plan, item, {
    model,
    modelName: folder.name,
    imageSize: (bytes, name, { exif_orientation }) =>
      readImageSize(bytes, { name, ...(typeof exif_orientation === 'boolean' ? { exif: exif_orientation } : {}) }),
    inspect: async (role, name) => {
      const device = plan.devices[name];
      const { path } = folder.programs[role];
      if (path === null || device === undefined) return null;
      try {
        return await (await loadDriver(device.kind)).inspect({ role, path }, device);
      } catch (error) {
        // A plan needs no device: what cannot be asked stays unknown.
        if (error instanceof VlmError && error.code.startsWith('DEVICE_')) return null;
        throw error;
      }
    },
  });
}
