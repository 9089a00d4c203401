/**
 * Decoded picture + layout -> normalised tiles: float32 [tiles, 3, height, width], planar, in the layout's tile order.
 * All uint8 steps come first, so normalising is a look-up in a table of 3 x 256 values that has every bit of the
 * reference's arithmetic.
 */
import { VlmError } from '../contracts/errors.js';
import type { ImageLayout, ImageView, Normalization, Rect } from '../contracts/family.js';
import { toBfloat16 } from '../util/bfloat16.js';
import { type ResampleKernels, type RgbImage, resize } from './resample.js';

/** The value of each byte in each channel (index channel * 256 + byte), rounded where the reference rounds. */
export function normalizationTable(n: Normalization): Float32Array {
  const f32 = Math.fround;
  const table = new Float32Array(3 * 256);
  for (const channel of [0, 1, 2] as const) {
    const mean = f32(n.mean[channel]);
    const std = f32(n.std[channel]);
    for (let v = 0; v < 256; v++) table[channel * 256 + v] = normalized(v, mean, std, n);
  }
  return table;
}

function normalized(byte: number, mean: number, std: number, n: Normalization): number {
  const f32 = Math.fround;
  switch (n.arithmetic ?? 'rescale-then-normalize') {
    case 'divide-then-normalize':
      return f32(f32(f32(byte / 255) - mean) / std);
    case 'rescale-then-normalize':
      return f32(f32(f32(byte * n.rescale) - mean) / std);
    case 'fused': {
      const factor = f32(1 / n.rescale);
      return f32(f32(byte - f32(mean * factor)) / f32(std * factor));
    }
    case 'bfloat16': {
      // Bytes are exact in bfloat16, and the factor is used as f32.
      const scaled = toBfloat16(f32(byte * f32(n.rescale)));
      return toBfloat16(f32(toBfloat16(f32(scaled - toBfloat16(mean))) / toBfloat16(std)));
    }
  }
}

/** Elements of the tensor that a layout makes. */
export function tileElements(layout: ImageLayout): number {
  return layout.tiles * 3 * layout.tileSize.width * layout.tileSize.height;
}

/**
 * Writes the tiles of one image into `output` from `offset` on (several images share one tensor) and gives the offset
 * behind them. Values are `table` of normalizationTable.
 */
export function writeTiles(
  image: RgbImage,
  layout: ImageLayout,
  table: Float32Array,
  kernels: ResampleKernels,
  output: Float32Array,
  offset = 0,
): number {
  if (image.width !== layout.width || image.height !== layout.height) {
    throw new VlmError('INTERNAL', {
      what: 'A layout belongs to another image',
      expected: `an image of ${layout.width}x${layout.height}`,
      received: `${image.width}x${image.height}`,
    });
  }
  if (offset + tileElements(layout) > output.length) {
    throw new VlmError('TENSOR_INVALID', {
      what: 'The pixel tensor is too short for the tiles of its images',
      expected: `${offset + tileElements(layout)} elements`,
      received: `${output.length}`,
    });
  }
  const { tileSize } = layout;
  const plane = tileSize.width * tileSize.height;
  const { bring } = layout;
  const source =
    bring === undefined ? image : resize(image, bring.width, bring.height, bring.filter, kernels, bring.arithmetic);
  let at = offset;
  for (const view of layout.views) {
    const canvas = renderView(source, view, kernels);
    for (const crop of view.crops) {
      checkCrop(crop, canvas, tileSize);
      kernels.tile(canvas.data, canvas.width * 3, crop.x, crop.y, tileSize, table, output, at);
      at += 3 * plane;
    }
  }
  return at;
}

/** Tiles of one image as a tensor of their own. */
export function imageTiles(
  image: RgbImage,
  layout: ImageLayout,
  normalization: Normalization,
  kernels: ResampleKernels,
): Float32Array {
  const output = new Float32Array(tileElements(layout));
  writeTiles(image, layout, normalizationTable(normalization), kernels, output);
  return output;
}

/** The canvas of one view in uint8: resized, then placed on a filled ground when the view pads. */
export function renderView(image: RgbImage, view: ImageView, kernels: ResampleKernels): RgbImage {
  const { width, height, filter, arithmetic } = view.resize;
  const resized = resize(image, width, height, filter, kernels, arithmetic);
  const { pad } = view;
  if (pad === undefined) return resized;
  if (pad.left < 0 || pad.top < 0 || pad.left + resized.width > pad.width || pad.top + resized.height > pad.height) {
    throw new VlmError('INTERNAL', {
      what: 'A padded view does not hold its resized image',
      expected: `${resized.width}x${resized.height} at ${pad.left},${pad.top} inside the canvas`,
      received: `a canvas of ${pad.width}x${pad.height}`,
    });
  }
  const data = new Uint8Array(pad.width * pad.height * 3);
  const [r, g, b] = pad.fill;
  if (r === g && g === b) {
    data.fill(r);
  } else {
    for (let i = 0; i < data.length; i += 3) data.set(pad.fill, i);
  }
  const row = resized.width * 3;
  for (let y = 0; y < resized.height; y++) {
    data.set(resized.data.subarray(y * row, (y + 1) * row), ((pad.top + y) * pad.width + pad.left) * 3);
  }
  return { width: pad.width, height: pad.height, data };
}

function checkCrop(crop: Rect, canvas: RgbImage, tile: { readonly width: number; readonly height: number }): void {
  const inside =
    crop.x >= 0 && crop.y >= 0 && crop.x + crop.width <= canvas.width && crop.y + crop.height <= canvas.height;
  if (!inside || crop.width !== tile.width || crop.height !== tile.height) {
    throw new VlmError('INTERNAL', {
      what: 'A layout cuts a tile that its canvas does not have',
      expected: `${tile.width}x${tile.height} inside ${canvas.width}x${canvas.height}`,
      received: `${crop.width}x${crop.height} at ${crop.x},${crop.y}`,
    });
  }
}
