/** Models as files. `pull.ts` is left out: it is loaded only when somebody asks to download. */
export { type ContextOptions, openModel, openModelContext } from './context.js';
export { fileDigest, modelDigests } from './digest.js';
export { type FolderOptions, type MissingFile, type ModelFolder, openModelFolder, requireProgram } from './folder.js';
export { findSnapshot, hubCache } from './hub.js';
