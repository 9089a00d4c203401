/**
 * Computes a card's padded calls on ONNX Runtime: padding is stripped first, each exec object keeps one retained state
 * (float32, however the program was compiled), and outputs are given in the types of the program's boundary.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DeviceState, ProgramRole, ProgramSession } from '../../../contracts/device.js';
import { VlmError } from '../../../contracts/errors.js';
import { elementCount, type Tensor } from '../../../contracts/tensor.js';
import { floatsToHalves } from '../../../util/float16.js';
import { cpuDriver } from '../../cpu/index.js';
import { contractName } from '../description.js';
import type { IoShape } from '../io-desc.js';
import type { EmulatorJob } from './addon.js';
import type { EmulatedQpcBinding } from './qpc.js';

interface Table {
  readonly role: ProgramRole;
  readonly bindings: readonly EmulatedQpcBinding[];
  readonly sets: readonly (readonly IoShape[])[];
}
interface Program {
  readonly table: Table;
  readonly session: ProgramSession;
}
interface Kept {
  state: DeviceState | null;
  vision: Tensor | null;
}
type Inputs = Record<string, Tensor>;
type Outputs = Record<string, Tensor>;

/** Inputs with a value for each token: padding goes from all of them together. */
const PER_TOKEN = new Set(['input_ids', 'position_ids', 'mm_token_type_ids']);

export class EmulatedPrograms {
  readonly #programs = new Map<string, Promise<Program>>();
  readonly #kept = new Map<string, Kept>();

  /** Binding index and bytes of each output, one after another. */
  async run(job: EmulatorJob): Promise<(number | Uint8Array)[]> {
    const program = await this.#program(job.folder);
    const { table, session } = program;
    const shapes = table.sets[job.set] ?? [];
    const inputs: Inputs = {};
    for (const b of table.bindings) {
      const bytes = job.inputs[b.index];
      if (b.direction === 'in' && bytes != null && !b.name.startsWith('past_')) {
        inputs[b.name] = tensorOf(b.dtype, shapes[b.index]?.dims ?? [], bytes);
      }
    }
    const made =
      table.role === 'vision'
        ? (await session.run(null, inputs, ['vision_embeds'])).outputs
        : await this.#language(program, job, shapes, inputs);
    return table.bindings.flatMap((b) => {
      const out = b.direction === 'out' ? made[b.name] : undefined;
      return out === undefined ? [] : [b.index, bytesOf(out, b.dtype)];
    });
  }

  released(exec: string): void {
    this.#kept.get(exec)?.state?.release();
    this.#kept.delete(exec);
  }

  /** A card that deviates: what it should keep from call to call is gone. */
  lost(exec: string, what: 'cache' | 'rows'): void {
    const kept = this.#kept.get(exec);
    if (kept === undefined) return;
    if (what === 'rows') {
      const data = kept.vision?.data;
      if (data instanceof Float32Array || data instanceof Uint16Array) data.fill(0);
      return;
    }
    kept.state?.release();
    kept.state = null;
  }

  async close(): Promise<void> {
    for (const program of this.#programs.values()) await (await program).session.close();
    this.#programs.clear();
  }

  #program(folder: string): Promise<Program> {
    let program = this.#programs.get(folder);
    if (program === undefined) {
      program = openProgram(folder);
      this.#programs.set(folder, program);
    }
    return program;
  }

  async #language(
    { table, session }: Program,
    job: EmulatorJob,
    shapes: readonly IoShape[],
    inputs: Inputs,
  ): Promise<Outputs> {
    const caches = table.bindings.flatMap((b) =>
      b.name.startsWith('past_key') && b.direction === 'in' ? [shapes[b.index]?.dims ?? []] : [],
    );
    const batch = caches[0]?.[0] ?? inputs.input_ids?.dims[0] ?? 1;
    // Layers of chunked attention keep a shorter cache: slots beyond it are never written, and the graph masks them.
    const ctxLen = Math.max(1, ...caches.map((dims) => dims[2] ?? 1));
    let kept = this.#kept.get(job.exec);
    if (kept === undefined) {
      kept = { state: null, vision: null };
      this.#kept.set(job.exec, kept);
    }
    if (kept.state === null || kept.state.batch !== batch || kept.state.ctxLen !== ctxLen) {
      kept.state?.release();
      kept.state = session.createState(batch, ctxLen);
    }
    if (inputs.vision_embeds !== undefined) kept.vision = inputs.vision_embeds;
    else if (kept.vision !== null && table.bindings.some((b) => b.direction === 'in' && b.name === 'vision_embeds')) {
      inputs.vision_embeds = kept.vision;
    }
    return runRows(session, kept.state, inputs, table);
  }
}

