/** How InternVL's tensors meet the two programs, whatever ranks and fixed sizes an export chose. */
import type { ProgramDescription } from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';
import type { ImageInfo } from '../../contracts/ports.js';
import { type Tensor, tensorLabel } from '../../contracts/tensor.js';
import { tileInputs } from '../shared/vision-inputs.js';

export function visionInputs(pixels: Tensor<'float32'>, program: ProgramDescription): Readonly<Record<string, Tensor>> {
  return tileInputs(pixels, program, 'InternVL');
}

/** vision_embeds [1, T, H], [tiles, T/tiles, H] or [T, H] -> [rows, H]; rows of padding tiles are left out. Copies. */
export function visionRows(embeds: Tensor, images: readonly ImageInfo[], hiddenSize: number): Tensor {
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
