/** A model as files: a folder, a snapshot of the Hugging Face cache, or both (the folder first), and what is missing. */
import { existsSync, statSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import type { ProgramRole } from '../contracts/device.js';
import { VlmError } from '../contracts/errors.js';
import type { ModelFiles } from '../contracts/family.js';
import type { RecipeModel } from '../contracts/recipe.js';
import { pickTemplate } from '../text/template.js';
import { checkHubId, type Environment, findSnapshot, hubCache, numbersFolder } from './hub.js';
import { type FoundProgram, findProgram } from './programs.js';
import { locate, readJson, readText } from './read.js';

export interface FolderOptions {
  /** Relative paths of the reference start here. Default: the working directory. */
  readonly baseDir?: string;
  readonly env?: Environment;
}

/** A file that is not there, what it is needed for and what to do. */
export interface MissingFile {
  readonly file: string;
  readonly neededFor: string;
  readonly remedy: string;
}

export interface ModelFolder {
  /** Name for people: the folder's own, or the id on the hub. */
  readonly name: string;
  /** Folders that are searched, in order. */
  readonly folders: readonly string[];
  readonly hub: { readonly id: string; readonly revision: string; readonly commit: string | null } | null;
  readonly files: ModelFiles;
  /** Absolute paths of the files that were found, by usual name. */
  readonly paths: Readonly<Record<string, string>>;
  readonly templateFile: string;
  readonly programs: Readonly<Record<ProgramRole, FoundProgram>>;
  readonly missing: readonly MissingFile[];
}

const PULL = (hub: string, revision?: string): string =>
  `vlm-run models pull ${hub}${revision === undefined || revision === 'main' ? '' : ` --revision ${revision}`}`;

/** Opens a model reference of a recipe. Throws MODEL_MISSING and MODEL_INVALID; missing parts are listed, not thrown. */
export async function openModelFolder(ref: RecipeModel, options: FolderOptions = {}): Promise<ModelFolder> {
  const baseDir = resolve(options.baseDir ?? '.');
  const { folders, hub } = searchFolders(ref, baseDir, options.env ?? process.env);
  const name = ref.hub ?? basename(folders[0] ?? baseDir);
  const config = locate(folders, ['config.json']);
  if (config === null) throw noConfig(ref, folders);
  const paths: Record<string, string> = { 'config.json': config };
  const optional = (file: string) => {
    const path = locate(folders, [file]);
    if (path === null) return null;
    paths[file] = path;
    return readJson(path, file === 'tokenizer_config.json' ? 'TOKENIZER_INVALID' : 'MODEL_INVALID');
  };
  const processor = optional('processor_config.json');
  const tokenizerConfig = optional('tokenizer_config.json');
  const template = chatTemplate(folders, processor, tokenizerConfig);
  const files: ModelFiles = {
    name,
    config: readJson(config, 'MODEL_INVALID'),
    preprocessor: optional('preprocessor_config.json'),
    processor,
    generation: optional('generation_config.json'),
    tokenizerConfig,
    chatTemplate: template.text,
  };
  const tokenizer = locate(folders, ['tokenizer.json']);
  if (tokenizer !== null) paths['tokenizer.json'] = tokenizer;
  const programs = {
    vision: findProgram('vision', folders, ref.programs?.vision, baseDir),
    language: findProgram('language', folders, ref.programs?.language, baseDir),
  };
  const base = { name, folders, hub, files, paths, templateFile: template.file, programs };
  return { ...base, missing: missingParts(base) };
}

function searchFolders(ref: RecipeModel, baseDir: string, env: Environment) {
  const folders: string[] = [];
  if (ref.path !== undefined) {
    const path = resolve(baseDir, ref.path);
    const found = statSync(path, { throwIfNoEntry: false });
    const isFolder = found?.isDirectory() ?? false;
    if (!isFolder && ref.hub === undefined) {
      throw new VlmError('MODEL_MISSING', {
        what: found === undefined ? 'The model folder does not exist' : 'The model is a file, not a folder',
        where: path,
        hint: 'correct model.path (in a recipe it starts from the recipe’s folder, with --set from the current one), or name a model of the hub with model.hub',
      });
    }
    if (isFolder) folders.push(path);
  }
  if (ref.hub === undefined) {
    if (ref.path === undefined) {
      throw new VlmError('MODEL_MISSING', {
        what: 'The recipe names no model',
        expected: 'model.path (a folder) or model.hub (an id on the Hugging Face hub)',
        where: 'model',
      });
    }
    return { folders, hub: null };
  }
  const id = checkHubId(ref.hub);
  const snapshot = findSnapshot(id, ref.revision, env);
  if (snapshot !== null) folders.push(snapshot.folder);
  const known = numbersFolder(id);
  // Enough for planning; what a run needs beyond it is listed as missing.
  if (folders.length === 0 && existsSync(known)) folders.push(known);
  if (folders.length === 0) {
    throw new VlmError('MODEL_MISSING', {
      what: `The model ${id}${ref.revision === undefined ? '' : ` at revision ${ref.revision}`} is not on this machine`,
      expected: `a snapshot of it in the Hugging Face cache ${hubCache(env)}`,
      where: 'model.hub',
      hint: `fetch it with \`${PULL(id, ref.revision)}\`, or point HF_HOME or HF_HUB_CACHE to the cache that has it`,
    });
  }
  return { folders, hub: { id, revision: ref.revision ?? 'main', commit: snapshot?.commit ?? null } };
}

function noConfig(ref: RecipeModel, folders: readonly string[]): VlmError {
  return new VlmError('MODEL_MISSING', {
    what: 'There is no model in this folder',
    expected: 'config.json and the files beside it',
    where: folders.join(', '),
    hint:
      ref.hub === undefined
        ? 'give the folder that holds config.json, tokenizer.json and the two ONNX programs'
        : `fetch the files with \`${PULL(ref.hub, ref.revision)}\``,
  });
}

/** Where chat templates are kept, newest habit first. */
function chatTemplate(
  folders: readonly string[],
  processor: Readonly<Record<string, unknown>> | null,
  tokenizerConfig: Readonly<Record<string, unknown>> | null,
): { readonly text: string | null; readonly file: string } {
  const jinja = locate(folders, ['chat_template.jinja']);
  if (jinja !== null) return { text: readText(jinja, 'TEMPLATE_INVALID'), file: jinja };
  const json = locate(folders, ['chat_template.json']);
  const holders: readonly [string | null, unknown][] = [
    [json, json === null ? undefined : readJson(json, 'TEMPLATE_INVALID')['chat_template']],
    [locate(folders, ['processor_config.json']), processor?.['chat_template']],
    [locate(folders, ['tokenizer_config.json']), tokenizerConfig?.['chat_template']],
  ];
  for (const [file, value] of holders) {
    if (file === null || value === undefined || value === null) continue;
    const text = pickTemplate(value);
    if (text !== undefined) return { text, file };
    throw new VlmError('TEMPLATE_INVALID', {
      what: 'The chat template is not usable',
      expected: 'a string, or a list of named templates with one called "default"',
      where: file,
      hint: 'fetch the file again from the model’s repository',
    });
  }
  return { text: null, file: `${folders[0] ?? ''}/chat_template.jinja` };
}

/** How a file that the model's repository has gets here. */
export function fetchRemedy({ hub }: Pick<ModelFolder, 'hub'>): string {
  return hub === null ? 'copy it from the model’s repository' : `run \`${PULL(hub.id, hub.revision)}\``;
}

type Open = Omit<ModelFolder, 'missing'>;

function missingParts(folder: Open): readonly MissingFile[] {
  const missing: MissingFile[] = [];
  const fetch = fetchRemedy(folder);
  if (folder.paths['tokenizer.json'] === undefined) {
    missing.push({ file: 'tokenizer.json', neededFor: 'text: prompts and answers', remedy: fetch });
  }
  if (folder.paths['tokenizer_config.json'] === undefined) {
    missing.push({ file: 'tokenizer_config.json', neededFor: 'text: special tokens', remedy: fetch });
  }
  for (const role of ['vision', 'language'] as const) {
    const { path, explicit, candidates } = folder.programs[role];
    if (path !== null) continue;
    missing.push({
      file: explicit ? (candidates[0] ?? role) : `${role}.onnx`,
      neededFor: role === 'vision' ? 'images: the vision program' : 'answers: the language program',
      remedy: programRemedy(folder, role),
    });
  }
  return missing;
}

function programRemedy(folder: Open, role: ProgramRole): string {
  const { explicit, candidates } = folder.programs[role];
  if (explicit) return `correct model.programs.${role}: there is no such file`;
  if (candidates.length > 1) {
    return `say which one it is with model.programs.${role}: ${candidates.map((path) => basename(path)).join(', ')}`;
  }
  const id = folder.hub?.id ?? folder.name;
  return (
    `export ${id} as two programs (QEfficient: from_pretrained(…, kv_offload=True).export(); or vlm-run’s tools/export) ` +
    `and name the files with model.programs.vision and model.programs.language`
  );
}

/** MODEL_MISSING for one missing part; the hint goes through everything that is missing, each remedy once. */
export function missingError(folder: ModelFolder, what: string, file: string): VlmError {
  const remedies = [...new Set(folder.missing.map((part) => part.remedy))];
  return new VlmError('MODEL_MISSING', {
    what,
    expected: file,
    where: folder.folders.join(', '),
    hint:
      folder.missing.length > 1
        ? `missing in all: ${folder.missing.map((part) => part.file).join(', ')}; ${remedies.join('; ')}`
        : (remedies[0] ?? 'open the model again'),
  });
}

/** Path of a program that has to be there. Throws MODEL_MISSING, saying what to export. */
export function requireProgram(folder: ModelFolder, role: ProgramRole): string {
  const { path, explicit, candidates } = folder.programs[role];
  if (path !== null) return path;
  const file = explicit ? (candidates[0] ?? role) : `${role}.onnx`;
  throw missingError(folder, `The ${role} program of ${folder.name} is missing`, file);
}
