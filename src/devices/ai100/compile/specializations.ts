/**
 * Which shapes the programs of a recipe are compiled for. Derived from the recipe and the model alone: the same list
 * decides what the compiler is asked for, what an emulated program accepts and what the planner counts with.
 */
import type { DeviceConfig, ProgramPort, ProgramRole, ShapeSet } from '../../../contracts/device.js';
import { VlmError } from '../../../contracts/errors.js';
import type { ProgramSymbols } from '../../../contracts/family.js';
import type { ModelContext } from '../../../contracts/node.js';
import type { Plan, PlanNode, Reference } from '../../../contracts/recipe.js';

export interface Specialization {
  readonly name: string;
  readonly symbols: Readonly<Record<string, number>>;
  /** Rows of vision embeddings that a vision program gives at these shapes: no symbol of its graph says it. */
  readonly rows?: number;
}

/** One program of one device. Nodes that share device and role share the program; `node` is the first of them. */
export interface ProgramSpec {
  readonly role: ProgramRole;
  readonly node: string;
  readonly device: string;
  readonly specializations: readonly Specialization[];
}

/** What a spec is made of, before it is written as symbols. Lists are ascending, without repeats. */
export interface CompiledShapes {
  readonly batchSizes: readonly number[];
  readonly prefillSeqLens: readonly number[];
  readonly ctxLens: readonly number[];
  readonly tiles: readonly number[];
  readonly visionBatch: number;
  readonly fullBatchSize: number | null;
  readonly compPrefill: readonly number[];
  readonly compDecode: readonly number[];
}

/** Axis names that mean the number of tiles of one call, in the order in which they are believed. */
const TILE_AXES = ['batched_num_patches', 'max_num_tiles', 'num_tiles', 'num_patches', 'tiles'];

/** Programs of every ai100 device of the plan. Throws OPTION_INVALID and MODEL_UNSUPPORTED. */
export function deriveSpecializations(plan: Plan, model: ModelContext): readonly ProgramSpec[] {
  const groups = new Map<string, PlanNode[]>();
  for (const node of plan.nodes) {
    const { program } = node.manifest;
    if (program === undefined || node.device === null || plan.devices[node.device]?.kind !== 'ai100') continue;
    const key = `${node.device} ${program}`;
    groups.set(key, [...(groups.get(key) ?? []), node]);
  }
  return [...groups.values()].flatMap((nodes) => {
    const [first] = nodes;
    if (first?.device == null || first.manifest.program === undefined) return [];
    const role = first.manifest.program;
    const shapes = compiledShapes(plan, model, nodes);
    const specializations =
      role === 'vision' ? visionSets(shapes, symbolsOf(model)) : languageSets(shapes, symbolsOf(model));
    return [{ role, node: first.name, device: first.device, specializations }];
  });
}

function symbolsOf(model: ModelContext): ProgramSymbols {
  const { programSymbols, family } = model.family;
  if (programSymbols !== undefined) return programSymbols;
  throw new VlmError('MODEL_UNSUPPORTED', {
    what: `Programs of the family "${family}" cannot be compiled to fixed shapes`,
    expected: 'a family that names the symbolic axes of its programs (programSymbols)',
    hint: 'run this model on the cpu device, or give ready programs with the device option `programs`',
  });
}

/** The shapes that nodes of one program ask for: their own options, or the lists of the device's `shapes`. */
export function compiledShapes(plan: Plan, model: ModelContext, nodes: readonly PlanNode[]): CompiledShapes {
  const device: DeviceConfig = plan.devices[nodes[0]?.device ?? ''] ?? { kind: 'ai100' };
  const shapes = isRecord(device['shapes']) ? device['shapes'] : {};
  const own = (option: string, otherwise: number) => nodes.map((node) => numberOf(node.options[option]) ?? otherwise);
  const list = (option: string, otherwise: readonly number[]) => {
    const given = numbersOf(shapes[option]);
    return ascending(given.length > 0 ? given : otherwise);
  };
  const ctxLens = list('ctx_len', own('ctx_len', 1024));
  const encoders = plan.nodes.filter((n) => n.manifest.program === 'vision');
  const full = numberOf(shapes['full_batch_size']);
  return {
    batchSizes: list('batch_size', own('batch_size', 1)),
    prefillSeqLens: list('prefill_seq_len', own('prefill_seq_len', 128)),
    ctxLens,
    tiles: list('tiles', [Math.max(...encoders.map((n) => mostTiles(plan, model, n)), 1)]),
    visionBatch: Math.max(1, ...encoders.map((n) => numberOf(n.options['batch_size']) ?? 1)),
    fullBatchSize: full ?? null,
    compPrefill: list('comp_ctx_lengths_prefill', []),
    compDecode: list('comp_ctx_lengths_decode', []),
  };
}

