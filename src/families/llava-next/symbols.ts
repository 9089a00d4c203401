/** Values of the symbolic axes that a compiled program is given, as QEfficient's exports of this family name them. */
import type { ProgramSymbols } from '../../contracts/family.js';

/** What a LLaVA-NeXT export (Granite Vision) folds into its graphs. */
export interface LlavaNextFixed {
  readonly tileSize: number;
  readonly height: number;
  readonly width: number;
  readonly tiles: number;
  readonly visionTokens: number;
}

/** Granite Vision 3.2: 1610 x 1109 px, 10 tiles of 384 px, 5239 rows. */
export const GRANITE_VISION: LlavaNextFixed = {
  tileSize: 384,
  height: 1109,
  width: 1610,
  tiles: 10,
  visionTokens: 5239,
};

/** LLaVA-NeXT: image size and tile count are fixed by the export, whatever the recipe would take. */
export function llavaNextSymbols(fixed: LlavaNextFixed): ProgramSymbols {
  const image = {
    image_size_height: fixed.height,
    image_size_width: fixed.width,
    num_patches: fixed.tiles,
    max_num_images: 1,
    img_size: fixed.tileSize,
  };
  return {
    vision: () => image,
    language: ({ batchSize }) => ({
      ...image,
      vision_size: fixed.visionTokens,
      // The graph looks vision rows up by the row of the batch.
      vision_batch_size: batchSize,
    }),
  };
}
