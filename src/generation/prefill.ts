/**
 * Prefill on devices that take exact shapes: one row after another, each in chunks of at most `prefillSeqLen` tokens,
 * the last one as short as it is, into a view of that row of the cache.
 */
import type { DeviceState, ProgramSession, RunOptions, RunResult } from '../contracts/device.js';
import type { Tensor } from '../contracts/tensor.js';
import { chunkEnd } from '../util/prefill-chunks.js';
import { IntTensor, imageTokens, type LanguagePorts, visionTensor } from './feeds.js';
import type { GenerationRequest } from './types.js';

export interface PrefillTask {
  readonly session: ProgramSession;
  readonly ports: LanguagePorts;
  readonly state: DeviceState;
  readonly requests: readonly GenerationRequest[];
  readonly prefillSeqLen: number;
  readonly wanted: readonly string[];
  readonly options: RunOptions;
  readonly now: () => number;
  readonly checkCancelled: () => void;
  /** A call of `tokens` prompt tokens took `ms` of a row's time. */
  called(row: number, tokens: number, ms: number): void;
  /** The logits after a row's last prompt token are row `at` of `result`. */
  done(row: number, result: RunResult, at: number): void;
}

export async function prefillExact(task: PrefillTask): Promise<void> {
  for (const [row, request] of task.requests.entries()) {
    const state = task.state.batch === 1 ? task.state : task.state.row(row);
    await prefillRow(task, request, row, state);
  }
}

async function prefillRow(
  task: PrefillTask,
  request: GenerationRequest,
  row: number,
  state: DeviceState,
): Promise<void> {
  const { ports, session } = task;
  const { ids } = request;
  const vision = ports.vision === null ? null : visionTensor(request.vision, ports.vision);
  let imageIdx: Tensor = new IntTensor([1, 1]);
  for (let start = 0, end = 0; start < ids.length; start = end) {
    task.checkCancelled();
    end = chunkEnd(request, start, task.prefillSeqLen);
    const last = end === ids.length;
    const inputs = chunkInputs(request, start, end, ports);
    if (vision !== null) inputs.vision_embeds = vision;
    if (ports.hasImageIndex) inputs.image_idx = imageIdx;
    const began = task.now();
    const result = await session.run(state, inputs, last ? task.wanted : [], last ? task.options : undefined);
    task.called(row, end - start, task.now() - began);
    if (last) task.done(row, result, 0);
    else if (ports.hasImageIndex) imageIdx = rowsUsed(request, end);
  }
}

function chunkInputs(
  request: GenerationRequest,
  start: number,
  end: number,
  ports: LanguagePorts,
): Record<string, Tensor> {
  const length = end - start;
  const tokens = new IntTensor([1, length]);
  const positions = new IntTensor([1, length]);
  const types = ports.hasTokenTypes ? new IntTensor([1, length]) : null;
  for (let i = 0; i < length; i++) {
    const id = request.ids[start + i] as number;
    tokens.set(i, id);
    positions.set(i, start + i);
    if (id === request.imageTokenId) types?.set(i, 1);
  }
  return {
    input_ids: tokens,
    position_ids: positions,
    ...(types === null ? {} : { mm_token_type_ids: types }),
  };
}

/**
 * `image_idx` behind the first `end` tokens: as many vision rows as they hold image tokens. Counted here and not taken from
 * `image_idx_output`, because graphs exported by QEfficient give 0 after a chunk without image tokens, and a later image
 * would then read the rows of the first.
 */
export function rowsUsed({ ids, imageTokenId }: GenerationRequest, end: number): IntTensor {
  const index = new IntTensor([1, 1]);
  index.set(0, imageTokens(ids, imageTokenId, Math.min(end, ids.length)));
  return index;
}
