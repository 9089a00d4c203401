/** What a run on cards will call, step by step: compiled shapes, their padding, and where the programs lie. */
import type { DeviceConfig, ProgramDescription, ProgramRole } from '../contracts/device.js';
import { VlmError } from '../contracts/errors.js';
import type { FamilyModel } from '../contracts/family.js';
import type { Plan, PlanNode } from '../contracts/recipe.js';
import { cardMemory, estimateMemory } from '../devices/ai100/compile/checks.js';
import { cardsOf, coresOf } from '../devices/ai100/compile/command.js';
import { type CardLoad, loadCards } from '../devices/ai100/planner/cards.js';
import { chooseTiles, tilesOf, wastePercent } from '../devices/ai100/planner/tiles.js';
import { type PlannedStep, planPromptCalls } from '../generation/call-plan.js';
import { itemsPerCall, tilesPerCall } from '../nodes/encode/grouping.js';
import { longestAnswer } from '../runner/fit.js';
import { promptOf, type ShapePlan } from '../runner/shape-plan.js';
import { type CompileJob, describeJob } from './compile.js';
import type { GivenProgram } from './given-programs.js';

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

/** What a full batch of prompts, or of items with images, like this one calls. */
export interface CardBatch {
  readonly rows: number;
  /** They share their prefill calls, or a call of the vision program; otherwise each has calls of its own. */
  readonly together: boolean;
  readonly calls: readonly CardCall[];
  /** Of all positions of its prefill calls, or of all tiles. */
  readonly wastePercent: number;
}

export interface CardProgramPlan {
  readonly node: string;
  readonly program: ProgramRole;
  readonly device: string;
  readonly cards: readonly number[];
  readonly cores: number;
  readonly weightBytes: number;
  /** Null where a ready program does not say. */
  readonly cacheBytes: number | null;
  readonly bytesPerCard: number | null;
  /** Of all positions or tiles of the prompt's calls (prefill for a language program). */
  readonly wastePercent: number;
  readonly calls: readonly CardCall[];
  /** Of nodes that take several items at once. */
  readonly batches: readonly CardBatch[];
  readonly specializations: readonly { readonly name: string; readonly symbols: Readonly<Record<string, number>> }[];
  /** The folder of a program that was compiled already; null: `vlm-run compile` makes it. */
  readonly ready: string | null;
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

/** A program of a card: to be compiled, or compiled already. */
interface Source {
  readonly role: ProgramRole;
  readonly node: string;
  readonly device: string;
  readonly config: DeviceConfig;
  readonly description: ProgramDescription | null;
  readonly specializations: CardProgramPlan['specializations'];
  readonly weightBytes: number;
  readonly cacheBytes: number | null;
  readonly ready: string | null;
}

/** Throws SHAPE_NOT_ALLOWED, with the place in the recipe, for a call that no compiled shape takes. */
export function planCards(
  plan: Plan,
  shapes: ShapePlan,
  jobs: readonly CompileJob[],
  given: readonly GivenProgram[] = [],
  family: Pick<FamilyModel, 'exportedImage'> | undefined = jobs[0]?.family,
): CardPlan {
  const sources = [...jobs.map(compiled), ...given.map(ready)];
  const programs = sources.map((source) => planProgram(plan, shapes, source));
  const cards = loadCards(
    programs.map((p, i) => {
      const memory = cardMemory(sources[i]?.config ?? { kind: 'ai100' });
      return { name: `${p.program} on ${p.device}`, ids: p.cards, cores: p.cores, bytes: p.bytesPerCard, ...memory };
    }),
  );
  const exportedImage = family?.exportedImage ?? null;
  return {
    programs,
    cards,
    fewerTiles: exportedImage === null,
    exportedImage,
    notes: notesOf(cards, programs, sources, exportedImage),
  };
}

function compiled(job: CompileJob): Source {
  const { role, node, device, specializations } = job.spec;
  const { weightBytes, cacheBytes } = estimateMemory(job.graph, job.spec, job.device);
  return {
    ...{ role, node, device, config: job.device, description: describeJob(job), weightBytes, cacheBytes, ready: null },
    specializations: specializations.map(({ name, symbols }) => ({ name, symbols })),
  };
}

function ready({ role, node, device, config, path, description, cacheBytes }: GivenProgram): Source {
  return {
    ...{ role, node, device, config, description, cacheBytes, ready: path },
    weightBytes: description?.weightBytes ?? 0,
    specializations: (description?.allowedShapes ?? []).map(({ name, symbols }) => ({ name, symbols })),
  };
}

function notesOf(
  cards: readonly CardLoad[],
  programs: readonly CardProgramPlan[],
  sources: readonly Source[],
  image: CardPlan['exportedImage'],
): readonly string[] {
  return [
    ...(image === null
      ? ['images with fewer tiles fit: the rest is filled with zero tiles, whose rows are never read']
      : [
          `every image is brought to ${image.width}×${image.height} and ${image.tiles} tiles first: the exported program knows no other size`,
        ]),
    ...sources
      .filter((s) => s.description === null)
      .map(
        (s) =>
          `calls of the ${s.role} program are not planned: neither the runtime of the card nor a specializations.json beside ${s.ready ?? 'it'} says its shapes`,
      ),
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

function planProgram(plan: Plan, shapes: ShapePlan, source: Source): CardProgramPlan {
  const { description, role, device, config, weightBytes, cacheBytes } = source;
  const nodes = plan.nodes.filter((n) => n.manifest.program === role && n.device === device);
  const calls =
    description === null
      ? []
      : nodes.flatMap((node) =>
          located(node, () =>
            role === 'vision'
              ? encodeCalls(description, tilesFor(shapes, node))
              : (languageCalls(description, node, shapes)?.calls ?? []),
          ),
        );
  const batches =
    description === null ? [] : nodes.flatMap((node) => located(node, () => batchOf(description, node, shapes)) ?? []);
  return {
    node: source.node,
    program: role,
    device,
    cards: config.ids ?? Array.from({ length: cardsOf(config) }, (_, i) => i),
    cores: coresOf(config),
    weightBytes,
    cacheBytes,
    bytesPerCard:
      cacheBytes === null || description === null ? null : Math.ceil((weightBytes + cacheBytes) / cardsOf(config)),
    wastePercent: wasteOf(calls),
    calls,
    batches,
    specializations: source.specializations,
    ready: source.ready,
    emulated: description?.emulated ?? false,
  };
}

function tilesFor(shapes: ShapePlan, node: PlanNode): number {
  return promptOf(shapes.prompts, node)?.tiles ?? 0;
}

/** Decode steps have no positions to fill: theirs are counted call by call. */
function wasteOf(calls: readonly CardCall[]): number {
  const counted = calls.filter((c) => c.what !== 'decode');
  const sum = (key: 'used' | 'slots'): number => counted.reduce((n, c) => n + c[key] * c.times, 0);
  return wastePercent(sum('used'), sum('slots'));
}

function located<T>(node: PlanNode, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof VlmError) || node.location === undefined) throw error;
    throw new VlmError(error.code, { location: node.location, ...error.details });
  }
}

