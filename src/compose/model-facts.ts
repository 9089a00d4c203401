/**
 * What the model's own configuration says that a recipe could contradict. Reads the small JSON files of a model folder
 * and nothing else: this is part of checking a recipe. A folder that is not there or not understood gives no facts;
 * the run will say why.
 */
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { FamilyModel, ModelFiles } from '../contracts/family.js';
import type { Compilation, Diagnostic, Plan } from '../contracts/recipe.js';
import { familyFor } from '../families/index.js';
import { checkHubId, findSnapshot, numbersFolder } from '../model/hub.js';
import { checkAgainstModel, type ModelFacts } from '../recipe/index.js';

type Json = Readonly<Record<string, unknown>>;

/** W_CONTRADICTS_MODEL warnings of a compiled recipe. */
export function modelWarnings(plan: Plan, sources: Compilation['sources']): readonly Diagnostic[] {
  const facts = modelFacts(plan);
  return facts === null ? [] : checkAgainstModel(plan, facts, sources);
}

/** Null where the model is not on this machine, or its config.json cannot be read. */
export function modelFacts({ model }: Pick<Plan, 'model'>): ModelFacts | null {
  const folder = folderOf(model);
  if (folder === null) return null;
  const read = (file: string): Json | null => readObject(join(folder, file));
  const config = read('config.json');
  if (config === null) return null;
  const files: ModelFiles = {
    name: model.path === undefined ? (model.hub ?? '') : basename(model.path),
    config,
    preprocessor: read('preprocessor_config.json'),
    processor: read('processor_config.json'),
    generation: read('generation_config.json'),
    tokenizerConfig: read('tokenizer_config.json'),
    chatTemplate: null,
  };
  const family = configured(files);
  const vocabSize = vocabularyOf(config);
  return {
    ...(family === null ? {} : { maxPositions: family.maxPositions }),
    ...(family?.tiling ?? {}),
    ...(vocabSize === undefined ? {} : { vocabSize }),
  };
}

/** Where the small files of a model are: its folder, its snapshot in the Hugging Face cache, or the numbers that ship. */
function folderOf({ path, hub, revision }: Plan['model']): string | null {
  if (path !== undefined || hub === undefined) return path ?? null;
  try {
    return findSnapshot(checkHubId(hub), revision)?.folder ?? numbersFolder(hub);
  } catch {
    return null;
  }
}

function configured(files: ModelFiles): FamilyModel | null {
  try {
    return familyFor(files).configure(files);
  } catch {
    return null;
  }
}

function readObject(path: string): Json | null {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

/** At the top of config.json, or in the section of the text model. */
function vocabularyOf(config: Json): number | undefined {
  for (const section of [config, config['text_config'], config['llm_config']]) {
    if (isObject(section) && typeof section['vocab_size'] === 'number') return section['vocab_size'];
  }
  return undefined;
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
