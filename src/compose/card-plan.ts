/** What a run on cards will call, step by step: compiled shapes, their padding, and where the programs lie. */
import type { ProgramDescription, ProgramRole } from '../contracts/device.js';
import { VlmError } from '../contracts/errors.js';
import type { FamilyModel } from '../contracts/family.js';
import type { Plan, PlanNode } from '../contracts/recipe.js';
import { estimateMemory } from '../devices/ai100/compile/checks.js';
import { cardsOf, coresOf } from '../devices/ai100/compile/command.js';
import { type CardLoad, loadCards } from '../devices/ai100/planner/cards.js';
import { chooseTiles, tilesOf, wastePercent } from '../devices/ai100/planner/tiles.js';
import { type PlannedStep, planPromptCalls } from '../generation/call-plan.js';
import type { ShapePlan } from '../runner/shape-plan.js';
import { type CompileJob, describeJob } from './compile.js';

/** Calls in a row that have one shape and one padding. */
export interface CardCall {
  readonly what: 'encode' | 'prefill' | 'decode';
  readonly times: number;
  readonly specialization: string;
  readonly symbols: Readonly<Record<string, number>>;
  /** Tiles (encode) or positions (prefill, decode) that hold something, of `slots` that are computed. */
  readonly used: number;
  readonly slots: number;
  readonly wastePercent: number;
}

export interface CardProgramPlan {
  readonly node: string;
  readonly program: ProgramRole;
  readonly device: string;
  readonly cards: readonly number[];
  readonly cores: number;
  readonly weightBytes: number;
  readonly cacheBytes: number;
  readonly bytesPerCard: number;
  /** Of all positions or tiles of the prompt's calls (prefill for a language program). */
  readonly wastePercent: number;
  readonly calls: readonly CardCall[];
  readonly specializations: readonly { readonly name: string; readonly symbols: Readonly<Record<string, number>> }[];
  readonly emulated: boolean;
}

export interface CardPlan {
  readonly programs: readonly CardProgramPlan[];
  readonly cards: readonly CardLoad[];
  /** Whether an image may have fewer tiles than compiled. */
  readonly fewerTiles: boolean;
  readonly exportedImage: { readonly width: number; readonly height: number; readonly tiles: number } | null;
  readonly notes: readonly string[];
}

/** Throws SHAPE_NOT_ALLOWED, with the place in the recipe, for a call that no compiled shape takes. */
export function planCards(plan: Plan, shapes: ShapePlan, jobs: readonly CompileJob[]): CardPlan {
  const programs = jobs.map((job) => planProgram(plan, shapes, job));
  const family = jobs[0]?.family;
  const cards = loadCards(
    programs.map((p, i) => {
      const job = jobs[i];
      const memory = job === undefined ? null : estimateMemory(job.graph, job.spec, job.device);
      return {
        name: `${p.program} on ${p.device}`,
        ids: p.cards,
        cores: p.cores,
        bytes: p.bytesPerCard,
        cardBytes: memory?.cardBytes ?? 0,
        cardBytesKnown: memory?.cardKnown ?? false,
      };
    }),
  );
  const exportedImage = family?.exportedImage ?? null;
  return {
    programs,
    cards,
    fewerTiles: exportedImage === null,
    exportedImage,
    notes: notesOf(cards, programs, family),
  };
}

function notesOf(
  cards: readonly CardLoad[],
  programs: readonly CardProgramPlan[],
  family: FamilyModel | undefined,
): readonly string[] {
  const image = family?.exportedImage;
  return [
    ...(image === undefined
      ? ['images with fewer tiles fit: the rest is filled with zero tiles, whose rows are never read']
      : [
          `every image is brought to ${image.width}×${image.height} and ${image.tiles} tiles first: the exported program knows no other size`,
        ]),
    ...cards
      .filter((c) => c.mode === 'swapped')
      .map(
        (c) => `card ${c.card}: ${c.programs.join(' and ')} need ${c.cores} cores of 16 and are swapped each request`,
      ),
    ...cards
      .filter((c) => c.bytes !== null && c.bytes > c.cardBytes)
      .map((c) => `card ${c.card}: its programs take more memory than it has${c.cardBytesKnown ? '' : ' (assumed)'}`),
    ...(programs.some((p) => p.emulated) ? ['the card is emulated'] : []),
  ];
}

function planProgram(plan: Plan, shapes: ShapePlan, job: CompileJob): CardProgramPlan {
  const description = describeJob(job);
  const { role, device } = job.spec;
  const memory = estimateMemory(job.graph, job.spec, job.device);
  const nodes = plan.nodes.filter((n) => n.manifest.program === role && n.device === device);
  const calls = nodes.flatMap((node) =>
    located(node, () =>
      role === 'vision' ? encodeCalls(description, shapes.tiles) : languageCalls(description, node, shapes),
    ),
  );
  const counted = calls.filter((c) => c.what !== 'decode');
  const sum = (key: 'used' | 'slots'): number => counted.reduce((n, c) => n + c[key] * c.times, 0);
  return {
    node: job.spec.node,
    program: role,
    device,
    cards: job.device.ids ?? Array.from({ length: cardsOf(job.device) }, (_, i) => i),
    cores: coresOf(job.device),
    weightBytes: memory.weightBytes,
    cacheBytes: memory.cacheBytes,
    bytesPerCard: memory.perCard,
    wastePercent: wastePercent(sum('used'), sum('slots')),
    calls,
    specializations: job.spec.specializations.map(({ name, symbols }) => ({ name, symbols })),
    emulated: description.emulated,
  };
}

function located<T>(node: PlanNode, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof VlmError) || node.location === undefined) throw error;
    throw new VlmError(error.code, { location: node.location, ...error.details });
  }
}

function encodeCalls(description: ProgramDescription, tiles: number): readonly CardCall[] {
  if (tiles === 0) return [];
  const set = chooseTiles(description, tiles);
  const slots = tilesOf(set);
  return [
    {
      what: 'encode',
      times: 1,
      specialization: set.name,
      symbols: set.symbols,
      used: tiles,
      slots,
      wastePercent: wastePercent(tiles, slots),
    },
  ];
}

function languageCalls(description: ProgramDescription, node: PlanNode, shapes: ShapePlan): readonly CardCall[] {
  const decode = shapes.decodes.find((d) => d.node === node.name);
  if (decode === undefined) return [];
  const limit = node.options['prefill_seq_len'];
  const steps = planPromptCalls(description, shapes.promptTokens, {
    prefillSeqLen: typeof limit === 'number' ? limit : 128,
    ctxLen: decode.ctxLen,
    newTokens: decode.maxNewTokens,
  });
  return inRuns([...steps.prefill, ...steps.decode]);
}

function inRuns(steps: readonly PlannedStep[]): readonly CardCall[] {
  const calls: CardCall[] = [];
  let before: PlannedStep | undefined;
  for (const step of steps) {
    const last = calls.at(-1);
    if (last !== undefined && before?.set === step.set && before.used === step.used && before.kind === step.kind) {
      calls[calls.length - 1] = { ...last, times: last.times + 1 };
    } else {
      const { kind, set, used, slots } = step;
      const waste = wastePercent(used, slots);
      calls.push({
        what: kind,
        times: 1,
        specialization: set.name,
        symbols: set.symbols,
        used,
        slots,
        wastePercent: waste,
      });
    }
    before = step;
  }
  return calls;
}
