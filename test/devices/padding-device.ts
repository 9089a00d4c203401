/**
 * A device with compiled shapes and padded calls, as a card is, on ONNX Runtime: it refuses shapes that are not listed,
 * strips padded positions, and gives the outputs that a card would give.
 */
import type {
  DeviceConfig,
  DeviceDriver,
  DeviceState,
  ProgramDescription,
  ProgramSession,
  ProgramSource,
  RunOptions,
  RunResult,
  ShapeSet,
} from '../../src/contracts/device.js';
import { VlmError } from '../../src/contracts/errors.js';
import type { Tensor } from '../../src/contracts/tensor.js';
import { argmax, topk } from '../../src/devices/cpu/reduce.js';

export interface PaddingOptions {
  readonly batches: readonly number[];
  readonly seqLens: readonly number[];
  readonly ctxLen: number;
  readonly visionRows: number;
  readonly hidden: number;
  /** vision_embeds [batch, rows, hidden] instead of [1, rows, hidden]. */
  readonly visionBatch?: boolean;
  /** Lengths of comp_ctx_lengths, when the program has that input. */
  readonly contextLengths?: readonly number[];
}

/** One call as the padded device saw it. */
export interface SeenCall {
  readonly shape: string;
  readonly inputs: Readonly<Record<string, readonly number[]>>;
}

export class PaddingDriver implements DeviceDriver {
  readonly kind = 'padding';
  readonly calls: SeenCall[] = [];
  readonly #inner: DeviceDriver;
  readonly #options: PaddingOptions;

  constructor(inner: DeviceDriver, options: PaddingOptions) {
    this.#inner = inner;
    this.#options = options;
  }

