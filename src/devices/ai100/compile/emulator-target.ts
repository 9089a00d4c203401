/** An emulated program in place of a compiled one: the graph itself, with the bindings and shapes a card would have. */
import type { DeviceConfig } from '../../../contracts/device.js';
import { BYTES_PER_ELEMENT, type DType, elementCount } from '../../../contracts/tensor.js';
import type { IoBinding, IoShape } from '../io-desc.js';
import { cardsOf, coresOf, customIo, type ProgramGraph, RETAINED } from './command.js';
import { type ProgramSpec, shapeSetsOf } from './specializations.js';

/** Numbers of the card runtime's buffer data types. */
const TYPES: Readonly<Record<DType, number>> = {
  float32: 0,
  float16: 1,
  int32: 6,
  int64: 7,
  int8: 8,
  uint8: 3,
  bool: 8,
};

/** The version that emulated programs are keyed by: a change of what is written here must change it. */
export const EMULATOR_VERSION = 'emulator 1';

/** The type twice: as descriptors and as emulated programs call it. */
export interface EmulatedBinding extends IoBinding {
  readonly dtype: number;
}

export interface EmulatedProgram {
  readonly role: ProgramGraph['role'];
  readonly name: string;
  readonly compute: 'executor';
  readonly cores: number;
  readonly devices: number;
  readonly memoryBytes: number;
  readonly bindings: readonly EmulatedBinding[];
  /** For each set, type and dims of every binding. */
  readonly sets: readonly (readonly IoShape[])[];
  readonly onnx: string;
}

export function emulatedProgram(
  graph: ProgramGraph,
  spec: ProgramSpec,
  device: DeviceConfig,
  memoryBytes: number,
): EmulatedProgram {
  const ports = [...graph.inputs, ...graph.outputs];
  const sets = shapeSetsOf(spec, ports);
  const halves = new Set(customIo(graph, device).map(([name]) => name));
  const typed = ports.map((port, index) => {
    const dtype: DType = port.dtype === 'float32' && halves.has(port.graphName) ? 'float16' : port.dtype;
    const all = sets.map((set) => set.shapes[port.name] ?? []);
    const dims = all.reduce((a, b) => (elementCount(b) > elementCount(a) ? b : a), all[0] ?? []);
    return { port, index, dtype, dims, all };
  });
  return {
    role: graph.role,
    name: `${graph.role}`,
    compute: 'executor',
    cores: coresOf(device),
    devices: cardsOf(device),
    memoryBytes,
    onnx: graph.path,
    bindings: typed.map(({ port, index, dtype, dims }) => ({
      name: port.name,
      index,
      direction: index < graph.inputs.length ? 'in' : 'out',
      type: TYPES[dtype],
      dtype: TYPES[dtype],
      dims,
      size: elementCount(dims) * BYTES_PER_ELEMENT[dtype],
      partial: RETAINED.test(port.name) || port.name.startsWith('past_') || port.name === 'vision_embeds',
      quantScale: 0,
      quantOffset: 0,
    })),
    sets: sets.map((_, i) => typed.map(({ dtype, all }) => ({ type: TYPES[dtype], dims: all[i] ?? [] }))),
  };
}

/** The writer loads when it is needed: runs on cards do without it. */
export async function writeEmulated(folder: string, program: EmulatedProgram): Promise<void> {
  const { writeEmulatedQpc } = await import('../emulator/qpc.js');
  await writeEmulatedQpc(folder, program);
}
