/**
 * What crosses between the process that reads a dataset and keeps its results, and the child that runs the recipe.
 * The parent alone decides which item is where, so a child may end at any moment without anything being lost.
 */
import type { ErrorData } from '../contracts/errors.js';
import type { Ledger } from '../contracts/record.js';
import type { InputGiven } from '../runner/inputs/load.js';
import type { EmbeddingSettings } from '../runner/protocol.js';
import type { DatasetItem } from './source.js';
import type { ResultRow } from './store.js';

export interface StartMessage {
  readonly type: 'start';
  /** Absolute path of the recipe. */
  readonly file: string;
  readonly options: {
    readonly set?: readonly string[];
    readonly devices?: readonly string[];
    readonly allowPlugins?: boolean;
  };
  /** Values for the inputs that an item does not give; places are absolute. */
  readonly given: Readonly<Record<string, InputGiven>>;
  /** Options that changed the recipe, as typed: part of the commands that messages propose. */
  readonly arguments: readonly string[];
  readonly embeddings: EmbeddingSettings | null;
}

export type ParentMessage =
  | StartMessage
  | { readonly type: 'item'; readonly seq: number; readonly item: DatasetItem }
  /** No more items: finish what is there. */
  | { readonly type: 'end' }
  /** Stop after the native calls that are under way. */
  | { readonly type: 'stop' };

export type ChildMessage =
  | { readonly type: 'want' }
  | { readonly type: 'row'; readonly seq: number; readonly row: ResultRow }
  /** Something moved: a token, a stage. Told at most once a second. */
  | { readonly type: 'alive' }
  | { readonly type: 'notice'; readonly message: string }
  /** Nothing can run: the model, the device or the recipe is at fault, not an item. */
  | { readonly type: 'fatal'; readonly error: ErrorData }
  | { readonly type: 'done'; readonly ledger: Ledger };
