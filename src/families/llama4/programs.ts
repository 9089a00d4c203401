/**
 * How Llama 4's tensors meet the two programs: pixel_values [tiles, 3, S, S] -> vision_embeds [tiles * rows, H], rank 2
 * and without a batch. An export for a fixed number of tiles (max_num_tiles) gets zero tiles behind the image's own;
 * their rows come last and are dropped.
 */
import type { ProgramDescription } from '../../contracts/device.js';
import type { ImageInfo } from '../../contracts/ports.js';
import type { Tensor } from '../../contracts/tensor.js';
import { tileInputs } from '../shared/vision-inputs.js';

export { leadingRows as visionRows } from '../shared/vision-rows.js';

export function visionInputs(pixels: Tensor<'float32'>, program: ProgramDescription): Readonly<Record<string, Tensor>> {
  return tileInputs(pixels, program, 'Llama 4');
}

const START = '<|image_start|>';
const ACROSS = '<|tile_x_separator|>';
const DOWN = '<|tile_y_separator|>';
const WHOLE = '<|image|>';
const END = '<|image_end|>';
/** The token that takes vision rows. */
export const PATCH = '<|patch|>';

/** The text of one image: its tiles row by row with separators, then the whole image. A single tile is the whole image. */
export function imageText({ grid: [columns, rows] }: Pick<ImageInfo, 'grid'>, tokensPerTile: number): string {
  const tile = PATCH.repeat(tokensPerTile);
  const row = Array.from({ length: columns }, () => tile).join(ACROSS) + DOWN;
  const tiles = columns * rows > 1 ? row.repeat(rows) : '';
  return START + tiles + WHOLE + tile + END;
}
