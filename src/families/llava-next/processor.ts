/** preprocessor_config.json of LLaVA-NeXT (LlavaNextImageProcessor): what the reference honours, the rest is refused. */
import type { Normalization, ResampleArithmetic, ResampleFilter } from '../../contracts/family.js';
import {
  backendOf,
  processorName,
  readNormalization,
  refuse,
  refuseUnhonoured,
  resampleFilter,
} from '../shared/image-processor.js';
import { type Channels, isRecord, readCount, readFlag, readSection, type Section } from '../shared/read.js';
import type { Resolution } from './geometry.js';

export const PROCESSORS = ['LlavaNextImageProcessor', 'LlavaNextImageProcessorFast', 'LlavaNextImageProcessorPil'];

/** Defaults of the reference's class. */
const DEFAULTS: { readonly mean: Channels; readonly std: Channels; readonly pinpoints: readonly Resolution[] } = {
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
  pinpoints: [
    [336, 672],
    [672, 336],
    [672, 672],
    [1008, 336],
    [336, 1008],
  ],
};

export interface ProcessorSettings {
  readonly name: string;
  readonly backend: 'torchvision' | 'pil';
  readonly tileSize: number;
  readonly filter: ResampleFilter;
  readonly arithmetic: ResampleArithmetic;
  readonly pinpoints: readonly Resolution[];
  readonly normalization: Normalization;
}

/** Throws PROCESSOR_UNSUPPORTED, MODEL_INVALID. */
export function readProcessor(section: Section): ProcessorSettings {
  const name = processorName(section, PROCESSORS);
  refuseUnhonoured(section);
  const backend = backendOf(name);
  const tileSize = readTileSize(section);
  return {
    name,
    backend,
    tileSize,
    filter: resampleFilter(section),
    arithmetic: backend === 'torchvision' ? 'torchvision' : 'pillow',
    pinpoints: readPinpoints(section, tileSize),
    normalization: readNormalization(section, backend, DEFAULTS),
  };
}

/**
 * The side of a tile. The reference cuts tiles of `crop_size`, makes the whole image `size` and then resizes and crops
 * every tile once more; all of that is the identity exactly when both are one square.
 */
function readTileSize(section: Section): number {
  const size = side(section, 'size');
  const crop = side(section, 'crop_size');
  if (size !== crop) {
    throw refuse(section, '`size` and `crop_size` differ', 'one square for both', `${size} and ${crop}`);
  }
  for (const flag of ['do_resize', 'do_pad']) {
    if (!readFlag(section, flag, true)) throw refuse(section, `\`${flag}: false\` is not supported`, 'true', 'false');
  }
  return size;
}

/** `{"height": S, "width": S}`, `{"shortest_edge": S}` or S; 224 is the reference's default. */
function side(section: Section, key: string): number {
  const value = section.values[key] ?? 224;
  if (!isRecord(value)) return readCount({ ...section, values: { [key]: value } }, key);
  const sizes = readSection(section, key);
  const { height, width, shortest_edge: shortest, longest_edge: longest } = sizes.values;
  if (longest !== undefined && longest !== null) throw refuse(section, `\`${key}\` is not a square`, 'a square', value);
  if (shortest !== undefined && shortest !== null) return readCount(sizes, 'shortest_edge');
  if (height !== width) throw refuse(section, `\`${key}\` is not a square`, '{"height": S, "width": S}', value);
  return readCount(sizes, 'height');
}

/** `image_grid_pinpoints` as the files write them: [height, width], each a whole number of tiles. */
export function readPinpoints(section: Section, tileSize: number): readonly Resolution[] {
  const value = section.values['image_grid_pinpoints'] ?? DEFAULTS.pinpoints;
  const list: readonly unknown[] = Array.isArray(value) ? value : [];
  const points = list.filter(
    (point): point is Resolution =>
      Array.isArray(point) &&
      point.length === 2 &&
      point.every((n) => typeof n === 'number' && Number.isInteger(n) && n >= tileSize && n % tileSize === 0),
  );
  if (points.length === 0 || points.length !== list.length) {
    throw refuse(
      section,
      '`image_grid_pinpoints` cannot be cut into tiles',
      `pairs [height, width] of whole multiples of ${tileSize}`,
      JSON.stringify(value).slice(0, 80),
    );
  }
  return points;
}
