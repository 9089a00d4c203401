/** Goldens of tools/reference/llava_next_goldens.py. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ModelFiles } from '../../../src/contracts/family.js';
import type { ChatMessage } from '../../../src/contracts/node.js';
import { packageRoot } from '../../../src/util/package-root.js';

const folder = join(packageRoot(), 'test', 'golden', 'llava-next');
export const MODEL = join(folder, 'model');

export interface Goldens {
  readonly images: Readonly<
    Record<
      string,
      {
        /** [height, width] */
        readonly imageSize: readonly [number, number];
        readonly dims: readonly number[];
        readonly torchvision: string;
        readonly pil: string;
        readonly packed: string;
      }
    >
  >;
  readonly grids: {
    readonly sizes: readonly (readonly [number, number])[];
    readonly sha256: string;
    readonly packed: readonly {
      readonly size: readonly [number, number];
      readonly tiles: number;
      readonly rows: number;
      readonly sha256: string;
    }[];
  };
  readonly prompts: readonly {
    readonly name: string;
    readonly messages: readonly ChatMessage[];
    readonly sizes: readonly (readonly [number, number])[];
    readonly rendered: string;
    readonly ids: readonly (number | readonly [number, number])[];
  }[];
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
    name: 'granite',
    config: { ...read('config.json'), ...changes.config },
    preprocessor: { ...read('preprocessor_config.json'), ...changes.preprocessor },
    processor: { ...read('processor_config.json'), ...changes.processor },
    generation: read('generation_config.json'),
    tokenizerConfig: read('tokenizer_config.json'),
    chatTemplate: null,
  };
}
