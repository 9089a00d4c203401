/** The shape plan with the built-in registries. */
import type { ProgramDescription } from '../contracts/device.js';
import { VlmError } from '../contracts/errors.js';
import type { Plan } from '../contracts/recipe.js';
import type { RunItem } from '../runner/item.js';
import { planShapes, type ShapePlan } from '../runner/shape-plan.js';

export async function shapePlan(given: Plan, item: RunItem): Promise<ShapePlan> {
  const { plan, planned } = await cardPrograms(given);
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
      const shapes = planned.get(`${name} ${role}`);
      if (shapes !== undefined) return shapes;
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

/**
 * Programs of cards: those in the cache, or, for what is not compiled yet, what compiling would make of the graphs. A
 * plan needs neither card nor compiler.
 */
async function cardPrograms(
  plan: Plan,
): Promise<{ readonly plan: Plan; readonly planned: ReadonlyMap<string, ProgramDescription> }> {
  const planned = new Map<string, ProgramDescription>();
  if (!Object.values(plan.devices).some((device) => device.kind === 'ai100')) return { plan, planned };
  const { compileJobs, describeJob, resolvePrograms } = await import('./compile.js');
  for (const job of await compileJobs(plan).catch(notThere)) {
    planned.set(`${job.spec.device} ${job.spec.role}`, describeJob(job));
  }
  const resolved = await resolvePrograms(plan).catch((error: unknown) => {
    if (error instanceof VlmError && error.code !== 'OPTION_INVALID') return plan;
    throw error;
  });
  return { plan: resolved, planned };
}

/** A model without exported programs can be planned all the same. */
function notThere(error: unknown): readonly never[] {
  if (error instanceof VlmError && error.code === 'MODEL_MISSING') return [];
  throw error;
}