/** Most tiles that one prompt gives an encode node: `max_tiles` of its preprocess node or the model's own, per image. */
export function mostTiles(plan: Plan, model: ModelContext, encode: PlanNode): number {
  const sources = Object.values(encode.inputs).flatMap((ref) => sourceOf(plan, ref));
  const { tiling } = model.family;
  const counts = sources.map((node) => {
    const most = numberOf(node.options['max_tiles']) ?? tiling?.maxTiles ?? 1;
    const thumbnail = node.options['use_thumbnail'] ?? tiling?.useThumbnail ?? false;
    return thumbnail === true && (most > 1 || tiling?.isWholeAlways === true) ? most + 1 : most;
  });
  return Math.max(1, ...(counts.length > 0 ? counts : [tiling?.maxTiles ?? 1]));
}

function sourceOf(plan: Plan, ref: Reference): readonly PlanNode[] {
  return ref.from === 'node' ? plan.nodes.filter((n) => n.name === ref.node) : [];
}

/** One set a number of tiles. */
export function visionSets(shapes: CompiledShapes, symbols: ProgramSymbols): readonly Specialization[] {
  const batchSize = shapes.visionBatch;
  return named(
    shapes.tiles.map((tiles) => {
      const set = { name: 'Vision', symbols: { batch_size: batchSize, ...symbols.vision({ batchSize, tiles }) } };
      const text = { batchSize, visionBatch: batchSize, tiles, prefillSeqLen: 1, ctxLen: 1 };
      const rows = symbols.language(text)['vision_size'];
      return rows === undefined ? set : { ...set, rows };
    }),
  );
}

/** Prefill sets first, then decode sets, as QEfficient orders them. */
export function languageSets(shapes: CompiledShapes, symbols: ProgramSymbols): readonly Specialization[] {
  const prefill: Specialization[] = [];
  const decode: Specialization[] = [];
  const longest = Math.max(...shapes.prefillSeqLens);
  const tiles = Math.max(...shapes.tiles);
  const full = shapes.fullBatchSize;
  for (const ctxLen of shapes.ctxLens) {
    const extra = (batch: number, prefillSeqLen: number) =>
      symbols.language({
        batchSize: full === null ? batch : 1,
        visionBatch: shapes.visionBatch,
        tiles,
        prefillSeqLen,
        ctxLen,
      });
    for (const batch of full === null ? shapes.batchSizes : [1]) {
      for (const seq of shapes.prefillSeqLens.filter((n) => n > 1)) {
        for (const comp of orNone(shapes.compPrefill)) {
          const cb = full === null ? {} : { full_batch_size: full, full_batch_exec_size: full };
          const head = { batch_size: batch, seq_len: seq, ctx_len: ctxLen };
          prefill.push({ name: 'Prefill', symbols: { ...head, ...compOf(comp), ...extra(batch, seq), ...cb } });
        }
      }
    }
    for (const batch of full === null ? shapes.batchSizes : [full]) {
      for (const comp of orNone(shapes.compDecode)) {
        const cb = full === null ? {} : { full_batch_size: full };
        const head = { batch_size: batch, seq_len: 1, ctx_len: ctxLen };
        decode.push({ name: 'Decode', symbols: { ...head, ...compOf(comp), ...extra(batch, longest), ...cb } });
      }
    }
  }
  return named([...prefill, ...decode]);
}

const orNone = (list: readonly number[]): readonly (number | null)[] => (list.length === 0 ? [null] : list);
const compOf = (comp: number | null): Record<string, number> => (comp === null ? {} : { comp_ctx_lengths: comp });

