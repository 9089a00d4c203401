/** Recipes: text -> diagnostics and plan. */
export { type CompileOptions, type CompileTextOptions, compile, compileText } from './compile.js';
export { parseReference, referenceText } from './draft.js';
export { type FormatOptions, formatDiagnostics } from './format.js';
export { checkAgainstModel, type ModelFacts } from './model-check.js';
export { type LoadPlugin, manifestTrouble } from './plugins.js';
export { diagnosticAt } from './problems.js';
export { MAX_RECIPE_BYTES, type ReadResult, type ReadText, readText } from './read.js';
export type { Registry } from './registry.js';
export { buildRecipeSchema, type JsonSchema } from './schema.js';
export { didYouMean, nearest, nearHint } from './suggest.js';
