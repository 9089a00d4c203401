/**
 * Prefill on devices whose calls have compiled shapes: every call takes the whole batch, and positions that are not
 * used are -1, which leaves their cache untouched.
 *
 * Rows go together as long as one `image_idx` and the program's vision input can serve them all; otherwise they go one
 * after another, the other rows padded throughout. A program for continuous batching takes one row a call, and is told
 * which row of the cache it is (`batch_index`).
 */
import type { ShapeSet } from '../contracts/device.js';
import { VlmError } from '../contracts/errors.js';
import type { Tensor } from '../contracts/tensor.js';
import { IntTensor, imageTokens, visionBatch, visionTensor } from './feeds.js';
import { type PrefillTask, rowsUsed } from './prefill.js';
import { batchOf, choosePrefillShape, hasVisionBatch, shapeInputs } from './shapes.js';
import type { GenerationRequest } from './types.js';

export async function prefillPadded(task: PrefillTask): Promise<void> {
  const rows = task.requests.map((_, i) => i);
  if (rows.length === 1 || mayGoTogether(task, rows)) return prefillTogether(task, rows);
  for (const row of rows) await prefillTogether(task, [row]);
}

/**
 * Several prompts with images share calls when the program has vision rows for each row of the batch and, wherever a
 * chunk begins, all rows that still need vision rows have used equally many.
 */
function mayGoTogether(task: PrefillTask, rows: readonly number[]): boolean {
  const requests = rows.map((r) => requestOf(task, r));
  const longest = Math.max(...requests.map((r) => r.ids.length));
  if (batchOf(shapeAt(task, 0, longest)) < task.state.batch) return false;
  if (requests.every((r) => r.vision === null)) return true;
  for (let start = 0; start < longest; ) {
    const set = shapeAt(task, start, longest);
    if (!hasVisionBatch(set, task.state.batch)) return false;
    const used = requests
      .filter((r) => imageTokens(r.ids, r.imageTokenId) > imageTokens(r.ids, r.imageTokenId, start))
      .map((r) => imageTokens(r.ids, r.imageTokenId, start));
    if (used.some((n) => n !== used[0])) return false;
    start += lengthOf(set);
  }
  return true;
}

function shapeAt(task: PrefillTask, start: number, longest: number): ShapeSet {
  const { batch, ctxLen } = task.state;
  return choosePrefillShape(task.session.describe(), batch, ctxLen, task.prefillSeqLen, start, longest - start);
}

function lengthOf(set: ShapeSet): number {
  return set.shapes.input_ids?.[1] ?? set.symbols.seq_len ?? 1;
}

/** Chunks of several rows, from their first token to the last of the longest. */
async function prefillTogether(task: PrefillTask, rows: readonly number[]): Promise<void> {
  const requests = rows.map((r) => requestOf(task, r));
  const longest = Math.max(...requests.map((r) => r.ids.length));
  let imageIdx = new IntTensor([1, 1]);
  for (let start = 0; start < longest; ) {
    task.checkCancelled();
    const set = shapeAt(task, start, longest);
    const length = lengthOf(set);
    if (length === 1) checkLoneImages(requests);
    const inputs = paddedInputs(task, rows, start, length, set);
    const vision = visionOf(task, rows, set);
    if (vision !== null) inputs.vision_embeds = vision;
    if (task.ports.hasImageIndex) inputs.image_idx = imageIdx;
    const began = task.now();
    const result = await task.session.run(task.state, inputs, task.wanted, task.options);
    const ms = task.now() - began;
    imageIdx = indexAfter(requests, start + length);
    for (const [i, row] of rows.entries()) {
      const total = requests[i]?.ids.length ?? 0;
      if (start >= total) continue;
      task.called(row, Math.min(length, total - start), ms);
      if (start + length >= total) task.done(row, result, row - firstOf(task, rows, set));
    }
    start += length;
  }
}

/** Graphs exported by QEfficient take no vision rows in calls of one token, and answer as if there were no image. */
function checkLoneImages(requests: readonly GenerationRequest[]): void {
  const images = Math.max(...requests.map((r) => imageTokens(r.ids, r.imageTokenId)));
  if (images === 0) return;
  throw new VlmError('SHAPE_NOT_ALLOWED', {
    what: 'The compiled program has no prefill shape for a prompt with an image',
    expected: 'a compiled seq_len of 2 or more, within prefill_seq_len',
    received: `calls of one token, for a prompt with ${images} image tokens`,
    hint: 'raise prefill_seq_len of the decode node, or compile the language program with a prefill length',
  });
}

/** One index serves all rows that still need vision rows: mayGoTogether has seen to it. */
function indexAfter(requests: readonly GenerationRequest[], end: number): IntTensor {
  const total = (r: GenerationRequest, until?: number): number => imageTokens(r.ids, r.imageTokenId, until);
  const [first] = requests;
  const needing = requests.find((r) => total(r, end) < total(r)) ?? first;
  return needing === undefined ? new IntTensor([1, 1]) : rowsUsed(needing, end);
}

/** The row of the cache that is row 0 of a call. */
function firstOf(task: PrefillTask, rows: readonly number[], set: ShapeSet): number {
  return batchOf(set) < task.state.batch ? (rows[0] ?? 0) : 0;
}

function visionOf(task: PrefillTask, rows: readonly number[], set: ShapeSet): Tensor | null {
  const port = task.ports.vision;
  if (port === null) return null;
  const dims = set.shapes.vision_embeds;
  if (dims !== undefined && hasVisionBatch(set, task.state.batch)) {
    return visionBatch(
      rows.map((row) => ({ row, vision: requestOf(task, row).vision })),
      port,
      dims,
    );
  }
  return visionTensor(rows.length === 1 ? requestOf(task, rows[0] ?? 0).vision : null, port, dims);
}

function paddedInputs(
  task: PrefillTask,
  rows: readonly number[],
  start: number,
  length: number,
  set: ShapeSet,
): Record<string, Tensor> {
  const batch = batchOf(set);
  const first = firstOf(task, rows, set);
  const tokens = new IntTensor([batch, length]);
  const positions = new IntTensor([batch, length]);
  const types = task.ports.hasTokenTypes ? new IntTensor([batch, length]) : null;
  for (let i = 0; i < batch * length; i++) positions.set(i, -1);
  for (const row of rows) {
    const { ids, imageTokenId } = requestOf(task, row);
    for (let i = 0; i < length && start + i < ids.length; i++) {
      const id = ids[start + i] as number;
      const at = (row - first) * length + i;
      tokens.set(at, id);
      positions.set(at, start + i);
      if (id === imageTokenId) types?.set(at, 1);
    }
  }
  return {
    input_ids: tokens,
    position_ids: positions,
    ...(types === null ? {} : { mm_token_type_ids: types }),
    ...shapeInputs(task.ports, batch, set, first),
  };
}

function requestOf(task: PrefillTask, row: number): GenerationRequest {
  const request = task.requests[row];
  if (request === undefined) throw new VlmError('INTERNAL', { what: `A batch has no row ${row}` });
  return request;
}
