/**
 * The program calls that the loop makes for a prompt, or for a batch of equal ones, on a device with compiled shapes,
 * without making them. Shapes are chosen by the same functions as in the loop.
 */
import type { ProgramDescription, ShapeSet } from '../contracts/device.js';
import { batchOf, chooseBatch, chooseDecodeShape, choosePrefillShape, hasVisionBatch } from './shapes.js';

export interface PlannedStep {
  readonly kind: 'prefill' | 'decode';
  readonly set: ShapeSet;
  /** Positions of the call that hold a token, of `slots` that are computed. */
  readonly used: number;
  readonly slots: number;
}

export interface PromptCalls {
  /** Rows of the compiled batch; the first of them are the prompts'. */
  readonly batch: number;
  /** Several prompts share their prefill calls; otherwise each has calls of its own. */
  readonly together: boolean;
  readonly prefill: readonly PlannedStep[];
  /** One entry a decode step, for an answer of `newTokens` tokens. */
  readonly decode: readonly PlannedStep[];
}

/**
 * `rows` prompts of `tokens` tokens each, alike in where their images are. `newTokens` counts the token that prefill
 * gives. Throws SHAPE_NOT_ALLOWED as the loop does.
 */
export function planPromptCalls(
  program: ProgramDescription,
  tokens: number,
  options: {
    readonly prefillSeqLen: number;
    readonly ctxLen: number;
    readonly newTokens: number;
    readonly rows?: number;
    /** Whether the prompts have images; asked only of several prompts. */
    readonly vision?: boolean;
  },
): PromptCalls {
  const { prefillSeqLen, ctxLen, newTokens, rows = 1, vision = true } = options;
  const batch = chooseBatch(program, rows, ctxLen);
  const chunks: { readonly set: ShapeSet; readonly length: number; readonly used: number }[] = [];
  for (let start = 0; start < tokens; ) {
    const set = choosePrefillShape(program, batch, ctxLen, prefillSeqLen, start, tokens - start);
    const length = set.shapes.input_ids?.[1] ?? set.symbols.seq_len ?? 1;
    chunks.push({ set, length, used: Math.min(length, tokens - start) });
    start += length;
  }
  const together = chunks.every(({ set }) => batchOf(set) === batch && (!vision || hasVisionBatch(set, batch)));
  const share = rows > 1 && together ? rows : 1;
  const once = chunks.map(({ set, length, used }): PlannedStep => {
    return { kind: 'prefill', set, used: used * share, slots: batchOf(set) * length };
  });
  const steps = Math.max(0, Math.min(newTokens, ctxLen - tokens + 1) - 1);
  const decode = Array.from({ length: steps }, (_, i): PlannedStep => {
    const set = chooseDecodeShape(program, batch, ctxLen, tokens + i);
    return { kind: 'decode', set, used: rows, slots: batch };
  });
  const prefill = Array.from({ length: rows / share }, () => once).flat();
  return { batch, together: share > 1, prefill, decode };
}
