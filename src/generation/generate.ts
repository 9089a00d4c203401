/**
 * The generation loop over the dual-program contract: prefill, then one token a step for all rows together. It knows
 * programs and states only; devices that pad their calls and devices that take exact shapes run the same loop.
 *
 * Rows finish on their own. A finished row is fed its last token again at the same position, which rewrites one slot of
 * its own cache and nothing else, so every row gets the tokens it would get alone.
 */
import type { DeviceState, ProgramSession, RunOptions, RunResult, ShapeSet } from '../contracts/device.js';
import { VlmError } from '../contracts/errors.js';
import type { Tensor } from '../contracts/tensor.js';
import { checkRequest } from './checks.js';
import { IntTensor, type LanguagePorts, languagePorts } from './feeds.js';
import { prefillPadded } from './padded.js';
import { type PrefillTask, prefillExact } from './prefill.js';
import { Row } from './row.js';
import { Filter, isPlainGreedy } from './sampling.js';
import { chooseBatch, chooseDecodeShape, shapeInputs } from './shapes.js';
import {
  type GenerationHooks,
  type GenerationOptions,
  type GenerationRequest,
  type GenerationResult,
  GREEDY,
} from './types.js';

const LOGITS: readonly string[] = ['logits'];
const NOTHING: readonly string[] = [];

/** Generates an answer to each prompt. Throws what checkRequest finds, device errors, and what checkCancelled throws. */
export async function generate(
  session: ProgramSession,
  requests: readonly GenerationRequest[],
  options: GenerationOptions,
  hooks: GenerationHooks = {},
): Promise<readonly GenerationResult[]> {
  if (requests.length === 0) return [];
  const program = session.describe();
  for (const request of requests) {
    const problem = checkRequest(request, program, options);
    if (problem !== null) throw problem;
  }
  const batch = chooseBatch(program, requests.length, options.ctxLen);
  const state = session.createState(batch, options.ctxLen);
  try {
    return await new Generation(session, state, requests, options, hooks).run();
  } finally {
    state.release();
  }
}

class Generation {
  readonly #session: ProgramSession;
  readonly #state: DeviceState;
  readonly #requests: readonly GenerationRequest[];
  readonly #options: GenerationOptions;
  readonly #hooks: GenerationHooks;
  readonly #rows: readonly Row[];
  readonly #run: RunOptions;
  readonly #wanted: readonly string[];
  readonly #now: () => number;
  readonly #ports: LanguagePorts;
  #filter: Filter | null = null;
  #set: ShapeSet | null = null;

  constructor(
    session: ProgramSession,
    state: DeviceState,
    requests: readonly GenerationRequest[],
    options: GenerationOptions,
    hooks: GenerationHooks,
  ) {
    this.#session = session;
    this.#state = state;
    this.#requests = requests;
    this.#options = options;
    this.#hooks = hooks;
    this.#rows = requests.map((r, i) => new Row(i, r, options, hooks));
    this.#ports = languagePorts(session.describe());
    this.#now = hooks.now ?? (() => performance.now());
    // The device picks the token where that is all there is to do; otherwise the whole row comes back.
    const plain = isPlainGreedy(options.sampling ?? GREEDY);
    const margins = options.recordMargins === true;
    this.#run = margins
      ? { reduce: { kind: 'topk', k: 2 } }
      : { reduce: plain ? { kind: 'argmax' } : { kind: 'none' } };
    this.#wanted = plain ? NOTHING : LOGITS;
  }

  async run(): Promise<readonly GenerationResult[]> {
    const program = this.#session.describe();
    const task: PrefillTask = {
      session: this.#session,
      ports: this.#ports,
      state: this.#state,
      requests: this.#requests,
      prefillSeqLen: Math.max(1, Math.floor(this.#options.prefillSeqLen)),
      wanted: this.#wanted,
      options: this.#run,
      now: this.#now,
      checkCancelled: () => this.#hooks.checkCancelled?.(),
      called: (row, tokens, ms) => this.#rows[row]?.prefilled(tokens, ms),
      done: (row, result, at) => this.#accept(this.#rows[row], result, at, this.#now()),
    };
    await (program.calls === 'exact' ? prefillExact(task) : prefillPadded(task));
    this.#hooks.onPrefilled?.();
    await this.#decode();
    return this.#rows.map((r) => r.result());
  }

  async #decode(): Promise<void> {
    const { batch } = this.#state;
    const tokens = new IntTensor([batch, 1]);
    const positions = new IntTensor([batch, 1]);
    const inputs: Record<string, Tensor> = { input_ids: tokens, position_ids: positions };
    // Rows of the batch that hold no prompt stay padded: only padded calls have such rows.
    for (let row = this.#rows.length; row < batch; row++) positions.set(row, -1);
    const padded = this.#session.describe().calls === 'padded';
    if (this.#ports.hasImageIndex) inputs.image_idx = new IntTensor([1, 1]);
    if (this.#ports.hasTokenTypes) inputs.mm_token_type_ids = new IntTensor([batch, 1]);
    let live = this.#rows.filter((r) => r.finish === null).length;
    while (live > 0) {
      this.#hooks.checkCancelled?.();
      let furthest = 0;
      for (const row of this.#rows) {
        tokens.set(row.index, row.token);
        positions.set(row.index, row.position);
        furthest = Math.max(furthest, row.position);
      }
      if (padded) this.#shape(inputs, furthest);
      const began = this.#now();
      const result = await this.#session.run(this.#state, inputs, this.#wanted, this.#run);
      const ended = this.#now();
      for (const row of this.#rows) {
        if (row.finish !== null) continue;
        row.decoded(ended - began);
        this.#accept(row, result, row.index, ended);
        if (row.finish !== null) live--;
      }
    }
  }

  /** Inputs that the compiled shape of this step decides. */
  #shape(inputs: Record<string, Tensor>, furthest: number): void {
    const { batch, ctxLen } = this.#state;
    const set = chooseDecodeShape(this.#session.describe(), batch, ctxLen, furthest);
    if (set === this.#set) return;
    this.#set = set;
    Object.assign(inputs, shapeInputs(this.#ports, batch, set));
  }

  /** Takes the token that follows from row `at` of a result. */
  #accept(row: Row | undefined, result: RunResult, at: number, when: number): void {
    if (row === undefined) return;
    const { top } = result;
    const k = top?.k ?? 0;
    const margin = top !== undefined && k > 1 ? (top.values[at * k] as number) - (top.values[at * k + 1] as number) : 0;
    if (this.#wanted === NOTHING) {
      if (top === undefined) throw noLogits('a reduced result');
      row.take(top.ids[at * k] as number, margin, when);
      return;
    }
    const logits = result.outputs.logits;
    if (!(logits?.data instanceof Float32Array)) throw noLogits('float32 logits');
    const width = logits.dims[logits.dims.length - 1] as number;
    this.#filter ??= new Filter(this.#options.sampling ?? GREEDY, width);
    const id = row.sampler.pick(logits.data.subarray(at * width, (at + 1) * width), this.#filter);
    row.take(id, margin, when);
  }
}

function noLogits(expected: string): VlmError {
  return new VlmError('DEVICE_FAILED', { what: 'A device handed back no logits', expected, received: 'none' });
}
