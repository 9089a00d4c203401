/** Rows of vision embeddings as a vision program gives them, whatever rank an export chose. */
import { VlmError } from '../../contracts/errors.js';
import type { ImageInfo } from '../../contracts/ports.js';
import { type Tensor, tensorLabel } from '../../contracts/tensor.js';

/**
 * vision_embeds [T, H], [1, T, H] or [tiles, T/tiles, H] with the rows of all tiles one behind the other -> [rows, H];
 * rows of padding tiles, which come last, are left out. Copies.
 */
export function leadingRows(embeds: Tensor, images: readonly ImageInfo[], hiddenSize: number): Tensor {
  const hidden = embeds.dims.at(-1) ?? 0;
  const rows = images.reduce((n, image) => n + image.visionTokens, 0);
  const given = hidden === 0 ? 0 : embeds.data.length / hidden;
  if (embeds.dims.length < 2 || hidden !== hiddenSize || given < rows) {
    throw new VlmError('IMAGE_TOKENS_MISMATCH', {
      what: 'The vision program gave other rows than the prompt has places for',
      expected: `${rows} rows of ${hiddenSize}`,
      received: tensorLabel(embeds),
      where: 'vision_embeds',
      hint: 'the vision program and the model folder do not belong together, or the tile size differs',
    });
  }
  return { dtype: embeds.dtype, dims: [rows, hidden], data: embeds.data.slice(0, rows * hidden) };
}
