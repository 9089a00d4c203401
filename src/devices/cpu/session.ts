/** A program on ONNX Runtime: calls are checked, state is renewed in place, logits are reduced here when asked. */
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import type {
  DeviceState,
  ProgramDescription,
  ProgramSession,
  Reduce,
  RunOptions,
  RunResult,
} from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';
import type { Tensor } from '../../contracts/tensor.js';
import { halvesToFloats } from '../../util/float16.js';
import { checkLogits } from '../shared/halves.js';
import { Call } from './call.js';
import { contractTensor, dataOf, ortTensor } from './ort.js';
import type { BoundPort } from './ports.js';
import type { CpuProgram } from './program.js';
import { argmax, topk } from './reduce.js';
import { type CachePlan, CpuState, type StateTensors, stateInvalid } from './state.js';

/** How a session was opened, for records. */
export interface CpuSettings {
  readonly threads: number;
  readonly graphOptimization: 'disabled' | 'basic' | 'extended' | 'all';
  /** Constants of INT32_MAX that were turned into 0. */
  readonly mendedConstants: number;
  /** Caches renewed in the buffer they are read from, of all. */
  readonly inPlaceCaches: number;
  readonly caches: number;
}

const NO_OPTIONS: RunOptions = {};

/** Where the outputs of a call go, kept from call to call. */
interface Fetches {
  readonly tensors: Record<string, OrtTensor | null>;
  /** The place of `logits` when its size is known beforehand. */
  readonly logits: Tensor<'float32'> | null;
  /** What of the state is in `tensors`. */
  state: StateTensors | null;
}

export class CpuSession implements ProgramSession {
  readonly settings: CpuSettings;
  readonly #session: InferenceSession;
  readonly #program: CpuProgram;
  readonly #inputs: readonly BoundPort[];
  readonly #outputs: ReadonlyMap<string, BoundPort>;
  readonly #caches: readonly CachePlan[];
  readonly #stateless: Call | null;
  readonly #fetches = new WeakMap<Call, Map<string, Fetches>>();
  #top: NonNullable<RunResult['top']> | null = null;
  #wide: Float32Array = new Float32Array(0);
  #running = false;
  #closed = false;

