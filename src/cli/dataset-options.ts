/** Options of a run over a dataset. */
import type { Command } from 'commander';
import { collect, type RecipeFlags } from './recipe-options.js';

export interface DatasetFlags extends RecipeFlags {
  readonly input?: readonly string[];
  readonly out?: string;
  readonly trace?: string;
  readonly quiet?: boolean;
  readonly dataset?: readonly string[];
  readonly datasetInput?: string;
  readonly resume?: boolean;
  readonly retryFailed?: boolean;
  readonly limit?: string;
  readonly itemTimeout?: string;
  readonly embeddingCache?: string;
  readonly embeddingCacheMb?: string;
}

export function addDatasetOptions(command: Command): Command {
  return command
    .option(
      '--dataset <files...>',
      'run every picture (files, folders, patterns) or row (JSONL, CSV, - for JSONL on standard input: keys are inputs)',
      (value: string, previous: readonly string[] | undefined) => collect(value, previous),
    )
    .option('--dataset-input <name>', 'the input that gets the pictures; needed where the recipe has several')
    .option('--resume', 'go on with the results in --out: finished items are not run again')
    .option('--retry-failed', '--resume, and items that failed run again')
    .option('--limit <n>', 'only the first n items')
    .option('--item-timeout <seconds>', 'longest silence of a dataset run before it counts as hung', '600')
    .option('--embedding-cache <where>', 'keep vision embeddings of pictures seen before: off, memory, disk', 'disk')
    .option('--embedding-cache-mb <n>', 'limit of the embeddings on disk', '2048');
}
