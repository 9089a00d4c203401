/** What crosses between the sweep and the child that runs one of its points. */
import type { ErrorData } from '../contracts/errors.js';
import type { InputGiven } from '../runner/inputs/load.js';
import type { PointMeasured } from './measure.js';
import type { ScoreSettings } from './score.js';

export interface PointTask {
  readonly recipe: string;
  readonly set: readonly string[];
  readonly devices: readonly string[];
  readonly allowPlugins: boolean;
  readonly inputs: readonly Readonly<Record<string, InputGiven>>[];
  /** Folder that places in `inputs` are relative to. */
  readonly folder: string;
  readonly warmup: number;
  readonly repeats: number;
  readonly inFlight: number;
  readonly seed: number;
  readonly score: ScoreSettings | null;
}

export type PointMessage =
  | { readonly type: 'progress'; readonly done: number; readonly total: number }
  | { readonly type: 'measured'; readonly result: PointMeasured }
  | { readonly type: 'failed'; readonly error: ErrorData };
