/**
 * How tensors meet the two kinds of vision program that LLaVA-NeXT models are exported to.
 *
 * Open: pixel_values [tiles, 3, S, S] -> vision_embeds [tiles, P² + 1, H], each tile's rows and behind them the newline
 * row; the host takes padding out and puts newlines in, for images of any size.
 * Packed (QEfficient): pixel_values [1, tiles, 3, S, S] -> vision_embeds [1, T, H], packed in the graph for one image size.
 */
import type { ProgramDescription, ProgramPort } from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';
import type { ImageInfo } from '../../contracts/ports.js';
import { type Tensor, tensor, tensorLabel } from '../../contracts/tensor.js';
import { bareName, PIXELS, tileInputs } from '../shared/vision-inputs.js';
import { unpadded } from './geometry.js';

const WHO = 'LLaVA-NeXT';

export function isPacked(program: ProgramDescription): boolean {
  return pixelPort(program)?.dims.length === 5;
}

function pixelPort(program: ProgramDescription): ProgramPort | undefined {
  return program.inputs.find((input) => bareName(input.name) === PIXELS);
}

function wrongKind(program: ProgramDescription, expected: string, hint: string): VlmError {
  return new VlmError('PROGRAM_INVALID', {
    what: 'The vision program is of another kind than the one this run was planned for',
    expected,
    received: `${PIXELS} [${pixelPort(program)?.dims.join(', ') ?? ''}]`,
    where: PIXELS,
    hint,
  });
}

export function openInputs(pixels: Tensor<'float32'>, program: ProgramDescription): Readonly<Record<string, Tensor>> {
  if (isPacked(program)) {
    throw wrongKind(
      program,
      'an open export, [tiles, 3, S, S]',
      'name the same export in model.programs.vision as the device runs: the kind is read there before images are cut',
    );
  }
  return tileInputs(pixels, program, WHO);
}

/** One image a call: the graph packs the tiles of one image size. */
export function packedInputs(
  pixels: Tensor<'float32'>,
  program: ProgramDescription,
  image: { readonly width: number; readonly height: number; readonly tiles: number },
): Readonly<Record<string, Tensor>> {
  if (!isPacked(program)) {
    throw wrongKind(
      program,
      'an export that packs tiles itself, [1, tiles, 3, S, S]',
      'name the same export in model.programs.vision as the device runs: the kind is read there before images are cut',
    );
  }
  if (pixels.dims[0] !== image.tiles) {
    throw new VlmError('SHAPE_NOT_ALLOWED', {
      what: 'This export packs the tiles of one image a prompt',
      expected: `1 image, brought to ${image.width}×${image.height}: ${image.tiles} tiles`,
      received: `${(pixels.dims[0] ?? 0) / image.tiles} images: ${tensorLabel(pixels)}`,
      where: PIXELS,
      hint: 'ask about one image, or use an export of the open kind (python -m vlm_export), which takes several',
    });
  }
  const inputs = tileInputs(pixels, program, WHO);
  const sizes = program.inputs.find((input) => bareName(input.name) === 'image_sizes');
  if (sizes === undefined) return inputs;
  // Exports that kept the input have folded its value all the same.
  return {
    ...inputs,
    image_sizes: tensor('int64', [1, 2], BigInt64Array.of(BigInt(image.height), BigInt(image.width))),
  };
}

function badRows(embeds: Tensor, expected: string): VlmError {
  return new VlmError('IMAGE_TOKENS_MISMATCH', {
    what: 'The vision program gave other rows than the prompt has places for',
    expected,
    received: tensorLabel(embeds),
    where: 'vision_embeds',
    hint: 'the vision program and the model folder do not belong together, or the export is of another kind',
  });
}

/** [1, T, H] or [T, H] as the graph packed them -> [rows, H]. Copies. */
export function packedRows(embeds: Tensor, images: readonly ImageInfo[], hiddenSize: number): Tensor {
  const rows = images.reduce((n, image) => n + image.visionTokens, 0);
  const hidden = embeds.dims.at(-1) ?? 0;
  if (embeds.dims.length < 2 || hidden !== hiddenSize || embeds.data.length !== rows * hidden) {
    throw badRows(embeds, `[1, ${rows}, ${hiddenSize}]`);
  }
  return { dtype: embeds.dtype, dims: [rows, hidden], data: embeds.data.slice() };
}

/** [tiles, P² + 1, H] -> [rows, H]: per image the whole image, then the unpadded grid with a newline behind each row. */
export function openRows(embeds: Tensor, images: readonly ImageInfo[], patches: number, hiddenSize: number): Tensor {
  const [tiles = 0, perTile = 0, hidden = 0] = embeds.dims;
  const used = images.reduce((n, image) => n + image.tiles, 0);
  const whole = patches * patches;
  if (embeds.dims.length !== 3 || perTile !== whole + 1 || hidden !== hiddenSize || tiles < used) {
    throw badRows(embeds, `[${used}, ${whole + 1}, ${hiddenSize}]: ${whole} rows a tile and the newline row`);
  }
  const total = images.reduce((n, image) => n + image.visionTokens, 0);
  const length = total * hidden;
  const packed: Tensor<'float32' | 'float16'> =
    embeds.dtype === 'float16'
      ? tensor('float16', [total, hidden], new Uint16Array(length))
      : tensor('float32', [total, hidden], new Float32Array(length));
  let to = 0;
  const copy = (tile: number, row: number, count: number): void => {
    const from = (tile * perTile + row) * hidden;
    putRows(embeds, from, from + count * hidden, packed.data, to * hidden);
    to += count;
  };
  let tile = 0;
  for (const image of images) {
    copy(tile, 0, whole);
    const { top, left, rows, columns } = unpadded(image.width, image.height, image.grid, patches);
    for (let y = top; y < top + rows; y++) {
      const first = tile + 1 + Math.floor(y / patches) * image.grid[0];
      // A row of the grid runs through several tiles: copy the part of each.
      for (let x = left; x < left + columns; ) {
        const within = x % patches;
        const count = Math.min(patches - within, left + columns - x);
        copy(first + Math.floor(x / patches), (y % patches) * patches + within, count);
        x += count;
      }
      copy(tile, whole, 1);
    }
    tile += image.tiles;
  }
  return packed;
}

function putRows(embeds: Tensor, from: number, to: number, into: Tensor['data'], at: number): void {
  const { data } = embeds;
  if (data instanceof Float32Array && into instanceof Float32Array) into.set(data.subarray(from, to), at);
  else if (data instanceof Uint16Array && into instanceof Uint16Array) into.set(data.subarray(from, to), at);
  else throw badRows(embeds, 'float32 or float16 rows');
}
