/** What the generation loop takes and gives. Nothing here knows a device, a family or a tokenizer. */

import type { TextStream } from '../contracts/node.js';
import type { FinishReason } from '../contracts/ports.js';
import type { Tensor } from '../contracts/tensor.js';

/** One prompt. */
export interface GenerationRequest {
  /** Token ids with image tokens expanded. */
  readonly ids: Int32Array;
  /** Id whose embeddings the program replaces by rows of `vision`; -1: none. */
  readonly imageTokenId: number;
  /** [rows, hidden], as many rows as there are image tokens; null for a text-only prompt. */
  readonly vision: Tensor | null;
}

export interface SamplingOptions {
  /** 0: greedy. */
  readonly temperature: number;
  /** 0: all. */
  readonly topK: number;
  /** 1: all. */
  readonly topP: number;
  /** 0: all. */
  readonly minP: number;
  /** 1: none. */
  readonly repetitionPenalty: number;
  readonly seed: number;
}

export const GREEDY: SamplingOptions = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  seed: 0,
};

export interface GenerationOptions {
  /** Most prompt tokens of one call. */
  readonly prefillSeqLen: number;
  readonly ctxLen: number;
  /** Positions of the model, where they may be fewer than `ctxLen`: programs read tables that end there. */
  readonly maxPositions?: number;
  readonly maxNewTokens: number;
  readonly sampling?: SamplingOptions;
  /** Ids that end a sequence; ignored with `ignoreEos`. */
  readonly eosTokenIds?: readonly number[];
  readonly ignoreEos?: boolean;
  /** More ids that end a sequence, always. */
  readonly stopTokenIds?: readonly number[];
  /** Strings that end a sequence and are cut off; they need `text`. */
  readonly stop?: readonly string[];
  /** Streams of the tokenizer: what a reader sees, and the text with special tokens kept. */
  readonly text?: { visible(): TextStream; raw(): TextStream };
  readonly recordMargins?: boolean;
}

export interface GenerationHooks {
  onToken?(row: number, id: number): void;
  /** Text that can no longer change. */
  onText?(row: number, piece: string): void;
  /** Throws to end the generation; called before every program call. */
  checkCancelled?(): void;
  /** Milliseconds; performance.now() by default. */
  now?(): number;
  /** Called when the last prompt has been prefilled, before the first decode step. */
  onPrefilled?(): void;
}

export interface GenerationResult {
  /** Generated ids, the ending id included when there was one. */
  readonly ids: Int32Array;
  readonly finish: Exclude<FinishReason, 'cancelled'>;
  /** Empty without `options.text`. */
  readonly text: string;
  readonly rawText: string;
  /** Time of the program calls alone: those that prefilled this row, and those that decoded it. */
  readonly prefillMs: number;
  readonly decodeMs: number;
  /** When the first token was known, on the clock of `now`. */
  readonly firstTokenAt: number;
  /** Prompt tokens of each prefill call. */
  readonly prefillChunks: readonly number[];
  /** Best logit minus second best, for every generated token. */
  readonly margins?: Float32Array;
}