/** Sets of equal names are numbered: the compiler takes each name once. */
function named(sets: readonly Specialization[]): readonly Specialization[] {
  const seen = new Map<string, number>();
  return sets.map((set) => {
    const many = sets.filter((s) => s.name === set.name).length > 1;
    const index = seen.get(set.name) ?? 0;
    seen.set(set.name, index + 1);
    return many ? { ...set, name: `${set.name}_${index}` } : set;
  });
}

/** The value of a graph's symbolic axis in one set, or undefined when nothing says it. */
export function axisValue(axis: string, symbols: Readonly<Record<string, number>>): number | undefined {
  const own = symbols[axis];
  if (own !== undefined || !TILE_AXES.includes(axis)) return own;
  const alias = TILE_AXES.find((name) => symbols[name] !== undefined);
  return alias === undefined ? undefined : symbols[alias];
}

/** Symbols of a set, with those that the graph names in its own way added. */
export function completeSymbols(set: Specialization, ports: readonly ProgramPort[]): Specialization {
  const symbols: Record<string, number> = { ...set.symbols };
  for (const axis of axesOf(ports)) {
    const value = axisValue(axis, set.symbols);
    if (value !== undefined) symbols[axis] = value;
  }
  return { ...set, symbols };
}

/** Symbolic axes of ports, each once. */
export function axesOf(ports: readonly ProgramPort[]): readonly string[] {
  return [...new Set(ports.flatMap((p) => p.dims.filter((d): d is string => typeof d === 'string')))];
}

/** Symbolic dims -> numbers, for every set. Throws PROGRAM_INVALID for an axis that nothing says. */
export function shapeSetsOf(spec: ProgramSpec, ports: readonly ProgramPort[]): readonly ShapeSet[] {
  return spec.specializations.map((set) => ({
    name: set.name,
    symbols: set.symbols,
    shapes: Object.fromEntries(
      ports.map((port): [string, number[]] => [
        port.name,
        port.dims.map((dim, axis) => {
          const value = typeof dim === 'number' ? dim : dimOf(dim, axis, port, set, spec, ports);
          if (value !== undefined) return value;
          throw unknownAxis(dim, port, set, spec);
        }),
      ]),
    ),
  }));
}

/** By name; exporters name axes of outputs as they like, so those follow from what they belong to. */
function dimOf(
  dim: string,
  axis: number,
  port: ProgramPort,
  set: Specialization,
  spec: ProgramSpec,
  ports: readonly ProgramPort[],
): number | undefined {
  const own = axisValue(dim, set.symbols);
  if (own !== undefined) return own;
  const { batch_size: batch = 1, vision_batch_size: visionBatch = 1 } = set.symbols;
  if (spec.role === 'vision' && port.name === 'vision_embeds') {
    if (axis === port.dims.length - 2) return set.rows;
    return axis === 0 ? visionBatch : undefined;
  }
  if (port.name === 'logits') return axis === 0 ? batch : 1;
  if (port.name === 'image_idx_output') return 1;
  const state = ports.find((p) => p.name === port.name.replace(/_(?:Internal)?RetainedState$/, '') && p !== port);
  const same = state?.dims[axis];
  return typeof same === 'string' ? axisValue(same, set.symbols) : same;
}

function unknownAxis(dim: number | string, port: ProgramPort, set: Specialization, spec: ProgramSpec): VlmError {
  return new VlmError('PROGRAM_INVALID', {
    what: `Nothing says how long the axis "${dim}" of a program shall be`,
    expected: `one of the axes ${Object.keys(set.symbols).join(', ')}`,
    received: `${port.name} [${port.dims.join(', ')}]`,
    where: `${spec.role} program on ${spec.device}`,
    hint: 'export the program with axis names that vlm-run knows, or with that axis fixed',
  });
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value > 0 ? value : undefined;
}

function numbersOf(value: unknown): readonly number[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  return list.flatMap((v) => numberOf(v) ?? []);
}

function ascending(list: readonly number[]): readonly number[] {
  return [...new Set(list)].sort((a, b) => a - b);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
