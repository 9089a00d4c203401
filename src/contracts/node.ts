/**
 * What a node kind is: a manifest (data only: it is read to check recipes and to generate the schema) and a run module
 * that a worker loads when the first task of that kind arrives.
 */

import type { ProgramDescription, ProgramRole, ProgramSession } from './device.js';
import type { ErrorData } from './errors.js';
import type { FamilyModel } from './family.js';
import type { PortKind, PortValue } from './ports.js';
import type { Tensor } from './tensor.js';

/** JSON Schema of one option, with what editors show. A subset of draft 2020-12, kept as plain data. */
export interface OptionSchema {
  readonly type?: string | readonly string[];
  readonly description: string;
  readonly default?: unknown;
  /** What counts where the option is left out and has no default, as the end of a sentence: "the number of cores". */
  readonly withoutIt?: string;
  readonly examples?: readonly unknown[];
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly items?: Readonly<Record<string, unknown>>;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minLength?: number;
  /** Its value is a JSON Schema of the user's own, which is checked with the recipe. */
  readonly holdsSchema?: boolean;
  /** A recipe that still gives it is warned. */
  readonly deprecated?: boolean;
  /** The option that took its place, which makes this one deprecated: a value given here is handed on as that one. */
  readonly replacedBy?: string;
  readonly properties?: Readonly<Record<string, unknown>>;
  readonly additionalProperties?: boolean | Readonly<Record<string, unknown>>;
  readonly anyOf?: readonly Readonly<Record<string, unknown>>[];
}

export interface InputPort {
  readonly kind: PortKind | readonly PortKind[];
  readonly description: string;
  /** Default true. */
  readonly required?: boolean;
  /** What happens when an optional port is not connected, as the end of a sentence: "the prompt is text alone". */
  readonly withoutIt?: string;
  /** Accepts an input declared `many: true` (a list value). Default false. */
  readonly many?: boolean;
}

export interface OutputPort {
  readonly kind: PortKind;
  readonly description: string;
}

export interface NodeManifest {
  readonly kind: string;
  readonly description: string;
  readonly inputs: Readonly<Record<string, InputPort>>;
  readonly outputs: Readonly<Record<string, OutputPort>>;
  /** Groups of input ports of which exactly one is connected (each of them is `required: false`). */
  readonly oneOf?: readonly (readonly string[])[];
  /** Options under `with:`. */
  readonly options: Readonly<Record<string, OptionSchema>>;
  /** The program a device node runs; absent for host nodes. A node with a role must name a `device`. */
  readonly program?: ProgramRole;
  /** The ledger stage that the node's own time counts under, when it reports none itself. */
  readonly stage: LedgerStage;
}

/** Stages of the ledger (architecture decision 6). */
export const LEDGER_STAGES = [
  'start',
  'plan',
  'load',
  'activate',
  'image decode',
  'preprocess',
  'encode',
  'prefill',
  'decode',
  'fuse',
  'transfer',
  'record',
  'idle',
] as const;
export type LedgerStage = (typeof LEDGER_STAGES)[number];

/** One interval of one lane. Times are milliseconds on the performance clock since the process's time origin. */
export interface Span {
  readonly stage: LedgerStage;
  readonly node?: string;
  readonly start: number;
  readonly end: number;
}

/** Inputs of a node for one item: a value, or a list of values for a `many` port. */
export type NodeInputs = Readonly<Record<string, PortValue | readonly PortValue[] | undefined>>;
export type NodeOutputs = Readonly<Record<string, PortValue>>;

/** One item's result: outputs, or the error that ended this item alone (other items of the batch go on). */
export type ItemResult =
  | { readonly ok: true; readonly outputs: NodeOutputs }
  | { readonly ok: false; readonly error: ErrorData };

export interface NodeContext {
  /** Name of the node in the recipe. */
  readonly node: string;
  /** Options of `with:`, defaults filled in. */
  readonly options: Readonly<Record<string, unknown>>;
  /** The model, opened in this worker: family geometry, text adapters. */
  model(): Promise<ModelContext>;
  /** The program this device node runs, opened and activated (device nodes only; otherwise it throws INTERNAL). */
  program(): Promise<ProgramSession>;
  /** Records the time since `start` (performance.now()) under a ledger stage; unrecorded time counts as `manifest.stage`. */
  span(stage: LedgerStage, start: number, end?: number): void;
  /** Streams a piece of output text of item `item` to whoever watches the run. */
  emitText(item: number, piece: string): void;
  /** Progress within the node: `done` of `total` (total 0: unknown). */
  progress(done: number, total: number, unit: string): void;
  /** Says something to whoever watches the run; the same sentence is shown once a run. Absent where nobody listens. */
  notice?(message: string): void;
  /**
   * Vision embeddings of earlier items and runs; absent when the run keeps none. Nodes that make pixels give them a
   * `key` only where it is present: the key costs a digest of every picture.
   */
  readonly embeddings?: EmbeddingCache;
  /** Throws CANCELLED when the run was cancelled. Cheap: one atomic load; call it at every step. */
  checkCancelled(): void;
}

/** Content-addressed: a key stands for pixels; the cache itself adds which encoder on which device made the rows. */
export interface EmbeddingCache {
  /** A copy of its own for whoever asks. */
  get(key: string): Promise<Tensor<'float32' | 'float16'> | undefined>;
  put(key: string, rows: Tensor<'float32' | 'float16'>): Promise<void>;
}

/** What nodes see of a model folder, inside a worker. */
export interface ModelContext {
  readonly family: FamilyModel;
  readonly text: TextModel;
  describe(role: ProgramRole): Promise<ProgramDescription | null>;
}

/** A chat message as chat templates know it. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string | readonly ContentPart[];
}
export type ContentPart =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'image'; readonly image?: number };

/** Tokenizer and chat template of a model (src/text). Pure functions over loaded files. */
export interface TextModel {
  readonly vocabSize: number;
  /** Tokens that `skipSpecialTokens` leaves out. */
  readonly specialTokens?: readonly string[];
  /** `addSpecialTokens` (default true, as the reference): what the post-processor adds, such as a leading BOS. */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): Int32Array;
  decode(ids: ArrayLike<number>, options?: { readonly skipSpecialTokens?: boolean }): string;
  tokenId(token: string): number | undefined;
  /** Text of the BOS token, when the tokenizer names one: a prompt that starts with it gets no second one. */
  readonly bosToken?: string;
  /** Renders the model's chat template. Throws TEMPLATE_INVALID. */
  render(messages: readonly ChatMessage[], options: { readonly addGenerationPrompt: boolean }): string;
  /** Incremental detokenizer: feed ids, get only text that can no longer change. */
  stream(options?: { readonly skipSpecialTokens?: boolean }): TextStream;
}
export interface TextStream {
  push(id: number): string;
  flush(): string;
}

/** Module shape of `src/nodes/<kind>/run.ts` and of plugins: `run` handles a batch of items at once, in order. */
export interface NodeModule {
  run(items: readonly NodeInputs[], context: NodeContext): Promise<readonly ItemResult[]>;
}
