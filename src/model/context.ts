/** A model folder, opened for use: family and text adapters, each made when first asked for. */
import type { ProgramDescription, ProgramRole } from '../contracts/device.js';
import type { FamilyModel } from '../contracts/family.js';
import type { ModelContext, TextModel } from '../contracts/node.js';
import type { RecipeModel } from '../contracts/recipe.js';
import { familyFor } from '../families/index.js';
import { createTextModel } from '../text/text-model.js';
import { type FolderOptions, type ModelFolder, missingError, openModelFolder } from './folder.js';
import { readJson } from './read.js';

export interface ContextOptions {
  /** How a program of this model describes itself: its file is `path`, null when it is not there. */
  readonly describe?: (role: ProgramRole, path: string | null) => Promise<ProgramDescription | null>;
  /** What the programs run on, where none of them is there to tell. Default `exact`. */
  readonly calls?: ProgramDescription['calls'];
}

/** Throws what the family finds wrong with the configuration; text files are read only when text is asked for. */
export async function openModelContext(folder: ModelFolder, options: ContextOptions = {}): Promise<ModelContext> {
  const describe = async (role: ProgramRole): Promise<ProgramDescription | null> =>
    (await options.describe?.(role, folder.programs[role].path)) ?? null;
  const configured: FamilyModel = familyFor(folder.files).configure(folder.files);
  // Only families whose exports differ make a program's graph be read here.
  const family =
    configured.forProgram === undefined
      ? configured
      : configured.forProgram(await describe('vision'), options.calls ?? 'exact');
  let text: TextModel | undefined;
  return {
    family,
    get text() {
      text ??= openText(folder);
      return text;
    },
    describe,
  };
}

/** Opens reference, folder and context in one go. */
export async function openModel(ref: RecipeModel, options: FolderOptions & ContextOptions = {}): Promise<ModelContext> {
  return openModelContext(await openModelFolder(ref, options), options);
}

function openText(folder: ModelFolder): TextModel {
  const path = folder.paths['tokenizer.json'];
  return createTextModel({
    tokenizer: () => {
      if (path === undefined) {
        throw missingError(folder, `The tokenizer of ${folder.name} is missing`, 'tokenizer.json');
      }
      return readJson(path, 'TOKENIZER_INVALID');
    },
    tokenizerConfig: folder.files.tokenizerConfig,
    chatTemplate: folder.files.chatTemplate,
    tokenizerFile: path ?? 'tokenizer.json',
    templateFile: folder.templateFile,
  });
}
