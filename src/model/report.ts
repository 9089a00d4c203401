/** What `vlm-run models` tells of a model: family, facts, files with sizes, and what is missing with its remedy. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type ErrorData, VlmError } from '../contracts/errors.js';
import type { RecipeModel } from '../contracts/recipe.js';
import { familyFor } from '../families/index.js';
import { type FolderOptions, fetchRemedy, type MissingFile, type ModelFolder, openModelFolder } from './folder.js';
import { type Environment, hubCache } from './hub.js';

export interface FileReport {
  readonly file: string;
  readonly path: string;
  readonly bytes: number;
}

export interface ModelReport {
  readonly name: string;
  readonly folders: readonly string[];
  readonly hub: ModelFolder['hub'];
  readonly family: string | null;
  readonly facts: Readonly<Record<string, string | number | boolean>>;
  readonly files: readonly FileReport[];
  readonly missing: readonly MissingFile[];
  /** Why the configuration cannot be used, when it cannot. */
  readonly problem?: ErrorData;
}

/** Throws MODEL_MISSING and MODEL_INVALID of the folder itself; what the family finds wrong is part of the report. */
export async function reportModel(ref: RecipeModel, options: FolderOptions = {}): Promise<ModelReport> {
  const folder = await openModelFolder(ref, options);
  const files = Object.entries(folder.paths);
  if (folder.files.chatTemplate !== null) files.push([basename(folder.templateFile), folder.templateFile]);
  for (const role of ['vision', 'language'] as const) {
    const { path } = folder.programs[role];
    if (path !== null) files.push([`${role} program`, path]);
  }
  const base = {
    name: folder.name,
    folders: folder.folders,
    hub: folder.hub,
    files: [...new Map(files)].map(([file, path]) => ({ file, path, bytes: statSync(path).size })),
    missing: folder.missing,
  };
  try {
    const { family, facts, render } = familyFor(folder.files).configure(folder.files);
    // A family that renders its prompts itself needs no template.
    const isUntold = render === undefined && folder.files.chatTemplate === null;
    const missing = isUntold ? [...folder.missing, templateMissing(folder)] : folder.missing;
    return { ...base, missing, family, facts };
  } catch (error) {
    const problem = VlmError.wrap(error, 'MODEL_INVALID', {
      what: 'The configuration cannot be used',
      where: folder.name,
    });
    return { ...base, family: null, facts: {}, problem: problem.toData() };
  }
}

function templateMissing(folder: ModelFolder): MissingFile {
  return { file: 'chat_template.jinja', neededFor: 'text: how a prompt is written', remedy: fetchRemedy(folder) };
}

/** Model folders below `folder`, one level deep. */
export function foldersIn(folder: string): readonly string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => existsSync(join(folder, entry.name, 'config.json')))
    .map((entry) => join(folder, entry.name))
    .sort();
}

/** Ids of the models in the Hugging Face cache that have a snapshot of their main branch. */
export function cachedModels(env: Environment = process.env): readonly string[] {
  const cache = hubCache(env);
  if (!existsSync(cache)) return [];
  return readdirSync(cache)
    .filter((name) => name.startsWith('models--') && existsSync(join(cache, name, 'refs', 'main')))
    .map((name) => name.slice('models--'.length).replaceAll('--', '/'))
    .sort();
}
