/** Choosing among the finite shapes of a compiled program. Programs that take any shape have no such list. */
import type { ProgramDescription, ShapeSet } from '../contracts/device.js';
import { VlmError } from '../contracts/errors.js';
import type { Tensor } from '../contracts/tensor.js';
import { type LanguagePorts, wholeNumbers } from './feeds.js';

/** Rows of the state for `rows` prompts: the smallest compiled batch that holds them. */
export function chooseBatch(program: ProgramDescription, rows: number, ctxLen: number): number {
  if (program.calls === 'exact' || program.allowedShapes === null) return rows;
  const sizes = fitting(program, ctxLen)
    .map((s) => cacheRowsOf(s))
    .filter((b) => b >= rows);
  if (sizes.length > 0) return Math.min(...sizes);
  throw notAllowed(program, `batch_size ${rows} or more with ctx_len ${ctxLen}`);
}

/** The shape for a chunk when `left` prompt tokens remain: the smallest that holds them, else the largest. */
export function choosePrefillShape(
  program: ProgramDescription,
  batch: number,
  ctxLen: number,
  limit: number,
  start: number,
  left: number,
): ShapeSet {
  const all = fitting(program, ctxLen).filter((s) => cacheRowsOf(s) === batch);
  const prefill = all.filter((s) => seqOf(s) > 1);
  const sets = prefill.length > 0 ? prefill : all;
  const lengths = [...new Set(sets.map(seqOf))].filter((s) => s <= limit).sort((a, b) => a - b);
  const length = lengths.find((s) => s >= left) ?? lengths.at(-1);
  if (length === undefined) throw notAllowed(program, `batch_size ${batch}, seq_len up to ${limit}, ctx_len ${ctxLen}`);
  return leastContext(
    sets.filter((s) => seqOf(s) === length),
    start + Math.min(length, left),
  );
}

/** The shape of a decode step when the furthest row writes slot `furthest`. */
export function chooseDecodeShape(
  program: ProgramDescription,
  batch: number,
  ctxLen: number,
  furthest: number,
): ShapeSet {
  const sets = fitting(program, ctxLen).filter(
    (s) => cacheRowsOf(s) === batch && batchOf(s) === batch && seqOf(s) === 1,
  );
  if (sets.length === 0) throw notAllowed(program, `batch_size ${batch}, seq_len 1, ctx_len ${ctxLen}`);
  return leastContext(sets, furthest + 1);
}

/**
 * Inputs that a shape set decides. Of comp_ctx_lengths only the length matters; row i of the call owns row `first` + i of
 * the cache.
 */
export function shapeInputs(ports: LanguagePorts, batch: number, set: ShapeSet, first = 0): Record<string, Tensor> {
  const dims = set.shapes.comp_ctx_lengths;
  return {
    ...(ports.batchIndex === null ? {} : { batch_index: wholeNumbers(ports.batchIndex, [batch, 1], (i) => first + i) }),
    ...(ports.contextLengths === null || dims === undefined
      ? {}
      : { comp_ctx_lengths: wholeNumbers(ports.contextLengths, dims, () => 0) }),
  };
}

function leastContext(sets: readonly ShapeSet[], slots: number): ShapeSet {
  const ranked = [...sets].sort((a, b) => contextOf(a) - contextOf(b));
  const chosen = ranked.find((s) => contextOf(s) >= slots) ?? ranked.at(-1);
  if (chosen === undefined) throw new VlmError('INTERNAL', { what: 'No shape to choose from' });
  return chosen;
}

function contextOf(set: ShapeSet): number {
  return set.shapes.comp_ctx_lengths?.[0] ?? Number.POSITIVE_INFINITY;
}

function fitting(program: ProgramDescription, ctxLen: number): readonly ShapeSet[] {
  return (program.allowedShapes ?? []).filter((s) => {
    // Layers of chunked attention keep a shorter cache: the longest one holds every position.
    const caches = Object.entries(s.shapes).flatMap(([name, dims]) =>
      name.startsWith('past_key') ? (dims[2] ?? []) : [],
    );
    const slots = caches.length > 0 ? Math.max(...caches) : s.symbols.ctx_len;
    return slots === undefined || slots === ctxLen;
  });
}

/** Rows of a call. */
export function batchOf(set: ShapeSet): number {
  return set.shapes.input_ids?.[0] ?? set.symbols.batch_size ?? 1;
}

/** Whether a call takes vision rows for each row of the batch: vision_embeds [batch, rows, hidden]. */
export function hasVisionBatch(set: ShapeSet, batch: number): boolean {
  const dims = set.shapes.vision_embeds;
  return dims?.length === 3 && dims[0] === batch;
}

/** Rows of the cache: those of a call, or more where calls of one prompt fill a cache of several (full_batch_size). */
function cacheRowsOf(set: ShapeSet): number {
  const cache = Object.entries(set.shapes).find(([name]) => name.startsWith('past_key'));
  return cache?.[1][0] ?? batchOf(set);
}

function seqOf(set: ShapeSet): number {
  return set.shapes.input_ids?.[1] ?? set.symbols.seq_len ?? 1;
}

function notAllowed(program: ProgramDescription, wanted: string): VlmError {
  const sets = (program.allowedShapes ?? []).map(
    (s) =>
      `${s.name || 'set'}: ${Object.entries(s.symbols)
        .map(([k, v]) => `${k} ${v}`)
        .join(', ')}`,
  );
  return new VlmError('SHAPE_NOT_ALLOWED', {
    what: 'The compiled program has no shape for this call',
    expected: sets.length > 0 ? sets.join('; ') : 'a list of compiled shapes',
    received: wanted,
    hint: 'set batch_size, prefill_seq_len and ctx_len to a compiled combination, or compile the program for these',
  });
}