  constructor(session: InferenceSession, program: CpuProgram, settings: CpuSettings) {
    this.#session = session;
    this.#program = program;
    this.settings = settings;
    const retained = new Set(program.pairs.map((p) => p.input.name));
    const renewed = new Set(program.pairs.map((p) => p.output.name));
    this.#inputs = program.inputs.filter((p) => !retained.has(p.graphName));
    this.#outputs = new Map(
      program.outputs
        .filter((p) => !renewed.has(p.graphName) && p.name !== 'vision_embeds_RetainedState')
        .map((p) => [p.name, p]),
    );
    this.#caches = program.pairs.map((pair) => ({
      pair,
      dtype: program.inputs.find((p) => p.graphName === pair.input.name)?.dtype ?? 'float32',
    }));
    this.#stateless = program.description.role === 'vision' ? new Call(this.#inputs, new Map(), 0, program.path) : null;
  }

  describe(): ProgramDescription {
    return this.#program.description;
  }

  async activate(): Promise<void> {
    this.#checkOpen();
  }

  async deactivate(): Promise<void> {
    this.#checkOpen();
  }

  createState(batch: number, ctxLen: number): DeviceState {
    this.#checkOpen();
    if (this.#stateless !== null) {
      throw stateInvalid('A vision program keeps no state', 'a language program', 'a vision program');
    }
    if (!Number.isInteger(batch) || batch < 1 || !Number.isInteger(ctxLen) || ctxLen < 1) {
      throw stateInvalid(
        'A state needs whole sizes',
        'batch >= 1 and ctx_len >= 1',
        `batch ${batch}, ctx_len ${ctxLen}`,
      );
    }
    return CpuState.create(this, this.#caches, batch, ctxLen);
  }

  async run(
    state: DeviceState | null,
    inputs: Readonly<Record<string, Tensor>>,
    wanted: readonly string[],
    options: RunOptions = NO_OPTIONS,
  ): Promise<RunResult> {
    this.#checkOpen();
    if (this.#running) throw stateInvalid('A program was called while it ran', 'one call at a time', 'a second call');
    const own = this.#checkState(state);
    const call = this.#callFor(own);
    call.bind(inputs);
    const reduce = options.reduce ?? null;
    const fetches = this.#fetchesFor(call, own, wanted, reduce !== null && reduce.kind !== 'none');
    this.#running = true;
    let results: InferenceSession.ReturnType;
    try {
      results = await this.#session.run(call.feeds, fetches.tensors as InferenceSession.FetchesType);
    } catch (cause) {
      throw new VlmError('DEVICE_FAILED', {
        what: 'ONNX Runtime failed to run a program',
        where: this.#program.path,
        hint: 'check that the program was exported for these shapes',
        cause,
      });
    } finally {
      this.#running = false;
    }
    own?.advance();
    return this.#collect(results, fetches.logits, wanted, reduce);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    if (this.#running) throw stateInvalid('A program was closed while it ran', 'a finished call', 'one under way');
    this.#closed = true;
    await this.#session.release();
  }

  #checkOpen(): void {
    if (!this.#closed) return;
    throw new VlmError('DEVICE_CLOSED', {
      what: 'A program was used after it was closed',
      expected: 'an open session',
      received: 'a closed one',
      where: this.#program.path,
    });
  }

  #checkState(state: DeviceState | null): CpuState | null {
    if (this.#stateless !== null) {
      if (state === null) return null;
      throw stateInvalid('A vision program runs without state', 'null', 'a state');
    }
    if (!(state instanceof CpuState)) {
      throw stateInvalid(
        'A language program needs a state',
        'a state of this session',
        state === null ? 'null' : 'another object',
      );
    }
    if (state.owner !== this) {
      throw stateInvalid('A state belongs to another session', 'a state of this session', 'a foreign state');
    }
    if (state.released) throw stateInvalid('A state was used after its release', 'a live state', 'a released one');
    return state;
  }

  #callFor(state: CpuState | null): Call {
    if (state === null) return this.#stateless as Call;
    if (state.call === null) {
      const fixed = new Map<string, number>();
      for (const { pair } of this.#caches) {
        const [batch, , slots] = pair.input.dims;
        if (typeof batch === 'string') fixed.set(batch, state.batch);
        if (typeof slots === 'string') fixed.set(slots, state.ctxLen);
      }
      state.call = new Call(this.#inputs, fixed, state.ctxLen, this.#program.path);
    }
    state.call.setState(state.tensors().feeds);
    return state.call;
  }

  /** Fetches are kept per call and wanted list; `logits` gets a place of its own when its size is known. */
  #fetchesFor(call: Call, state: CpuState | null, wanted: readonly string[], logits: boolean): Fetches {
    let byWanted = this.#fetches.get(call);
    if (byWanted === undefined) {
      byWanted = new Map();
      this.#fetches.set(call, byWanted);
    }
    const key = `${logits ? '+' : ''}${wanted.join()}`;
    let fetches = byWanted.get(key);
    if (fetches === undefined) {
      fetches = this.#makeFetches(state, logits ? [...new Set([...wanted, 'logits'])] : wanted);
      byWanted.set(key, fetches);
    }
    const tensors = state?.tensors() ?? null;
    if (fetches.state !== tensors) {
      fetches.state = tensors;
      Object.assign(fetches.tensors, tensors?.fetches);
    }
    return fetches;
  }

  #makeFetches(state: CpuState | null, names: readonly string[]): Fetches {
    const tensors: Record<string, OrtTensor | null> = {};
    let logits: Tensor<'float32'> | null = null;
    for (const name of names) {
      const port = this.#output(name);
      const place = name === 'logits' ? this.#logitsPlace(port, state) : null;
      tensors[port.graphName] = place;
      if (place !== null) logits = contractTensor(place, 'float32') as Tensor<'float32'>;
    }
    return { tensors, logits, state: null };
  }

  #output(name: string): BoundPort {
    const port = this.#outputs.get(name);
    if (port !== undefined) return port;
    const kept = name.endsWith('_RetainedState') ? ' (retained state stays on the device)' : '';
    throw new VlmError('TENSOR_INVALID', {
      what: 'An output was asked for that the program does not hand back',
      expected: `one of ${[...this.#outputs.keys()].join(', ')}${kept}`,
      received: name,
      where: this.#program.path,
    });
  }

  #logitsPlace(port: BoundPort, state: CpuState | null): OrtTensor | null {
    const [batch, one, vocab] = port.dims;
    if (state === null || port.dims.length !== 3 || one !== 1 || typeof vocab !== 'number') return null;
    if (typeof batch === 'number' && batch !== state.batch) return null;
    if (port.dtype !== 'float32') return null;
    return ortTensor('float32', new Float32Array(state.batch * vocab), [state.batch, 1, vocab]);
  }

  #collect(
    results: InferenceSession.ReturnType,
    place: Tensor<'float32'> | null,
    wanted: readonly string[],
    reduce: Reduce | null,
  ): RunResult {
    const outputs: Record<string, Tensor> = {};
    for (const name of wanted) {
      const port = this.#output(name);
      const given = results[port.graphName] as OrtTensor;
      outputs[name] = name === 'logits' ? (place ?? this.#logitsOf(given, port)) : contractTensor(given, port.dtype);
    }
    if (reduce === null || reduce.kind === 'none') return { outputs };
    const port = this.#output('logits');
    const logits = place ?? this.#logitsOf(results[port.graphName] as OrtTensor, port);
    return { outputs, top: this.#reduce(logits, reduce) };
  }

  /** Logits are handed back as float32 whatever the program computes in. */
  #logitsOf(given: OrtTensor, port: BoundPort): Tensor<'float32'> {
    checkLogits(given.dims, this.#program.path);
    const data = dataOf(given, port.dtype);
    if (!(data instanceof Uint16Array)) return { dtype: 'float32', dims: given.dims, data: data as Float32Array };
    if (this.#wide.length !== data.length) this.#wide = new Float32Array(data.length);
    return { dtype: 'float32', dims: given.dims, data: halvesToFloats(data, this.#wide) };
  }

  #reduce(logits: Tensor<'float32'>, reduce: Exclude<Reduce, { kind: 'none' }>): NonNullable<RunResult['top']> {
    const width = logits.dims[logits.dims.length - 1] ?? 0;
    const rows = width === 0 ? 0 : logits.data.length / width;
    const k = reduce.kind === 'argmax' ? 1 : reduce.k;
    if (!Number.isInteger(k) || k < 1 || k > width) {
      throw new VlmError('TENSOR_INVALID', {
        what: 'A top-k reduction does not fit the logits',
        expected: `k from 1 to ${width}`,
        received: `k = ${k}`,
        where: `${this.#program.path}: logits`,
      });
    }
    if (this.#top === null || this.#top.k !== k || this.#top.ids.length !== rows * k) {
      this.#top = { k, ids: new Int32Array(rows * k), values: new Float32Array(rows * k) };
    }
    const { ids, values } = this.#top;
    for (let row = 0; row < rows; row++) {
      if (k > 1) {
        topk(logits.data, row, width, k, ids, values);
        continue;
      }
      const best = argmax(logits.data, row, width);
      ids[row] = best;
      values[row] = logits.data[row * width + best] as number;
    }
    return this.#top;
  }
}
