/**
 * Dynamic tiling of InternVL as pure arithmetic: which grid of tiles an image gets, and the views to resize and cut.
 *
 * Two references exist and agree for nearly every picture. `opengvlab` is the published InternVL code
 * (`dynamic_preprocess`), `hf` is transformers' `GotOcr2ImageProcessor`. They differ in the thumbnail switch and in the
 * order in which grids of the same tile count are tried, which decides exact ties of the aspect ratio.
 */
import { VlmError } from '../../contracts/errors.js';
import type { ImageLayout, ImageView, Rect, ResampleArithmetic, ResampleFilter } from '../../contracts/family.js';

/** [columns, rows] */
export type Grid = readonly [number, number];

export interface TilingOptions {
  /** Side of a tile in pixels, or its two sides. */
  readonly tileSize: number | { readonly width: number; readonly height: number };
  readonly minTiles: number;
  readonly maxTiles: number;
  /** `hf` always adds the thumbnail: callers pass true. */
  readonly useThumbnail: boolean;
  readonly filter: ResampleFilter;
  /** Default `pillow`; `torchvision` repeats transformers' default backend bit for bit. */
  readonly arithmetic?: ResampleArithmetic;
  /** Rows of vision embeddings a tile gives. */
  readonly imageTokens: number;
  readonly variant: 'opengvlab' | 'hf';
}

/** Largest tile count that is accepted: far above every model, low enough to keep planning instant. */
const MAX_TILES = 1024;

/** How an image of `width` x `height` pixels becomes tiles: the grid row by row, then a thumbnail if there are several. */
export function internvlLayout(width: number, height: number, options: TilingOptions): ImageLayout {
  const tile = tileSizeOf(options);
  check(width, height, tile, options);
  const { minTiles, maxTiles, imageTokens, variant } = options;
  const how = {
    filter: options.filter,
    ...(options.arithmetic === undefined ? {} : { arithmetic: options.arithmetic }),
  };
  const [columns, rows] = chooseGrid(width, height, tile, gridsOf(minTiles, maxTiles, variant));
  const views: ImageView[] = [
    {
      resize: { width: tile.width * columns, height: tile.height * rows, ...how },
      crops: Array.from({ length: columns * rows }, (_, i): Rect => {
        const column = i % columns;
        return { x: column * tile.width, y: ((i - column) / columns) * tile.height, ...tile };
      }),
    },
  ];
  if (options.useThumbnail && columns * rows > 1) {
    views.push({ resize: { ...tile, ...how }, crops: [{ x: 0, y: 0, ...tile }] });
  }
  const tiles = views.reduce((n, view) => n + view.crops.length, 0);
  return { width, height, grid: [columns, rows], views, tiles, tileSize: tile, visionTokens: tiles * imageTokens };
}

/**
 * The grid whose aspect ratio is nearest to the image's. Among equally near ones a later grid wins while the image has
 * more than half of that grid's pixels. Plain double arithmetic, as in both references: exact ties are meant.
 */
function chooseGrid(
  width: number,
  height: number,
  tile: { readonly width: number; readonly height: number },
  grids: readonly Grid[],
): Grid {
  const ratio = width / height;
  const area = width * height;
  let best: Grid = [1, 1];
  let bestDifference = Number.POSITIVE_INFINITY;
  for (const grid of grids) {
    const difference = Math.abs(ratio - grid[0] / grid[1]);
    const better =
      difference < bestDifference ||
      (difference === bestDifference && area > 0.5 * tile.height * tile.width * grid[0] * grid[1]);
    if (better) {
      best = grid;
      bestDifference = difference;
    }
  }
  return best;
}

const known = new Map<string, readonly Grid[]>();

