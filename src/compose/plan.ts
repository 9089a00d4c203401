/** The shape plan with the built-in registries. */
import type { ProgramDescription, ProgramRole } from '../contracts/device.js';
import { VlmError } from '../contracts/errors.js';
import type { FamilyModel } from '../contracts/family.js';
import type { Plan } from '../contracts/recipe.js';
import type { RunItem } from '../runner/item.js';
import { type PlanSources, planShapes, type ShapePlan } from '../runner/shape-plan.js';
import type { CardPlan } from './card-plan.js';

export interface FullPlan extends ShapePlan {
  /** Null without a device of compiled shapes. */
  readonly cards: CardPlan | null;
}

/** What the shape plan needs, and where the model's programs are. */
interface FullSources extends PlanSources {
  readonly programs: Readonly<Record<ProgramRole, string | null>>;
}

/** What planning found out about models and programs, for plans that are made together: nothing is looked at twice. */
export class PlanLooks {
  readonly #known = new Map<string, Promise<unknown>>();

  /** `what` tells one look from every other one: models by their reference, programs by file and device. */
  once<T>(what: readonly unknown[], look: () => Promise<T>): Promise<T> {
    const key = JSON.stringify(what);
    const known = this.#known.get(key) as Promise<T> | undefined;
    if (known !== undefined) return known;
    const made = look();
    this.#known.set(key, made);
    return made;
  }
}

export async function planSources(plan: Plan, looks: PlanLooks = new PlanLooks()): Promise<FullSources> {
  const [{ openModelFolder }, { openModelContext }, { readImageSize }, { loadDriver }, { describeFile }] =
    await Promise.all([
      import('../model/folder.js'),
      import('../model/context.js'),
      import('../image/decode.js'),
      import('../devices/drivers.js'),
      import('../devices/describe.js'),
    ]);
  const folder = await looks.once(['folder', plan.model], () => openModelFolder(plan.model));
  const onCards = plan.nodes.some(
    (n) => n.manifest.program === 'vision' && plan.devices[n.device ?? '']?.kind === 'ai100',
  );
  const calls = onCards ? 'padded' : 'exact';
  const model = await looks.once(['model', plan.model, calls], () =>
    openModelContext(folder, { describe: describeFile, calls }),
  );
  return {
    model,
    modelName: folder.name,
    programs: { vision: folder.programs.vision.path, language: folder.programs.language.path },
    imageSize: (bytes, name, { exif_orientation }) =>
      readImageSize(bytes, { name, ...(typeof exif_orientation === 'boolean' ? { exif: exif_orientation } : {}) }),
    inspect: async (role, name) => {
      const device = plan.devices[name];
      const { path } = folder.programs[role];
      // An exported program is not what a card runs: its own plan says what will be.
      if (path === null || device === undefined || device.kind === 'ai100') return null;
      try {
        const look = async (): Promise<ProgramDescription> =>
          (await loadDriver(device.kind)).inspect({ role, path }, device);
        return await looks.once(['program', role, path, device], look);
      } catch (error) {
        // A plan needs no device: what cannot be asked stays unknown.
        if (error instanceof VlmError && error.code.startsWith('DEVICE_')) return null;
        throw error;
      }
    },
  };
}

/** A model that cannot be used is told at the line that names it, as in a run. */
async function atModel<T>({ modelLocation: location }: Plan, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof VlmError) || location === undefined) throw error;
    if (!error.code.startsWith('MODEL_') || error.details.location !== undefined) throw error;
    throw new VlmError(error.code, { ...error.details, location });
  }
}

export async function shapePlan(plan: Plan, item: RunItem): Promise<FullPlan> {
  return (await shapePlanner(plan))(item);
}

/** For many items: what all of them share, the model and its programs, is looked at once; for many plans, with `looks`. */
export async function shapePlanner(plan: Plan, looks?: PlanLooks): Promise<(item: RunItem) => Promise<FullPlan>> {
  const sources = await atModel(plan, () => planSources(plan, looks));
  let cards: ReturnType<typeof cardPlanner> | undefined;
  return async (item) => {
    // What is wrong with the lengths says more than what is wrong with the compiling that follows from them.
    const shapes = await planShapes(plan, item, sources);
    cards ??= cardPlanner(plan, sources);
    return (await cards)?.(shapes) ?? { ...shapes, cards: null };
  };
}

/** Null without a device of compiled shapes. */
async function cardPlanner(plan: Plan, sources: FullSources): Promise<((shapes: ShapePlan) => FullPlan) | null> {
  if (!Object.values(plan.devices).some((device) => device.kind === 'ai100')) return null;
  const [{ compileJobs, usesCards }, { planCards }, { givenPrograms }] = await Promise.all([
    import('./compile.js'),
    import('./card-plan.js'),
    import('./given-programs.js'),
  ]);
  if (!usesCards(plan)) return null;
  const { family } = sources.model;
  let jobs: Awaited<ReturnType<typeof compileJobs>>;
  try {
    jobs = await compileJobs(plan);
  } catch (error) {
    // Lengths follow from the configuration; only what a card will call needs the programs.
    if (!(error instanceof VlmError) || error.code !== 'MODEL_MISSING') throw error;
    const warnings = unplannedCards(error, family.exportedImage);
    return (shapes) => ({ ...shapes, cards: null, warnings: [...shapes.warnings, ...warnings] });
  }
  const given = await givenPrograms(plan, sources.programs);
  return (shapes) => withCards(shapes, planCards(plan, shapes, jobs, given, family));
}

function unplannedCards({ details }: VlmError, image: FamilyModel['exportedImage']): readonly string[] {
  const remedy = details.hint === undefined ? '' : ` (${details.hint})`;
  return [
    `what the card will call is not planned: ${details.what}${remedy}`,
    ...(image === undefined
      ? []
      : [
          `taken for granted: an export for one image size, every image brought to ${image.width}×${image.height} and ${image.tiles} tiles`,
        ]),
  ];
}

/** Calls, chunks and memory as the cards will have them in place of exact ones. */
function withCards(shapes: ShapePlan, cards: CardPlan): FullPlan {
  const planned = (node: string, program: string): CardPlan['programs'][number] | undefined =>
    cards.programs.find(
      (p) => p.program === program && shapes.programs.some((s) => s.nodes.includes(node) && s.device === p.device),
    );
  const programs = shapes.programs.map((p) => {
    const card = planned(p.node, p.program);
    if (card === undefined) return p;
    const { stateAssumed: _, ...known } = p;
    return { ...known, weightBytes: card.weightBytes, stateBytes: card.cacheBytes };
  });
  const known = programs.every((p) => p.weightBytes !== null && p.stateBytes !== null);
  return {
    ...shapes,
    decodes: shapes.decodes.map((d) => {
      const card = planned(d.node, 'language');
      const chunks = card?.calls
        .filter((c) => c.what === 'prefill')
        .flatMap((c) => Array<number>(c.times).fill(c.used));
      return chunks === undefined || chunks.length === 0 ? d : { ...d, prefillChunks: chunks };
    }),
    calls: shapes.calls.filter((call) => (planned(call.node, call.program)?.calls ?? []).length === 0),
    programs,
    memoryBytes: known ? programs.reduce((n, p) => n + (p.weightBytes ?? 0) + (p.stateBytes ?? 0), 0) : null,
    cards,
  };
}
