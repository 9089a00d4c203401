/** A folder of goldens of a family: its model, its pictures, and what the script of tools/reference/ wrote of them. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ModelFiles } from '../../src/contracts/family.js';
import { packageRoot } from '../../src/util/package-root.js';

type Json = Record<string, unknown>;

export interface GoldenFolder<T> {
  /** The model's folder. */
  readonly model: string;
  readonly goldens: T;
  /** A picture of the shared sources, or of the few that have sizes only this family finds special. */
  pictureBytes(name: string): Buffer;
  /** The files of the golden model, with changes to single keys. */
  modelFiles(changes?: { config?: Json; preprocessor?: Json; processor?: Json }): ModelFiles;
}

/** `name` is the folder's, `modelName` the model's. */
export function goldenFolder<T>(name: string, modelName: string): GoldenFolder<T> {
  const folder = join(packageRoot(), 'test', 'golden', name);
  const model = join(folder, 'model');
  const read = (file: string): Json => JSON.parse(readFileSync(join(model, file), 'utf8')) as Json;
  return {
    model,
    goldens: JSON.parse(readFileSync(join(folder, 'goldens.json'), 'utf8')) as T,
    pictureBytes: (picture) => {
      const own = join(folder, 'sources', picture);
      const shared = join(packageRoot(), 'test', 'golden', 'images', 'sources', picture);
      return readFileSync(existsSync(own) ? own : shared);
    },
    modelFiles: (changes = {}) => ({
      name: modelName,
      config: { ...read('config.json'), ...changes.config },
      preprocessor: { ...read('preprocessor_config.json'), ...changes.preprocessor },
      processor: { ...read('processor_config.json'), ...changes.processor },
      generation: read('generation_config.json'),
      tokenizerConfig: read('tokenizer_config.json'),
      chatTemplate: null,
    }),
  };
}
