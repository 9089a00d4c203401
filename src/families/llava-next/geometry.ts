/**
 * Anyres tiling of LLaVA-NeXT as pure arithmetic: which canvas of the configuration an image gets, how it is resized and
 * padded into it, and how many rows remain of its tiles once the padding is taken out again.
 */
import { VlmError } from '../../contracts/errors.js';
import type {
  GeometryOptions,
  ImageLayout,
  ImageView,
  ResampleArithmetic,
  ResampleFilter,
} from '../../contracts/family.js';

/** [height, width], as the configuration writes canvases. */
export type Resolution = readonly [number, number];

export interface Anyres {
  readonly tileSize: number;
  /** Patches along one side of a tile = rows a tile gives along one side. */
  readonly patches: number;
  readonly pinpoints: readonly Resolution[];
  readonly filter: ResampleFilter;
  readonly arithmetic: ResampleArithmetic;
}

/** The reference rounds to 7 decimals and then cuts off, so that 54.99999999 counts as 55; toFixed rounds exactly. */
function wholePart(value: number): number {
  return Math.trunc(Number(value.toFixed(7)));
}

/** The canvas that keeps most of the image, then the one that wastes least; the first of equals. */
export function bestResolution(width: number, height: number, pinpoints: readonly Resolution[]): Resolution {
  let best: Resolution | undefined;
  let most = 0;
  let least = Number.POSITIVE_INFINITY;
  for (const point of pinpoints) {
    const [canvasHeight, canvasWidth] = point;
    const scale = Math.min(canvasWidth / width, canvasHeight / height);
    const kept = Math.min(Math.trunc(width * scale) * Math.trunc(height * scale), width * height);
    const wasted = canvasWidth * canvasHeight - kept;
    if (kept > most || (kept === most && wasted < least)) {
      most = kept;
      least = wasted;
      best = point;
    }
  }
  if (best === undefined) throw new VlmError('INTERNAL', { what: 'A model without grid pinpoints was configured' });
  return best;
}

/** Size of the image inside its canvas, ratio kept, the shorter side rounded up. */
function fitted(width: number, height: number, [canvasHeight, canvasWidth]: Resolution): Resolution {
  const scaleWidth = canvasWidth / width;
  const scaleHeight = canvasHeight / height;
  return scaleWidth < scaleHeight
    ? [Math.min(Math.ceil(height * scaleWidth), canvasHeight), canvasWidth]
    : [canvasHeight, Math.min(Math.ceil(width * scaleHeight), canvasWidth)];
}

/** The part of the patch grid that is image and not padding: [top, left, rows, columns] in patches. */
export function unpadded(
  width: number,
  height: number,
  grid: readonly [number, number],
  patches: number,
): { readonly top: number; readonly left: number; readonly rows: number; readonly columns: number } {
  const columns = grid[0] * patches;
  const rows = grid[1] * patches;
  if (width / height > columns / rows) {
    const top = Math.floor((rows - wholePart(height * (columns / width))) / 2);
    return { top, left: 0, rows: rows - 2 * top, columns };
  }
  const left = Math.floor((columns - wholePart(width * (rows / height))) / 2);
  return { top: 0, left, rows, columns: columns - 2 * left };
}

/** Rows in the prompt: the whole image's, then the unpadded grid with a newline behind each of its rows. */
export function visionTokens(width: number, height: number, grid: readonly [number, number], patches: number): number {
  const { rows, columns } = unpadded(width, height, grid, patches);
  return patches * patches + rows * columns + rows;
}

/** The canvases that the options leave. Throws OPTION_INVALID when that is none, or when the whole image is unwanted. */
function allowed({ tileSize, pinpoints }: Anyres, options: GeometryOptions): readonly Resolution[] {
  if (options.use_thumbnail === false) {
    throw new VlmError('OPTION_INVALID', {
      what: 'LLaVA-NeXT models always see the whole image beside its tiles',
      expected: 'use_thumbnail: true, or the option left out',
      received: 'false',
      where: 'use_thumbnail',
    });
  }
  const { min_tiles: min = 1, max_tiles: max = Number.POSITIVE_INFINITY } = options;
  const tiles = ([height, width]: Resolution): number => (height / tileSize) * (width / tileSize);
  const left = pinpoints.filter((point) => tiles(point) >= min && tiles(point) <= max);
  if (left.length > 0) return left;
  const counts = [...new Set(pinpoints.map(tiles))].sort((a, b) => a - b);
  throw new VlmError('OPTION_INVALID', {
    what: 'No grid of the model has this many tiles',
    expected: `a range that holds one of ${counts.join(', ')} tiles (the whole image comes on top)`,
    received: `min_tiles ${options.min_tiles ?? 1}, max_tiles ${options.max_tiles ?? 'not given'}`,
    where: options.max_tiles === undefined ? 'min_tiles' : 'max_tiles',
    hint: 'leave both out: the model chooses by the shape of the image',
  });
}

/** How an image becomes tiles: the whole image squeezed into one, then the padded canvas row by row. */
export function anyresLayout(width: number, height: number, anyres: Anyres, options: GeometryOptions): ImageLayout {
  const { tileSize, patches, filter, arithmetic } = anyres;
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    throw new VlmError('IMAGE_UNREADABLE', {
      what: 'An image needs a width and a height',
      expected: 'whole numbers of pixels from 1 on',
      received: `${width}x${height}`,
    });
  }
  const canvas = bestResolution(width, height, allowed(anyres, options));
  const [canvasHeight, canvasWidth] = canvas;
  const [fitHeight, fitWidth] = fitted(width, height, canvas);
  const grid = [canvasWidth / tileSize, canvasHeight / tileSize] as const;
  const tile = { width: tileSize, height: tileSize };
  const views: readonly ImageView[] = [
    { resize: { ...tile, filter, arithmetic }, crops: [{ x: 0, y: 0, ...tile }] },
    {
      resize: { width: fitWidth, height: fitHeight, filter, arithmetic },
      pad: {
        width: canvasWidth,
        height: canvasHeight,
        left: Math.floor((canvasWidth - fitWidth) / 2),
        top: Math.floor((canvasHeight - fitHeight) / 2),
        fill: [0, 0, 0],
      },
      crops: Array.from({ length: grid[0] * grid[1] }, (_, i) => ({
        x: (i % grid[0]) * tileSize,
        y: Math.floor(i / grid[0]) * tileSize,
        ...tile,
      })),
    },
  ];
  return {
    width,
    height,
    grid,
    views,
    tiles: 1 + grid[0] * grid[1],
    tileSize: tile,
    visionTokens: visionTokens(width, height, grid, patches),
  };
}
