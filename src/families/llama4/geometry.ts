/**
 * Tiling of Llama 4 as pure arithmetic: which canvas of whole tiles an image gets, how large it is inside, and the views
 * to resize and cut. The reference computes partly in float32; where it does decides ties, so every step rounds as there.
 */
import { VlmError } from '../../contracts/errors.js';
import type { GeometryOptions, ImageLayout, ImageView, ResampleFilter } from '../../contracts/family.js';

/** [columns, rows] in tiles. */
export type Canvas = readonly [number, number];

export interface Tiling {
  readonly tileSize: number;
  readonly tokensPerTile: number;
  /** Most tiles of a canvas; the whole image comes on top. */
  readonly maxTiles: number;
  /** Enlarge images to the largest canvas that fits; otherwise they are enlarged to one tile's side at most. */
  readonly resizeToMaxCanvas: boolean;
  readonly filter: ResampleFilter;
}

/** Largest tile count that is accepted: far above every model, low enough to keep planning instant. */
const MAX_TILES = 1024;

/** Every canvas of `min` to `max` tiles. */
export function canvases(min: number, max: number): readonly Canvas[] {
  const all: Canvas[] = [];
  for (let tiles = max; tiles >= min; tiles--) {
    for (let rows = 1; rows <= tiles; rows++) if (tiles % rows === 0) all.push([tiles / rows, rows]);
  }
  return all;
}

/**
 * The canvas that changes the image's size least: the smallest enlargement (the largest when `largest`), else the least
 * reduction. Among canvases of that scale the one of fewest tiles.
 */
export function bestCanvas(
  width: number,
  height: number,
  tileSize: number,
  among: readonly Canvas[],
  largest: boolean,
): Canvas {
  // The first canvas of the fewest tiles wins a tie, as argmin finds it.
  let best: { readonly canvas: Canvas; readonly scale: number } | undefined;
  for (const canvas of among) {
    const across = Math.fround((canvas[0] * tileSize) / width);
    const down = Math.fround((canvas[1] * tileSize) / height);
    const scale = Math.min(across, down);
    if (best === undefined || isBetter(scale, best.scale, largest)) best = { canvas, scale };
    else if (scale === best.scale && area(canvas) < area(best.canvas)) best = { canvas, scale };
  }
  if (best === undefined) throw new VlmError('INTERNAL', { what: 'A model without canvases was configured' });
  return best.canvas;
}

function area([columns, rows]: Canvas): number {
  return columns * rows;
}

function isBetter(scale: number, than: number, largest: boolean): boolean {
  if (scale >= 1 !== than >= 1) return scale >= 1;
  return scale >= 1 && !largest ? scale < than : scale > than;
}

/**
 * Size of the image inside its canvas, ratio kept. A bound that comes from the canvas is a tensor in the reference, so its
 * scale is float32; a bound that comes from the image or the tile is a Python number, so its scale is double.
 */
function fitted(
  width: number,
  height: number,
  canvas: { readonly width: number; readonly height: number },
  { tileSize, resizeToMaxCanvas }: Tiling,
): { readonly width: number; readonly height: number } {
  const bound = (side: number, most: number): Bound => {
    const wanted = Math.max(side, tileSize);
    const single = resizeToMaxCanvas || most < wanted;
    const size = single ? most : wanted;
    return { size, single, scale: single ? Math.fround(size / side) : size / side };
  };
  const across = bound(width, canvas.width);
  const down = bound(height, canvas.height);
  const isMixed = across.single !== down.single;
  const lower = isMixed ? Math.fround(across.scale) < Math.fround(down.scale) : across.scale < down.scale;
  return lower
    ? { width: across.size, height: Math.max(1, Math.min(scaled(height, across), down.size)) }
    : { width: Math.max(1, Math.min(scaled(width, down), across.size)), height: down.size };
}

interface Bound {
  readonly size: number;
  readonly scale: number;
  /** The scale is float32, and so is what is multiplied by it. */
  readonly single: boolean;
}

function scaled(side: number, { scale, single }: Bound): number {
  return Math.floor(single ? Math.fround(side * scale) : side * scale);
}

function allowed({ maxTiles }: Tiling, options: GeometryOptions): readonly Canvas[] {
  if (options.use_thumbnail === false) {
    throw new VlmError('OPTION_INVALID', {
      what: 'Llama 4 always sees the whole image beside its tiles',
      expected: 'use_thumbnail: true, or the option left out',
      received: 'false',
      where: 'use_thumbnail',
    });
  }
  const { min_tiles: min = 1, max_tiles: max = Math.max(maxTiles, min) } = options;
  if (!Number.isInteger(min) || !Number.isInteger(max) || min < 1 || max < min || max > MAX_TILES) {
    throw new VlmError('OPTION_INVALID', {
      what: 'No canvas has this many tiles',
      expected: `1 <= min_tiles <= max_tiles <= ${MAX_TILES}, the whole image not counted`,
      received: `min_tiles ${min}, max_tiles ${max}`,
      where: options.max_tiles === undefined ? 'min_tiles' : 'max_tiles',
      hint: 'leave both out: the model chooses by the shape of the image',
    });
  }
  return canvases(min, max);
}

/** How an image becomes tiles: the padded canvas row by row, then the whole image in one tile if there are several. */
export function llama4Layout(width: number, height: number, tiling: Tiling, options: GeometryOptions): ImageLayout {
  const { tileSize, filter, resizeToMaxCanvas } = tiling;
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    throw new VlmError('IMAGE_UNREADABLE', {
      what: 'An image needs a width and a height',
      expected: 'whole numbers of pixels from 1 on',
      received: `${width}x${height}`,
    });
  }
  const grid = bestCanvas(width, height, tileSize, allowed(tiling, options), resizeToMaxCanvas);
  const [columns, rows] = grid;
  const canvas = { width: columns * tileSize, height: rows * tileSize };
  const tile = { width: tileSize, height: tileSize };
  const how = { filter, arithmetic: 'torchvision' } as const;
  const views: ImageView[] = [
    {
      resize: { ...fitted(width, height, canvas, tiling), ...how },
      pad: { ...canvas, left: 0, top: 0, fill: [0, 0, 0] },
      crops: Array.from({ length: columns * rows }, (_, i) => ({
        x: (i % columns) * tileSize,
        y: Math.floor(i / columns) * tileSize,
        ...tile,
      })),
    },
  ];
  if (columns * rows > 1) views.push({ resize: { ...tile, ...how }, crops: [{ x: 0, y: 0, ...tile }] });
  const tiles = tileCount(grid);
  return { width, height, grid, views, tiles, tileSize: tile, visionTokens: tiles * tiling.tokensPerTile };
}

/** Tiles of a canvas, the whole image included. */
export function tileCount(canvas: Canvas): number {
  return area(canvas) === 1 ? 1 : area(canvas) + 1;
}
