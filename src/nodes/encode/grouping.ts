/** Which items of a batch go to the vision program in one call. */
import type { ProgramDescription } from '../../contracts/device.js';

/**
 * Tiles that one call takes of several items together; 0 where each item needs a call of its own. Tiles of several items
 * make one call where the tile axis is the first one: of any length on ONNX Runtime, up to the largest compiled count on
 * a card, which fills the rest with zero tiles.
 */
export function tilesPerCall(program: ProgramDescription): number {
  const port = program.inputs.find((p) => p.name === 'pixel_values');
  if (port?.dims.length !== 4) return 0;
  if (program.allowedShapes === null) return typeof port.dims[0] === 'string' ? Number.POSITIVE_INFINITY : 0;
  return Math.max(0, ...program.allowedShapes.map((set) => set.shapes['pixel_values']?.[0] ?? 0));
}

/** How many items, from `from` on, make one call: at most `most`, with at most `room` tiles together, at least one. */
export function itemsPerCall(tiles: readonly number[], from: number, most: number, room: number): number {
  let count = 1;
  let sum = tiles[from] ?? 0;
  while (count < most && from + count < tiles.length) {
    sum += tiles[from + count] ?? 0;
    if (sum > room) break;
    count++;
  }
  return count;
}
