/** How InternVL's tensors meet the two programs, whatever ranks and fixed sizes an export chose. */
import type { ProgramDescription, ProgramPort } from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';
import type { ImageInfo } from '../../contracts/ports.js';
import { type Tensor, tensor, tensorLabel } from '../../contracts/tensor.js';
import { floatsToHalves } from '../../util/float16.js';

const INPUT = 'pixel_values';

function bareName(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1);
}

/** Tile counts that the program takes: fixed by the graph, by compiled shapes (smallest first), or any (null). */
function tileCounts(program: ProgramDescription, port: ProgramPort, axis: number): readonly number[] | null {
  const fixed = port.dims[axis];
  if (typeof fixed === 'number') return [fixed];
  if (program.allowedShapes === null) return null;
  const counts = program.allowedShapes.map((set) => set.shapes[port.name]?.[axis] ?? set.shapes[INPUT]?.[axis]);
  return [...new Set(counts.filter((n): n is number => n !== undefined))].sort((a, b) => a - b);
}

/**
 * pixels [tiles, 3, S, S] -> { pixel_values } of the program's rank ([tiles, 3, S, S] or [1, tiles, 3, S, S]) and
 * dtype, padded with zero tiles to the smallest count that the program takes.
 */
export function visionInputs(pixels: Tensor<'float32'>, program: ProgramDescription): Readonly<Record<string, Tensor>> {
  const port = program.inputs.find((input) => bareName(input.name) === INPUT);
  const rank = port?.dims.length;
  if (port === undefined || (rank !== 4 && rank !== 5)) {
    throw new VlmError('PROGRAM_INVALID', {
      what: 'The vision program does not take pixels as InternVL gives them',
      expected: `an input \`${INPUT}\` of rank 4 [tiles, 3, S, S] or 5`,
      received: program.inputs.map((input) => `${input.name} [${input.dims.join(', ')}]`).join(', '),
      hint: 'export the vision program again for this model',
    });
  }
  const [tiles = 0, ...rest] = pixels.dims;
  const counts = tileCounts(program, port, rank - 4);
  const count = counts === null ? tiles : counts.find((n) => n >= tiles);
  const wanted = port.dims.slice(rank - 3);
  if (count === undefined || wanted.some((dim, i) => typeof dim === 'number' && dim !== rest[i])) {
    throw new VlmError('SHAPE_NOT_ALLOWED', {
      what: 'The vision program does not take this many tiles of this size',
      expected:
        counts === null
          ? `[tiles, ${wanted.join(', ')}]`
          : `up to ${counts.at(-1) ?? 0} tiles of [${wanted.join(', ')}]`,
      received: tensorLabel(pixels),
      where: port.name,
      hint: 'lower max_tiles of the preprocess node, or use a program made for more tiles',
    });
  }
  const dims = rank === 4 ? [count, ...rest] : [1, count, ...rest];
  const perTile = rest.reduce((n, d) => n * d, 1);
  let data = pixels.data;
  if (count !== tiles) {
    data = new Float32Array(count * perTile);
    data.set(pixels.data);
  }
  const input =
    port.dtype === 'float16' ? tensor('float16', dims, floatsToHalves(data)) : tensor('float32', dims, data);
  return { [INPUT]: input };
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
