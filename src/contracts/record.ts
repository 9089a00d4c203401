/** Events of a run while it happens, and the run record that stays. */
import type { ErrorData } from './errors.js';
import type { LedgerStage, NodeOutputs } from './node.js';
import type { FinishReason, ImageInfo } from './ports.js';

export type RunEvent =
  | {
      readonly type: 'run-start';
      /** null: a stream, nobody knows how many. */
      readonly items: number | null;
      readonly nodes: readonly string[];
    }
  | { readonly type: 'stage'; readonly node: string; readonly state: 'start'; readonly at: number }
  /** `outcome`: not every item came through; `cancelled` when the run was stopped. */
  | {
      readonly type: 'stage';
      readonly node: string;
      readonly state: 'end';
      readonly at: number;
      readonly outcome?: 'failed' | 'cancelled';
    }
  | {
      readonly type: 'progress';
      readonly node: string;
      readonly done: number;
      readonly total: number;
      readonly unit: string;
    }
  | { readonly type: 'text'; readonly node: string; readonly item: number; readonly piece: string }
  | { readonly type: 'notice'; readonly message: string }
  | { readonly type: 'run-end'; readonly ok: boolean };

/** One lane of the ledger: a thread's time, split into stages that sum to the wall time. Milliseconds. */
export interface LedgerLane {
  readonly lane: string;
  readonly wallMs: number;
  /** True where a program of this lane ran on an emulated device: its times say nothing of a real one. */
  readonly emulated?: boolean;
  readonly stages: Readonly<Partial<Record<LedgerStage, number>>>;
  readonly spans: readonly {
    readonly stage: LedgerStage;
    readonly node?: string;
    readonly startMs: number;
    readonly endMs: number;
  }[];
}

export interface Ledger {
  readonly wallMs: number;
  readonly lanes: readonly LedgerLane[];
  /** How often a program gave its card up for another one; absent when never. */
  readonly swaps?: number;
}

export interface RunMetrics {
  readonly promptTokens: number;
  readonly visionTokens: number;
  readonly tiles: number;
  readonly generatedTokens: number;
  readonly finish: FinishReason;
  /** Prefill calls only, as QEfficient counts time to first token. Milliseconds. */
  readonly ttftQefficientMs: number;
  /**
   * To the first token known, from the start of the run (after the process started); of a stream's items, from the
   * moment the item was taken up. Milliseconds.
   */
  readonly ttftMs: number;
  /** Tokens after the first over the time of the decode steps. */
  readonly decodeTokensPerSecond: number;
  readonly totalTokensPerSecond: number;
}

/** One completion of an item, with the prompt it answers. */
export interface CompletionRecord {
  readonly text: string;
  readonly images: readonly ImageInfo[];
  readonly prompt?: string;
  readonly promptIds?: readonly number[];
  readonly generatedIds: readonly number[];
  readonly metrics: RunMetrics;
}

/**
 * Result of one item of a run. Text, prompt, ids, images and metrics are those of one answer: the first output that
 * shows text, and what it descends from.
 */
export interface ItemRecord {
  readonly index: number;
  readonly ok: boolean;
  readonly error?: ErrorData;
  readonly outputs?: NodeOutputs;
  readonly images: readonly ImageInfo[];
  readonly prompt?: string;
  readonly promptIds?: readonly number[];
  readonly generatedIds?: readonly number[];
  readonly text?: string;
  readonly metrics?: RunMetrics;
  /** Every completion by its reference (`decode.text`), in recipes that have several. */
  readonly completions?: Readonly<Record<string, CompletionRecord>>;
  /** Whether the vision embeddings were known; absent in runs that cache none and for items without a picture. */
  readonly embeddings?: 'hit' | 'miss';
}

export interface RunResultRecord {
  readonly ok: boolean;
  readonly items: readonly ItemRecord[];
  readonly ledger: Ledger;
  readonly error?: ErrorData;
}
