/** The compiled number of tiles that a call of the vision program takes. */
import type { ProgramDescription, ShapeSet } from '../../../contracts/device.js';
import { VlmError } from '../../../contracts/errors.js';

/** pixel_values [tiles, 3, S, S] or [batch, tiles, 3, S, S]. */
export function tilesOf(set: ShapeSet): number {
  const dims = set.shapes['pixel_values'] ?? [];
  return dims[dims.length - 4] ?? 0;
}

/** The smallest compiled count that holds `tiles`. Throws SHAPE_NOT_ALLOWED, naming what was compiled. */
export function chooseTiles(program: ProgramDescription, tiles: number): ShapeSet {
  const sets = [...(program.allowedShapes ?? [])].sort((a, b) => tilesOf(a) - tilesOf(b));
  const chosen = sets.find((set) => tilesOf(set) >= tiles);
  if (chosen !== undefined) return chosen;
  throw new VlmError('SHAPE_NOT_ALLOWED', {
    what: 'The vision program is not compiled for this many tiles',
    expected: `up to ${Math.max(0, ...sets.map(tilesOf))} tiles`,
    received: `${tiles} tiles`,
    where: 'pixel_values',
    hint: 'lower max_tiles of the preprocess node, or add the count to `shapes.tiles` of the device and compile',
  });
}

export function wastePercent(used: number, slots: number): number {
  return slots === 0 ? 0 : Math.round((1 - used / slots) * 1000) / 10;
}
