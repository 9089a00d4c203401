/** Image processor settings of both InternVL layouts: what the reference honours is honoured, the rest is refused. */
import type { Normalization, ResampleFilter } from '../../contracts/family.js';
import {
  backendOf,
  type ProcessorBackend,
  processorName,
  readNormalization,
  refuse,
  refuseUnhonoured,
  resampleFilter,
} from '../shared/image-processor.js';
import { type Channels, readChannels, readCount, readSection, type Section } from '../shared/read.js';

export const HF_PROCESSORS = ['GotOcr2ImageProcessor', 'GotOcr2ImageProcessorFast', 'GotOcr2ImageProcessorPil'];
/** Named in OpenGVLab folders; the model's own code tiles images itself and takes only mean and std from there. */
export const CHAT_PROCESSORS = ['CLIPFeatureExtractor', 'CLIPImageProcessor', 'CLIPImageProcessorFast'];

/** Defaults of the reference's GotOcr2ImageProcessor class. */
const HF_DEFAULTS = {
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
  size: 384,
  maxPatches: 12,
} as const;
const IMAGENET: { readonly mean: Channels; readonly std: Channels } = {
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
};

export interface ProcessorSettings {
  readonly name: string;
  readonly backend: ProcessorBackend;
  readonly tileSize: number;
  readonly filter: ResampleFilter;
  readonly minTiles: number;
  readonly maxTiles: number;
  readonly normalization: Normalization;
}

/** preprocessor_config.json of the `internvl` layout (GotOcr2ImageProcessor). Throws PROCESSOR_UNSUPPORTED. */
export function readHfProcessor(section: Section): ProcessorSettings {
  const name = processorName(section, HF_PROCESSORS);
  refuseUnhonoured(section);
  const size = readSection({ ...section, values: { size: square(HF_DEFAULTS.size), ...section.values } }, 'size');
  const { height, width } = size.values;
  if (height === undefined || height !== width) {
    throw refuse(section, '`size` is not a square tile', '{"height": S, "width": S}', size.values);
  }
  const backend = backendOf(name);
  return {
    name,
    backend,
    tileSize: readCount(size, 'height'),
    filter: resampleFilter(section),
    minTiles: readCount(section, 'min_patches', 1),
    maxTiles: readCount(section, 'max_patches', HF_DEFAULTS.maxPatches),
    normalization: readNormalization(section, backend, HF_DEFAULTS),
  };
}

function square(side: number): { readonly height: number; readonly width: number } {
  return { height: side, width: side };
}

/** Mean and std of the `internvl_chat` layout: of preprocessor_config.json when there is one, else ImageNet's. */
export function readChatNormalization(section: Section | null): Normalization {
  const arithmetic = 'divide-then-normalize';
  if (section === null) return { rescale: 1 / 255, ...IMAGENET, arithmetic };
  processorName(section, CHAT_PROCESSORS);
  return {
    rescale: 1 / 255,
    mean: readChannels(section, 'image_mean', IMAGENET.mean),
    std: readChannels(section, 'image_std', IMAGENET.std),
    arithmetic,
  };
}
