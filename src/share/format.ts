/** What a lock holds. schemas/lock.schema.json (from lock-schema.ts) says the same for other programs. */
import type { ProgramRole } from '../contracts/device.js';
import type { CanonicalRecipe } from './canonical.js';

export interface LockedFile {
  /** The file's own name; of external data, its place as the program knows it. */
  readonly name: string;
  readonly use: 'configuration' | 'tokenizer' | 'template' | 'vision program' | 'language program' | 'plugin';
  readonly bytes: number;
  readonly sha256: string;
}

export interface LockedProgram {
  readonly role: ProgramRole;
  readonly device: string;
  readonly kind: 'onnx' | 'compiled';
  /** Of the ONNX file, or of programqpc.bin. */
  readonly sha256: string;
  /** Compiled programs: what made them, as far as it is known. */
  readonly compiled?: {
    readonly target: string;
    readonly compiler: string;
    readonly flags: readonly string[];
    readonly specializations: readonly { readonly name: string; readonly symbols: Readonly<Record<string, number>> }[];
  };
}

export interface LockedValue {
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
  /** Where it is found again, from the recipe's folder, or its address; absent for the recipe's own default. */
  readonly place?: string;
}

/** A value of an example: text as it is, everything else by digest. */
export type LockedInput =
  /** A list for an input that takes many. */
  | { readonly type: 'text'; readonly text: string | readonly string[]; readonly default?: true }
  | { readonly type: 'image'; readonly images: readonly LockedValue[]; readonly default?: true }
  | {
      readonly type: 'messages';
      readonly sha256: string;
      readonly images: readonly LockedValue[];
      readonly place?: string;
      readonly default?: true;
    };

export interface LockedPixels {
  readonly dims: readonly number[];
  readonly sha256: string;
  /** First digits of the digest of each tile. */
  readonly tiles: readonly string[];
}

export interface LockedEmbeddings {
  readonly dims: readonly number[];
  readonly dtype: string;
  readonly sha256: string;
  readonly norm: number;
  /** float32, base64: one sketch a block of rows (see measure.ts). */
  readonly sketch: string;
}

export interface LockedTokens {
  /** Prompt ids; a run of one id is [id, times]. */
  readonly prompt: readonly (number | readonly [number, number])[];
}

export interface LockedCompletion {
  readonly ids: readonly number[];
  /** Best logit minus second best of each step. */
  readonly margins: readonly number[];
  /** Whether each token is the best one: only then do margins tell a near-tie. */
  readonly greedy: boolean;
  readonly finish: string;
}

export interface LockedAnswer {
  readonly sha256: string;
  readonly text?: string;
}

export type ByPort<T> = Readonly<Record<string, T>>;

/** What a run of one example gave. Keys are `node.port`; of answers, the recipe's outputs. */
export interface Measured {
  readonly pixels: ByPort<LockedPixels | null>;
  readonly embeddings: ByPort<LockedEmbeddings | null>;
  readonly prompts: ByPort<LockedTokens>;
  readonly completions: ByPort<LockedCompletion>;
  readonly answers: ByPort<LockedAnswer>;
}

export interface LockedExample extends Measured {
  readonly inputs: Readonly<Record<string, LockedInput>>;
}

export interface Tolerances {
  readonly embeddings: { readonly relative: number; readonly why: string };
  readonly margin: { readonly logits: number; readonly why: string };
}

export interface Lock {
  readonly format: 1;
  readonly recipe: { readonly name: string; readonly sha256: string; readonly resolved: CanonicalRecipe };
  readonly model: {
    readonly name: string;
    readonly hub?: { readonly id: string; readonly revision: string; readonly commit: string | null };
    readonly files: readonly LockedFile[];
    readonly tokenizer: string | null;
    readonly template: string | null;
  };
  readonly programs: readonly LockedProgram[];
  readonly preprocessing: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly tolerances: Tolerances;
  readonly examples: readonly LockedExample[];
}

/**
 * Reasons stand in the lock, so that whoever meets a number can judge it.
 *
 * binary16 keeps 11 significant bits: one rounding is 2^-11 of the value. Roundings of a deep program add up like a
 * random walk: some 24 layers of about 10 roundings each are 240, whose square root is 16. 2^-11 * 16 = 2^-7.
 * A logit between 16 and 32 that is 2^-8 of itself off (half of that, as weights and sums are kept wider) is 2^-4 off;
 * two of them, each in its own direction, can change places when they lie within 2^-3.
 */
export const DEFAULT_TOLERANCES: Tolerances = {
  embeddings: {
    relative: 2 ** -7,
    why: 'length of the difference over length of the embeddings: 16 roundings to binary16 (2^-11 each)',
  },
  margin: { logits: 2 ** -3, why: 'two logits of 16 to 32, each off by 2^-4 after computing in binary16' },
};

/** Commands take a pack in place of a recipe: they know it by its name. */
export function isPackName(file: string): boolean {
  return /\.t(?:ar\.)?gz$/i.test(file);
}

/** internvl.yaml -> internvl.lock.json, beside it. */
export function lockFileOf(recipe: string): string {
  return `${recipe.replace(/\.ya?ml$/i, '')}.lock.json`;
}