function encodeCalls(description: ProgramDescription, tiles: number, times = 1): readonly CardCall[] {
  if (tiles === 0) return [];
  const { name, symbols, ...set } = chooseTiles(description, tiles);
  const slots = tilesOf({ name, symbols, ...set });
  const waste = wastePercent(tiles, slots);
  return [{ what: 'encode', times, specialization: name, symbols, used: tiles, slots, wastePercent: waste }];
}

/** As the encode node takes its items: as many a call as the largest compiled count of tiles holds. */
function encodeBatch(description: ProgramDescription, tiles: number, rows: number): Omit<CardBatch, 'rows'> | null {
  if (tiles === 0) return null;
  const items = Array<number>(rows).fill(tiles);
  const one = itemsPerCall(items, 0, rows, tilesPerCall(description));
  const full = Math.floor(rows / one);
  const calls = [
    ...encodeCalls(description, one * tiles, full),
    ...encodeCalls(description, (rows - full * one) * tiles),
  ];
  return { together: one > 1, calls, wastePercent: wasteOf(calls) };
}

function languageCalls(
  description: ProgramDescription,
  node: PlanNode,
  shapes: ShapePlan,
  rows = 1,
): { readonly together: boolean; readonly calls: readonly CardCall[] } | null {
  const decode = shapes.decodes.find((d) => d.node === node.name);
  const prompt = promptOf(shapes.prompts, node);
  if (decode === undefined || prompt === undefined) return null;
  const limit = node.options['prefill_seq_len'];
  const {
    together,
    prefill,
    decode: steps,
  } = planPromptCalls(description, prompt.promptTokens, {
    prefillSeqLen: typeof limit === 'number' ? limit : 128,
    ctxLen: decode.ctxLen,
    newTokens: longestAnswer(decode),
    rows,
    vision: prompt.visionTokens > 0,
  });
  return { together, calls: inRuns([...prefill, ...steps]) };
}

function batchOf(description: ProgramDescription, node: PlanNode, shapes: ShapePlan): CardBatch | null {
  const rows = node.options['batch_size'];
  if (typeof rows !== 'number' || rows < 2) return null;
  if (description.role === 'vision') {
    const planned = encodeBatch(description, tilesFor(shapes, node), rows);
    return planned === null ? null : { rows, ...planned };
  }
  const planned = languageCalls(description, node, shapes, rows);
  return planned === null ? null : { rows, ...planned, wastePercent: wasteOf(planned.calls) };
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
