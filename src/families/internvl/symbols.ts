/** Values of the symbolic axes that a compiled program is given, as QEfficient's exports of this family name them. */
import type { ProgramSymbols } from '../../contracts/family.js';

/** InternVL: the vision program takes all tiles on its first axis and gives [1, rows, hidden]. */
export function internvlSymbols(tileSize: number, tokensPerTile: number): ProgramSymbols {
  return {
    vision: ({ batchSize, tiles }) => ({
      num_patches: tiles,
      img_size: tileSize,
      batched_num_patches: batchSize * tiles,
    }),
    language: ({ visionBatch, tiles }) => ({
      num_patches: tiles,
      img_size: tileSize,
      vision_size: visionBatch * tiles * tokensPerTile,
    }),
  };
}
