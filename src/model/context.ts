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
  /** The graph behind a compiled vision program, where it is known. */
  readonly exported?: string;
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
  const family = configured.forProgram === undefined ? configured : await exportedFamily(configured, folder, options);
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

/** The model as its vision program works: only families whose exports differ make a graph be read here. */
async function exportedFamily(
  model: FamilyModel,
  folder: ModelFolder,
  { describe, exported, calls = 'exact' }: ContextOptions,
): Promise<FamilyModel> {
  const path = exported ?? folder.programs.vision.path;
  const program = (await describe?.('vision', path)) ?? null;
  // A compiled program that cannot be read here still tells that it is for a card.
  const compiled = path !== null && !path.endsWith('.onnx');
  return model.forProgram?.(program, compiled ? 'padded' : calls) ?? model;
}

/** Opens reference, folder and context in one go. */
export async function openModel(ref: RecipeModel, options: FolderOptions & ContextOptions = {}): Promise<ModelContext> {
  const exported = ref.exported?.vision;
  return openModelContext(await openModelFolder(ref, options), {
    ...options,
    ...(exported === undefined ? {} : { exported }),
  });
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
