/**
 * The program calls that the loop makes for one prompt on a device with compiled shapes, without making them. Shapes
 * are chosen by the same functions as in the loop.
 */
import type { ProgramDescription, ShapeSet } from '../contracts/device.js';
import { batchOf, chooseBatch, chooseDecodeShape, choosePrefillShape } from './shapes.js';

export interface PlannedStep {
  readonly kind: 'prefill' | 'decode';
  readonly set: ShapeSet;
  /** Positions of the call that hold a token, of `slots` that are computed. */
  readonly used: number;
  readonly slots: number;
}

export interface PromptCalls {
  /** Rows of the compiled batch; one of them is the prompt's. */
  readonly batch: number;
  readonly prefill: readonly PlannedStep[];
  /** One entry a decode step, for an answer of `newTokens` tokens. */
  readonly decode: readonly PlannedStep[];
}

/** `newTokens` counts the token that prefill gives. Throws SHAPE_NOT_ALLOWED as the loop does. */
export function planPromptCalls(
  program: ProgramDescription,
  tokens: number,
  options: {
    readonly prefillSeqLen: number;
    readonly ctxLen: number;
    readonly newTokens: number;
    readonly rows?: number;
  },
): PromptCalls {
  const { prefillSeqLen, ctxLen, newTokens, rows = 1 } = options;
  const batch = chooseBatch(program, rows, ctxLen);
  const prefill: PlannedStep[] = [];
  for (let start = 0; start < tokens; ) {
    const set = choosePrefillShape(program, batch, ctxLen, prefillSeqLen, start, tokens - start);
    const length = set.shapes.input_ids?.[1] ?? set.symbols.seq_len ?? 1;
    prefill.push({ kind: 'prefill', set, used: Math.min(length, tokens - start), slots: batchOf(set) * length });
    start += length;
  }
  const steps = Math.max(0, Math.min(newTokens, ctxLen - tokens + 1) - 1);
  const decode = Array.from({ length: steps }, (_, i): PlannedStep => {
    const set = chooseDecodeShape(program, batch, ctxLen, tokens + i);
    return { kind: 'decode', set, used: 1, slots: batch };
  });
  return { batch, prefill, decode };
}
