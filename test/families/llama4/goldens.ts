/** Goldens of tools/reference/llama4_goldens.py. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ModelFiles } from '../../../src/contracts/family.js';
import type { ChatMessage } from '../../../src/contracts/node.js';
import { packageRoot } from '../../../src/util/package-root.js';

const folder = join(packageRoot(), 'test', 'golden', 'llama4');
export const MODEL = join(folder, 'model');

type Size = readonly [number, number];

interface Pixels {
  readonly dims: readonly number[];
  /** [columns, rows] */
  readonly grid: Size;
  readonly sha256: string;
  readonly samples: readonly number[];
}

export interface Goldens {
  readonly images: Readonly<
    Record<string, { readonly size: Size; readonly usual: Pixels; readonly maxCanvas: Pixels; readonly four: Pixels }>
  >;
  readonly grids: readonly [
    { readonly sizes: readonly Size[] },
    ...{
      readonly options: { readonly max_patches: number; readonly resize_to_max_canvas?: boolean };
      readonly first: readonly string[];
      readonly sha256: string;
    }[],
  ];
  readonly prompts: readonly {
    readonly name: string;
    readonly messages: readonly ChatMessage[];
    readonly sizes: readonly Size[];
    readonly rendered: string;
    readonly ids: readonly (number | readonly [number, number])[];
  }[];
  readonly dated: { readonly template: string; readonly messages: readonly ChatMessage[]; readonly rendered: string };
}

export const goldens = JSON.parse(readFileSync(join(folder, 'goldens.json'), 'utf8')) as Goldens;

/** A picture of the shared sources, or of the few that have sizes only this family finds special. */
export function pictureBytes(name: string): Buffer {
  const own = join(folder, 'sources', name);
  return readFileSync(existsSync(own) ? own : join(packageRoot(), 'test', 'golden', 'images', 'sources', name));
}

type Json = Record<string, unknown>;

/** The files of the golden model, with changes to single keys. */
export function modelFiles(changes: { config?: Json; preprocessor?: Json; processor?: Json } = {}): ModelFiles {
  const read = (file: string): Json => JSON.parse(readFileSync(join(MODEL, file), 'utf8')) as Json;
  return {
    name: 'scout',
    config: { ...read('config.json'), ...changes.config },
    preprocessor: { ...read('preprocessor_config.json'), ...changes.preprocessor },
    processor: { ...read('processor_config.json'), ...changes.processor },
    generation: read('generation_config.json'),
    tokenizerConfig: read('tokenizer_config.json'),
    chatTemplate: null,
  };
}
