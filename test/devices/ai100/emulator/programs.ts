/** Emulated programs of graphs, with a finite list of shapes as a compiler would make them. */
import { existsSync } from 'node:fs';
import type { ProgramPort, ProgramRole } from '../../../../src/contracts/device.js';
import { elementCount } from '../../../../src/contracts/tensor.js';
import { emulatorLibrary } from '../../../../src/devices/ai100/emulator/addon.js';
import type { EmulatedQpc } from '../../../../src/devices/ai100/emulator/qpc.js';
import { readProgram } from '../../../../src/devices/cpu/program.js';

const TYPES: Readonly<Record<string, number>> = { float32: 0, float16: 1, int32: 6, int64: 7, int8: 8 };
const WIDTHS: Readonly<Record<number, number>> = { 0: 4, 1: 2, 6: 4, 7: 8, 8: 1 };
const HALVES = /^(pixel_values|vision_embeds|past_\w+\.\d+)(_\w*RetainedState)?$/;

/** Why the emulated card cannot be tested here, or null. */
export function unbuilt(): string | null {
  if (process.platform !== 'linux') return 'the emulated card is for Linux';
  return existsSync(emulatorLibrary()) ? null : 'the emulated card is not built: npm run build:native';
}

export interface Shapes {
  readonly batches?: readonly number[];
  readonly seqLens?: readonly number[];
  readonly ctxLen?: number | readonly number[];
  readonly visionRows?: number;
  /** vision_embeds [batch, rows, hidden] instead of [1, rows, hidden]. */
  readonly visionBatch?: boolean;
  readonly contextLengths?: readonly number[];
  /** Continuous batching: prefill of one prompt a call into a cache of so many rows, decode of all. */
  readonly fullBatch?: number;
  readonly tiles?: readonly number[];
  readonly rowsPerTile?: number;
  /** Pixels, vision rows and caches cross as float16, as a card's compiler is told by default. */
  readonly half?: boolean;
  readonly cores?: number;
}

export function emulated(role: ProgramRole, onnx: string, shapes: Shapes): EmulatedQpc {
  const { inputs, outputs } = readProgram({ role, path: onnx });
  const ports = [...inputs, ...outputs];
  const sets = symbols(role, shapes).map((values) => ports.map((port) => shapeOf(port, values, shapes)));
  return {
    role,
    name: role,
    compute: 'executor',
    cores: shapes.cores ?? 5,
    devices: 1,
    memoryBytes: 1_000_000,
    onnx,
    sets,
    bindings: ports.map((port, index) => {
      const all = sets.map((set) => set[index] ?? { type: 0, dims: [] });
      const bytes = all.map((s) => elementCount(s.dims) * (WIDTHS[s.type] ?? 4));
      const largest = all[bytes.indexOf(Math.max(...bytes))];
      return {
        name: port.graphName ?? port.name,
        index,
        direction: index < inputs.length ? ('in' as const) : ('out' as const),
        dtype: largest?.type ?? 0,
        dims: largest?.dims ?? [],
        size: Math.max(...bytes),
        partial: /^past_|RetainedState$|^vision_embeds$/.test(port.name),
        quantScale: 0,
        quantOffset: 0,
      };
    }),
  };
}

type Values = Readonly<Record<string, number>>;

function symbols(role: ProgramRole, shapes: Shapes): Values[] {
  if (role === 'vision') {
    return (shapes.tiles ?? [1]).map((tiles) => ({ tiles, rows: tiles * (shapes.rowsPerTile ?? 1) }));
  }
  const rows = shapes.visionRows ?? 16;
  const full = shapes.fullBatch;
  if (full !== undefined) {
    const own = { full, lengths: shapes.ctxLen === undefined ? 96 : ([shapes.ctxLen].flat()[0] ?? 96), rows };
    const prefill = (shapes.seqLens ?? [8]).map((seq) => ({ ...own, batch: 1, seq, ctx: own.lengths }));
    return [...prefill, { ...own, batch: full, seq: 1, ctx: own.lengths }];
  }
  return [shapes.ctxLen ?? 96]
    .flat()
    .flatMap((ctx) =>
      (shapes.batches ?? [1]).flatMap((batch) =>
        [...(shapes.seqLens ?? [8]), 1].flatMap((seq) =>
          (shapes.contextLengths ?? [0]).map((lengths) => ({ batch, full: batch, seq, lengths, ctx, rows })),
        ),
      ),
    );
}

/** Names of symbolic axes in the graphs. */
const AXES: Readonly<Record<string, string>> = {
  batch_size: 'batch',
  full_batch_size: 'full',
  seq_len: 'seq',
  ctx_len: 'ctx',
  vision_size: 'rows',
  comp_ctx_lengths: 'lengths',
  num_patches: 'tiles',
  num_tiles: 'tiles',
};

function shapeOf(port: ProgramPort, values: Values, shapes: Shapes): { type: number; dims: number[] } {
  const dims = port.dims.map((d) => (typeof d === 'number' ? d : (values[AXES[d] ?? ''] ?? 1)));
  const vision = port.name.startsWith('vision_embeds') && dims.length === 3;
  if (vision && shapes.visionBatch === true && values['batch'] !== undefined) dims[0] = values['batch'];
  const half = shapes.half === true && HALVES.test(port.name);
  return { type: half ? 1 : (TYPES[port.dtype] ?? 0), dims };
}