/** All grids of `minTiles` to `maxTiles` tiles in the order in which the reference tries them. */
export function gridsOf(minTiles: number, maxTiles: number, variant: 'opengvlab' | 'hf'): readonly Grid[] {
  const key = `${variant}:${minTiles}:${maxTiles}`;
  const cached = known.get(key);
  if (cached !== undefined) return cached;
  const grids: Grid[] = [];
  const add = (columns: number, rows: number) => {
    if (columns * rows >= minTiles && columns * rows <= maxTiles) grids.push([columns, rows]);
  };
  if (variant === 'hf') {
    for (let columns = 1; columns <= maxTiles; columns++) {
      for (let rows = 1; columns * rows <= maxTiles; rows++) add(columns, rows);
    }
  } else {
    // n is the larger side of the grids met for the first time; those with both sides < n came in an earlier round.
    for (let n = minTiles; n <= maxTiles; n++) {
      for (let columns = 1; columns <= n; columns++) {
        for (let rows = 1; rows <= n && columns * rows <= maxTiles; rows++) {
          if (n === minTiles || columns === n || rows === n) add(columns, rows);
        }
      }
    }
  }
  const ordered = variant === 'hf' ? grids : pythonSetOrder(grids);
  const sorted = ordered.toSorted((a, b) => a[0] * a[1] - b[0] * b[1]);
  known.set(key, sorted);
  return sorted;
}

/**
 * The published code sorts a Python `set` of pairs by tile count, so that grids of one count stay in the set's own
 * order. That order is fixed by CPython (3.8 and later): its tuple hash and its open addressing, repeated here.
 * It is seen only when `minTiles` is at least 4 and an aspect ratio lies exactly between two grids of the same count.
 */
function pythonSetOrder(distinct: readonly Grid[]): readonly Grid[] {
  let table = new Array<Grid | undefined>(8).fill(undefined);
  let used = 0;
  for (const grid of distinct) {
    place(table, grid);
    used++;
    if (used * 5 >= (table.length - 1) * 3) {
      let length = 8;
      while (length <= used * 4) length *= 2;
      const larger = new Array<Grid | undefined>(length).fill(undefined);
      for (const entry of table) if (entry !== undefined) place(larger, entry);
      table = larger;
    }
  }
  return table.filter((entry) => entry !== undefined);
}

function place(table: (Grid | undefined)[], grid: Grid): void {
  const mask = BigInt(table.length - 1);
  const probes = 9;
  let perturb = tupleHash(grid);
  let slot = perturb & mask;
  for (;;) {
    const first = Number(slot);
    const last = first + probes <= Number(mask) ? first + probes : first;
    for (let i = first; i <= last; i++) {
      if (table[i] === undefined) {
        table[i] = grid;
        return;
      }
    }
    perturb >>= 5n;
    slot = (slot * 5n + 1n + perturb) & mask;
  }
}

/** CPython's hash of a tuple of two small integers, as an unsigned 64-bit number. */
function tupleHash(items: Grid): bigint {
  const word = (v: bigint) => BigInt.asUintN(64, v);
  let acc = 2870177450012600261n;
  for (const item of items) {
    acc = word(acc + BigInt(item) * 14029467366897019727n);
    acc = word((acc << 31n) | (acc >> 33n));
    acc = word(acc * 11400714785074694791n);
  }
  return word(acc + (BigInt(items.length) ^ 2870177450012600261n ^ 3527539n));
}

function tileSizeOf(options: TilingOptions): { readonly width: number; readonly height: number } {
  const { tileSize } = options;
  return typeof tileSize === 'number' ? { width: tileSize, height: tileSize } : tileSize;
}

function check(
  width: number,
  height: number,
  tile: { readonly width: number; readonly height: number },
  options: TilingOptions,
): void {
  const whole = (n: number) => Number.isInteger(n) && n > 0;
  if (!whole(width) || !whole(height) || !whole(tile.width) || !whole(tile.height)) {
    throw new VlmError('INTERNAL', {
      what: 'Tiling needs whole, positive sizes',
      received: `an image of ${width}x${height} and tiles of ${tile.width}x${tile.height}`,
    });
  }
  const { minTiles, maxTiles } = options;
  if (!whole(minTiles) || !whole(maxTiles) || minTiles > maxTiles || maxTiles > MAX_TILES) {
    throw new VlmError('OPTION_INVALID', {
      what: 'The range of tiles is not usable',
      expected: `whole numbers with 1 <= min_tiles <= max_tiles <= ${MAX_TILES}`,
      received: `min_tiles ${minTiles}, max_tiles ${maxTiles}`,
    });
  }
}
