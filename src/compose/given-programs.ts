/** Programs of cards that were compiled already, as a plan sees them: asked of the runtime, else of what lies beside them. */
import { statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { DeviceConfig, ProgramDescription, ProgramRole, ShapeSet } from '../contracts/device.js';
import { VlmError } from '../contracts/errors.js';
import type { Plan } from '../contracts/recipe.js';
import { readyProgram } from '../devices/ai100/compile/ready.js';
import { axisValue, type Specialization } from '../devices/ai100/compile/specializations.js';
import { isEmulatedFile } from '../devices/ai100/description.js';

/** One compiled program of one device. */
export interface GivenProgram {
  readonly role: ProgramRole;
  /** The first of the nodes that share it. */
  readonly node: string;
  readonly device: string;
  readonly config: DeviceConfig;
  /** The folder that holds programqpc.bin. */
  readonly path: string;
  /** Null where nothing says which shapes it was compiled for. */
  readonly description: ProgramDescription | null;
  /** Of the cache at its largest compiled shape; null where nothing says how wide it is. */
  readonly cacheBytes: number | null;
}

/** A device whose programs are given is not compiled for. */
export function givenProgram(plan: Plan, device: string, role: ProgramRole): string | null {
  const programs = plan.devices[device]?.['programs'];
  const path: unknown = typeof programs === 'object' && programs !== null ? Reflect.get(programs, role) : undefined;
  return typeof path === 'string' ? resolve(dirname(plan.file), path) : null;
}

/** Those that devices name, and those that `model.programs` names (`ofModel`). Throws PROGRAM_INVALID. */
export async function givenPrograms(
  plan: Plan,
  ofModel: Readonly<Record<ProgramRole, string | null>>,
): Promise<readonly GivenProgram[]> {
  const found = new Map<string, GivenProgram>();
  for (const node of plan.nodes) {
    const role = node.manifest.program;
    const config = plan.devices[node.device ?? ''];
    if (role === undefined || node.device === null || config?.kind !== 'ai100') continue;
    const model = ofModel[role];
    const given = givenProgram(plan, node.device, role) ?? (model?.endsWith('.onnx') === true ? null : model);
    const key = `${node.device} ${role}`;
    if (given === null || found.has(key)) continue;
    found.set(key, await described(node.name, node.device, role, config, given));
  }
  return [...found.values()];
}

async function described(
  node: string,
  device: string,
  role: ProgramRole,
  config: DeviceConfig,
  given: string,
): Promise<GivenProgram> {
  const { qpc: path, specializations } = readyProgram(given);
  const base = { role, node, device, config, path };
  const { ai100Driver } = await import('../devices/ai100/index.js');
  try {
    const description = await ai100Driver.inspect({ role, path }, config);
    return { ...base, description, cacheBytes: cacheBytesOf(description) };
  } catch (error) {
    // A plan needs no card: without the runtime, the list that the compiler was given says the same of the shapes.
    if (!(error instanceof VlmError) || !error.code.startsWith('DEVICE_')) throw error;
    const file = join(path, 'programqpc.bin');
    const description = specializations === null ? null : fromSpecializations(role, file, specializations);
    return { ...base, description, cacheBytes: role === 'vision' ? 0 : null };
  }
}

function cacheBytesOf({ stateBytesPerToken, allowedShapes }: ProgramDescription): number {
  const slots = (allowedShapes ?? []).map(({ shapes }) => {
    const caches = Object.entries(shapes).flatMap(([name, dims]) => (name.startsWith('past_key') ? [dims] : []));
    // An upper bound where layers of chunked attention keep a shorter cache.
    return Math.max(0, ...caches.map((dims) => (dims[0] ?? 0) * (dims[2] ?? 0)));
  });
  return stateBytesPerToken * Math.max(0, ...slots);
}

function fromSpecializations(role: ProgramRole, file: string, list: readonly Specialization[]): ProgramDescription {
  return {
    role,
    // Which rank the graph gave its pixels is not said: each item is planned alone.
    inputs: [],
    outputs: [],
    allowedShapes: list.map((set, i) => shapeSet(role, set, i)),
    calls: 'padded',
    weightBytes: statSync(file).size,
    stateBytesPerToken: 0,
    emulated: isEmulatedFile(file),
  };
}

/** The axes by which calls are told apart; widths that no symbol says are 1. */
function shapeSet(role: ProgramRole, { name, symbols }: Specialization, index: number): ShapeSet {
  const { batch_size: batch = 1, seq_len: seq = 1, ctx_len: ctx, full_batch_size: rows = batch } = symbols;
  const { img_size: side = 1, vision_batch_size: visionBatch = 1, vision_size: vision } = symbols;
  if (role === 'vision') {
    const tiles = axisValue('batched_num_patches', symbols) ?? 1;
    return { name, symbols, shapes: { pixel_values: [tiles, 3, side, side] } };
  }
  const own = /^set \d+$/.test(name) ? `${seq > 1 ? 'Prefill' : 'Decode'} (${index})` : name;
  const comp = symbols['comp_ctx_lengths'];
  return {
    name: own,
    symbols,
    shapes: {
      input_ids: [batch, seq],
      ...(vision === undefined ? {} : { vision_embeds: [visionBatch, vision, 1] }),
      ...(ctx === undefined ? {} : { 'past_key.0': [rows, 1, ctx, 1] }),
      ...(comp === undefined ? {} : { comp_ctx_lengths: [comp] }),
    },
  };
}
