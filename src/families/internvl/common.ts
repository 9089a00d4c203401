/** What both layouts share: the pieces of a FamilyModel that do not depend on where settings are written. */
import type {
  FamilyModel,
  GeometryOptions,
  ImageLayout,
  ResampleArithmetic,
  ResampleFilter,
} from '../../contracts/family.js';
import { cacheElements } from '../shared/cache.js';
import { maxPositionsOf } from '../shared/positions.js';
import { readCount, type Section } from '../shared/read.js';
import { internvlLayout } from './geometry.js';
import { visionInputs, visionRows } from './programs.js';

export interface ImageTokens {
  readonly start: string;
  readonly context: string;
  readonly end: string;
}

export interface Tiling {
  readonly variant: 'opengvlab' | 'hf';
  readonly tileSize: number;
  readonly filter: ResampleFilter;
  readonly arithmetic?: ResampleArithmetic;
  readonly minTiles: number;
  readonly maxTiles: number;
  readonly useThumbnail: boolean;
  /** Rows of vision embeddings a tile gives. */
  readonly imageTokens: number;
}

/** Rows a tile gives after the pixel shuffle: (side / patch)² x ratio². */
export function tokensPerTile(side: number, patch: number, ratio: number): number {
  return Math.trunc(Math.floor(side / patch) ** 2 * ratio ** 2);
}

export function layoutWith(tiling: Tiling): (width: number, height: number, options: GeometryOptions) => ImageLayout {
  return (width, height, options) => {
    const maxTiles = options.max_tiles ?? tiling.maxTiles;
    return internvlLayout(width, height, {
      ...tiling,
      maxTiles,
      // A smaller maximum alone is not a contradiction with the model's own minimum.
      minTiles: options.min_tiles ?? Math.min(tiling.minTiles, maxTiles),
      useThumbnail: options.use_thumbnail ?? tiling.useThumbnail,
    });
  };
}

/** Traits that follow from the text model's section of config.json and from the image tokens. */
export function sharedTraits(
  text: Section,
  tokens: ImageTokens,
): Pick<
  FamilyModel,
  | 'imageToken'
  | 'hiddenSize'
  | 'textLayers'
  | 'cacheElements'
  | 'maxPositions'
  | 'expandImage'
  | 'visionInputs'
  | 'visionRows'
> {
  const hiddenSize = readCount(text, 'hidden_size');
  return {
    imageToken: tokens.context,
    hiddenSize,
    textLayers: readCount(text, 'num_hidden_layers'),
    ...cacheElements(text),
    maxPositions: maxPositionsOf(text),
    expandImage: (image) => `${tokens.start}${tokens.context.repeat(image.visionTokens)}${tokens.end}`,
    visionInputs,
    visionRows: (embeds, images) => visionRows(embeds, images, hiddenSize),
  };
}

export function textFacts(text: Section): Readonly<Record<string, string | number>> {
  const type = text.values['model_type'];
  return {
    'text model': typeof type === 'string' ? type : 'unknown',
    'text layers': readCount(text, 'num_hidden_layers'),
    'hidden size': readCount(text, 'hidden_size'),
    'longest prompt and answer': maxPositionsOf(text),
  };
}
