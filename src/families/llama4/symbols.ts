/** Values of the symbolic axes that a compiled program is given, as QEfficient's exports of this family name them. */
import type { ProgramSymbols } from '../../contracts/family.js';

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
