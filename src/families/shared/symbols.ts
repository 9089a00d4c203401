/**
 * Values of the symbolic axes that a compiled program is given, as QEfficient's exports name them. Each function is one
 * family's rule; batch_size, seq_len, ctx_len and the like are the same everywhere and are not made here.
 */
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

/** Llama 4: chunked attention keeps a cache of its own length in most layers. */
export function llama4Symbols(tileSize: number, tokensPerTile: number, attentionChunk: number): ProgramSymbols {
  return {
    vision: ({ tiles }) => ({ max_num_tiles: tiles, img_size: tileSize }),
    language: ({ tiles, prefillSeqLen, ctxLen }) => ({
      max_num_tiles: tiles,
      img_size: tileSize,
      vision_size: tiles * tokensPerTile,
      chunk_length: prefillSeqLen,
      chunk_ctx_len: Math.min(ctxLen, attentionChunk),
    }),
  };
}