  async open(program: ProgramSource, config: DeviceConfig): Promise<ProgramSession> {
    const inner = await this.#inner.open(program, config);
    return program.role === 'vision' ? inner : new PaddingSession(inner, this.#options, this.calls);
  }

  async inspect(program: ProgramSource, config: DeviceConfig): Promise<ProgramDescription> {
    const inner = await this.#inner.inspect(program, config);
    return program.role === 'vision' ? inner : describe(inner, this.#options);
  }

  async list(): Promise<[]> {
    return [];
  }
}

function describe(inner: ProgramDescription, options: PaddingOptions): ProgramDescription {
  const sets: ShapeSet[] = [];
  const vision = inner.inputs.find((p) => p.name === 'vision_embeds');
  for (const batch of options.batches) {
    for (const seq of [...options.seqLens, 1]) {
      for (const ccl of options.contextLengths ?? [0]) {
        const shapes: Record<string, readonly number[]> = {
          input_ids: [batch, seq],
          position_ids: [batch, seq],
          image_idx: [1, 1],
          vision_embeds:
            vision?.dims.length === 2
              ? [options.visionRows, options.hidden]
              : [options.visionBatch === true ? batch : 1, options.visionRows, options.hidden],
          'past_key.0': [batch, 1, options.ctxLen, 8],
          ...(ccl === 0 ? {} : { comp_ctx_lengths: [ccl] }),
        };
        sets.push({
          name: seq === 1 ? 'Decode' : 'Prefill',
          symbols: { batch_size: batch, seq_len: seq, ctx_len: options.ctxLen },
          shapes,
        });
      }
    }
  }
  return { ...inner, calls: 'padded', allowedShapes: sets, emulated: true };
}

class PaddingSession implements ProgramSession {
  readonly #inner: ProgramSession;
  readonly #options: PaddingOptions;
  readonly #calls: SeenCall[];
  readonly #description: ProgramDescription;

  constructor(inner: ProgramSession, options: PaddingOptions, calls: SeenCall[]) {
    this.#inner = inner;
    this.#options = options;
    this.#calls = calls;
    this.#description = describe(inner.describe(), options);
  }

  describe(): ProgramDescription {
    return this.#description;
  }
  activate(): Promise<void> {
    return this.#inner.activate();
  }
  deactivate(): Promise<void> {
    return this.#inner.deactivate();
  }
  close(): Promise<void> {
    return this.#inner.close();
  }
  createState(batch: number, ctxLen: number): DeviceState {
    return this.#inner.createState(batch, ctxLen);
  }

  async run(
    state: DeviceState | null,
    inputs: Readonly<Record<string, Tensor>>,
    wanted: readonly string[],
    options: RunOptions = {},
  ): Promise<RunResult> {
    if (state === null) return this.#inner.run(state, inputs, wanted, options);
    this.#checkShape(state, inputs);
    const { position_ids: positions, input_ids: ids } = inputs;
    if (positions === undefined || ids === undefined || positions.dtype !== 'int64') {
      return this.#inner.run(state, inputs, wanted, options);
    }
    const [batch = 0, seq = 0] = positions.dims;
    let logits = new Float32Array(0);
    let imageIdx = Number(inputs.image_idx?.data[0] ?? 0);
    const first = imageIdx;
    for (let row = 0; row < batch; row++) {
      const used = Array.from({ length: seq }, (_, i) => row * seq + i).filter((i) => Number(positions.data[i]) >= 0);
      if (used.length === 0) continue;
      const fields = this.#rowInputs(inputs, row, used);
      const names = seq > 1 ? ['logits', 'image_idx_output'] : ['logits'];
      const { outputs } = await this.#inner.run(batch === 1 ? state : state.row(row), fields, names);
      const data = outputs.logits?.data as Float32Array;
      if (logits.length === 0) logits = new Float32Array(batch * data.length);
      logits.set(data, row * data.length);
      imageIdx = Math.max(imageIdx, Number(outputs.image_idx_output?.data[0] ?? first));
    }
    return finish(logits, batch, imageIdx, wanted, options);
  }

  #rowInputs(inputs: Readonly<Record<string, Tensor>>, row: number, used: readonly number[]): Record<string, Tensor> {
    const out: Record<string, Tensor> = {};
    for (const [name, t] of Object.entries(inputs)) {
      if (['input_ids', 'position_ids', 'mm_token_type_ids'].includes(name)) {
        const data = BigInt64Array.from(used, (i) => BigInt(t.data[i] as bigint));
        out[name] = { dtype: 'int64', dims: [1, used.length], data };
      } else if (name === 'vision_embeds' && this.#options.visionBatch === true) {
        const size = this.#options.visionRows * this.#options.hidden;
        const data = (t.data as Float32Array).slice(row * size, (row + 1) * size);
        out[name] = { dtype: 'float32', dims: [1, ...t.dims.slice(1)], data };
      } else if (name !== 'batch_index') out[name] = t;
      // A row view is a cache of one row: the session's own default of batch_index is right for it.
    }
    return out;
  }

  #checkShape(state: DeviceState | null, inputs: Readonly<Record<string, Tensor>>): void {
    const sets = this.#description.allowedShapes ?? [];
    const fits = sets.find(
      (s) =>
        s.shapes['past_key.0']?.[0] === state?.batch &&
        Object.entries(inputs).every(([name, t]) => {
          const dims = s.shapes[name];
          const whole = t.data.length === t.dims.reduce((n, d) => n * d, 1);
          return whole && (dims === undefined || dims.join() === t.dims.join());
        }),
    );
    const needsCcl = this.#options.contextLengths !== undefined;
    if (fits !== undefined && (!needsCcl || inputs.comp_ctx_lengths !== undefined)) {
      const entries = Object.entries(inputs).map(([name, t]) => [name, Array.from(t.data as BigInt64Array, Number)]);
      this.#calls.push({ shape: fits.name, inputs: Object.fromEntries(entries) });
      return;
    }
    throw new VlmError('SHAPE_NOT_ALLOWED', {
      what: 'A call has a shape that was not compiled',
      expected: sets.map((s) => JSON.stringify(s.shapes)).join('; '),
      received: Object.entries(inputs)
        .map(([name, t]) => `${name} [${t.dims.join(', ')}]`)
        .join(', '),
      where: [...this.#description.inputs.map((p) => p.name), ...Object.keys(inputs)].join(', '),
    });
  }
}

function finish(
  logits: Float32Array,
  batch: number,
  imageIdx: number,
  wanted: readonly string[],
  options: RunOptions,
): RunResult {
  const outputs: Record<string, Tensor> = {};
  const width = logits.length / batch;
  if (wanted.includes('logits')) outputs.logits = { dtype: 'float32', dims: [batch, 1, width], data: logits };
  if (wanted.includes('image_idx_output')) {
    outputs.image_idx_output = { dtype: 'int64', dims: [1, 1], data: BigInt64Array.of(BigInt(imageIdx)) };
  }
  for (const name of wanted) {
    if (outputs[name] === undefined) throw new VlmError('TENSOR_INVALID', { what: `No output ${name}` });
  }
  const reduce = options.reduce ?? { kind: 'none' };
  if (reduce.kind === 'none') return { outputs };
  const k = reduce.kind === 'argmax' ? 1 : reduce.k;
  const top = { k, ids: new Int32Array(batch * k), values: new Float32Array(batch * k) };
  for (let row = 0; row < batch; row++) {
    if (k > 1) topk(logits, row, width, k, top.ids, top.values);
    else {
      top.ids[row] = argmax(logits, row, width);
      top.values[row] = logits[row * width + (top.ids[row] as number)] as number;
    }
  }
  return { outputs, top };
}
