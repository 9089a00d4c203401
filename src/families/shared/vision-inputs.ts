/** Pixels as a vision program takes them, whatever rank, dtype and fixed sizes an export chose. */
import type { ProgramDescription, ProgramPort } from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';
import { type Tensor, tensor, tensorLabel } from '../../contracts/tensor.js';
import { floatsToHalves } from '../../util/float16.js';

export const PIXELS = 'pixel_values';

export function bareName(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1);
}

/**
 * Tile counts that the program takes: by compiled shapes (smallest first), fixed by the graph, or any (null). A compiled
 * program describes its ports at their largest, so its list of shapes comes before them.
 */
function tileCounts(program: ProgramDescription, port: ProgramPort, axis: number): readonly number[] | null {
  const fixed = port.dims[axis];
  const sets = program.allowedShapes ?? [];
  const counts = sets.flatMap((set) => set.shapes[port.name]?.[axis] ?? set.shapes[PIXELS]?.[axis] ?? []);
  if (counts.length > 0) return [...new Set(counts)].sort((a, b) => a - b);
  if (typeof fixed === 'number') return [fixed];
  return program.allowedShapes === null ? null : [];
}

/**
 * pixels [tiles, 3, S, S] -> { pixel_values } of the program's rank ([tiles, 3, S, S] or [1, tiles, 3, S, S]) and
 * dtype, padded with zero tiles to the smallest count that the program takes. `who` names the model in messages.
 */
export function tileInputs(
  pixels: Tensor<'float32'>,
  program: ProgramDescription,
  who: string,
): Readonly<Record<string, Tensor>> {
  const port = program.inputs.find((input) => bareName(input.name) === PIXELS);
  const rank = port?.dims.length;
  if (port === undefined || (rank !== 4 && rank !== 5)) {
    throw new VlmError('PROGRAM_INVALID', {
      what: `The vision program does not take pixels as ${who} gives them`,
      expected: `an input \`${PIXELS}\` of rank 4 [tiles, 3, S, S] or 5`,
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
  return { [PIXELS]: input };
}