/** One call with padding as calls without: all rows together where none is padded, else row by row. */
async function runRows(session: ProgramSession, state: DeviceState, inputs: Inputs, table: Table): Promise<Outputs> {
  const positions = inputs.position_ids;
  if (positions === undefined) throw new VlmError('TENSOR_INVALID', { what: 'A call has no positions' });
  const [batch = 0, seq = 0] = positions.dims;
  const indexed = table.bindings.some((b) => b.name === 'image_idx_output');
  const wanted = indexed ? ['logits', 'image_idx_output'] : ['logits'];
  const used = Array.from({ length: batch }, (_, row) =>
    Array.from({ length: seq }, (__, i) => row * seq + i).filter((i) => Number(positions.data[i]) >= 0),
  );
  const whole = state.batch === batch;
  const together = whole && (batch === 1 || (seq === 1 && isLookedUpTogether(inputs.vision_embeds, batch, session)));
  if (together && used.every((u) => u.length === seq)) {
    return (await session.run(state, inputs, wanted)).outputs;
  }
  let logits = new Float32Array(0);
  const start = Number(inputs.image_idx?.data[0] ?? 0);
  let imageIdx = start;
  for (const [row, tokens] of used.entries()) {
    if (tokens.length === 0) continue;
    // A call of fewer rows than the cache has says which of them are meant.
    const own = state.batch === 1 ? state : state.row(whole ? row : Number(inputs.batch_index?.data[row] ?? row));
    const { outputs } = await session.run(own, rowInputs(inputs, row, batch, tokens), wanted);
    const data = outputs.logits?.data as Float32Array;
    if (logits.length === 0) logits = new Float32Array(batch * data.length);
    logits.set(data, row * data.length);
    imageIdx = Math.max(imageIdx, Number(outputs.image_idx_output?.data[0] ?? start));
  }
  const made: Outputs = { logits: { dtype: 'float32', dims: [batch, 1, logits.length / batch], data: logits } };
  if (indexed) made.image_idx_output = { dtype: 'int64', dims: [1, 1], data: BigInt64Array.of(BigInt(imageIdx)) };
  return made;
}

/**
 * Vision rows for each row of the batch are more than a graph takes that has one set of them. One set is less than a graph
 * looks up that has a batch of them: a card reads past its end and drops what it read, ONNX Runtime fails.
 */
function isLookedUpTogether(vision: Tensor | undefined, batch: number, session: ProgramSession): boolean {
  const lead = session
    .describe()
    .inputs.find((p) => p.name === 'vision_embeds')
    ?.dims.at(-3);
  if (vision === undefined || lead === undefined) return true;
  return typeof lead === 'string' ? vision.dims[0] === batch : !hasRowsForEach(vision, batch);
}

function hasRowsForEach(vision: Tensor | undefined, batch: number): boolean {
  return vision !== undefined && vision.dims.length === 3 && vision.dims[0] === batch;
}

function rowInputs(inputs: Inputs, row: number, batch: number, tokens: readonly number[]): Inputs {
  const out: Inputs = {};
  for (const [name, t] of Object.entries(inputs)) {
    if (PER_TOKEN.has(name)) {
      const data = BigInt64Array.from(tokens, (i) => BigInt(t.data[i] as bigint));
      out[name] = { dtype: 'int64', dims: [1, tokens.length], data };
    } else if (name === 'vision_embeds' && batch > 1 && hasRowsForEach(t, batch)) {
      const size = t.data.length / batch;
      out[name] = { ...t, dims: [1, ...t.dims.slice(1)], data: t.data.slice(row * size, (row + 1) * size) } as Tensor;
    } else if (name !== 'batch_index') out[name] = t;
    // A row view is a cache of one row: the session's own batch_index is right for it.
  }
  return out;
}

async function openProgram(folder: string): Promise<Program> {
  const written = JSON.parse(readFileSync(join(folder, 'emulated.json'), 'utf8')) as Table;
  const table = { ...written, bindings: written.bindings.map((b) => ({ ...b, name: contractName(b.name) })) };
  const source = { role: table.role, path: join(folder, 'model.onnx') };
  return { table, session: await cpuDriver.open(source, { kind: 'cpu', threads: 1 }) };
}

function tensorOf(type: number, dims: readonly number[], bytes: ArrayBuffer): Tensor {
  const count = elementCount(dims);
  switch (type) {
    case 0:
      return { dtype: 'float32', dims, data: new Float32Array(bytes, 0, count) };
    case 1:
      return { dtype: 'float16', dims, data: new Uint16Array(bytes, 0, count) };
    case 6:
      return { dtype: 'int32', dims, data: new Int32Array(bytes, 0, count) };
    case 7:
      return { dtype: 'int64', dims, data: new BigInt64Array(bytes, 0, count) };
    case 8:
      return { dtype: 'int8', dims, data: new Int8Array(bytes, 0, count) };
    case 3:
      return { dtype: 'uint8', dims, data: new Uint8Array(bytes, 0, count) };
    default:
      throw new VlmError('TENSOR_INVALID', {
        what: 'The emulated card cannot compute with a type',
        received: `${type}`,
      });
  }
}

function bytesOf(t: Tensor, type: number): Uint8Array {
  const data = type === 1 && t.data instanceof Float32Array ? floatsToHalves(t.data) : t.data;
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
