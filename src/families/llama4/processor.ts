/** preprocessor_config.json of Llama 4 (Llama4ImageProcessor): what the reference honours, the rest is refused. */
import type { Normalization, ResampleFilter } from '../../contracts/family.js';
import {
  processorName,
  readNormalization,
  refuse,
  refuseUnhonoured,
  resampleFilter,
} from '../shared/image-processor.js';
import { type Channels, readCount, readFlag, readSection, type Section } from '../shared/read.js';

export const PROCESSORS = ['Llama4ImageProcessor', 'Llama4ImageProcessorFast'];

/** Defaults of the reference's class. */
const SIDE = 336;
const MAX_PATCHES = 16;
const BILINEAR = 2;
const HALF: Channels = [0.5, 0.5, 0.5];

export interface ProcessorSettings {
  readonly name: string;
  readonly tileSize: number;
  readonly filter: ResampleFilter;
  readonly maxTiles: number;
  readonly resizeToMaxCanvas: boolean;
  readonly normalization: Normalization;
}

/** Throws PROCESSOR_UNSUPPORTED, MODEL_INVALID. */
export function readProcessor(section: Section): ProcessorSettings {
  const name = processorName(section, PROCESSORS);
  refuseUnhonoured(section);
  // One without the other is computed in another precision, and do_resize false is an error in the reference as well.
  for (const flag of ['do_resize', 'do_rescale', 'do_normalize']) {
    if (!readFlag(section, flag, true)) throw refuse(section, `\`${flag}: false\` is not supported`, 'true', 'false');
  }
  const resample = section.values['resample'] ?? BILINEAR;
  return {
    name,
    tileSize: readTileSize(section),
    filter: resampleFilter({ ...section, values: { resample } }),
    maxTiles: readCount(section, 'max_patches', MAX_PATCHES),
    resizeToMaxCanvas: readFlag(section, 'resize_to_max_canvas', false),
    normalization: {
      ...readNormalization(section, 'torchvision', { mean: HALF, std: HALF }),
      arithmetic: 'bfloat16',
    },
  };
}

function readTileSize(section: Section): number {
  if ((section.values['size'] ?? null) === null) return SIDE;
  const size = readSection(section, 'size');
  const { height, width } = size.values;
  if (height !== width || height === undefined) {
    throw refuse(section, '`size` is not a square', '{"height": S, "width": S}', section.values['size']);
  }
  return readCount(size, 'height');
}
