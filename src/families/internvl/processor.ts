/** Image processor settings of both InternVL layouts: what the reference honours is honoured, the rest is refused. */
import { VlmError } from '../../contracts/errors.js';
import type { Normalization, ResampleFilter } from '../../contracts/family.js';
import {
  type Channels,
  readChannels,
  readCount,
  readFlag,
  readNumber,
  readSection,
  type Section,
} from '../shared/read.js';

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

/** Pillow's numbers for its filters. */
const FILTERS: Readonly<Record<number, ResampleFilter>> = {
  0: 'nearest',
  1: 'lanczos',
  2: 'bilinear',
  3: 'bicubic',
  4: 'box',
  5: 'hamming',
};

export interface ProcessorSettings {
  readonly name: string;
  readonly backend: 'torchvision' | 'pil';
  readonly tileSize: number;
  readonly filter: ResampleFilter;
  readonly minTiles: number;
  readonly maxTiles: number;
  readonly normalization: Normalization;
}

export function refuse(section: Section, what: string, expected: string, received: unknown): VlmError {
  return new VlmError('PROCESSOR_UNSUPPORTED', {
    what,
    expected,
    received: typeof received === 'string' ? received : JSON.stringify(received),
    where: section.file,
    hint: 'the image would not become what the model was trained on; use the model’s own preprocessor_config.json',
  });
}

/** The processor's class name, whichever generation of the file names it. */
export function processorName(section: Section, supported: readonly string[]): string {
  const { image_processor_type: type, feature_extractor_type: old } = section.values;
  const name = type ?? old;
  if (typeof name !== 'string' || !supported.includes(name)) {
    throw refuse(
      section,
      'The image processor of this model is not supported',
      supported.join(', '),
      name ?? 'no name',
    );
  }
  return name;
}

function resampleFilter(section: Section): ResampleFilter {
  const number = readNumber(section, 'resample', 3);
  const filter = FILTERS[number];
  if (filter === undefined)
    throw refuse(section, '`resample` is not a filter', '0 to 5, as Pillow numbers them', number);
  return filter;
}

/** The torchvision backend folds rescaling into mean and std, the Pillow backend does one after the other. */
function normalization(section: Section, backend: 'torchvision' | 'pil'): Normalization {
  const rescale = readFlag(section, 'do_rescale', true) ? readNumber(section, 'rescale_factor', 1 / 255) : 1;
  if (!readFlag(section, 'do_normalize', true)) return { rescale, mean: [0, 0, 0], std: [1, 1, 1] };
  return {
    rescale,
    mean: readChannels(section, 'image_mean', HF_DEFAULTS.mean),
    std: readChannels(section, 'image_std', HF_DEFAULTS.std),
    arithmetic: backend === 'torchvision' ? 'fused' : 'rescale-then-normalize',
  };
}

/** Settings that change pixels in a way that is not done here. */
function refuseUnhonoured(section: Section): void {
  const { values } = section;
  if (values['do_convert_rgb'] === false) {
    throw refuse(section, 'Images are always brought to RGB', '`do_convert_rgb: true`', '`do_convert_rgb: false`');
  }
  for (const key of ['data_format', 'input_data_format']) {
    const value = values[key] ?? 'channels_first';
    const first = value === 'channels_first' || (key === 'input_data_format' && values[key] === null);
    if (!first) throw refuse(section, `\`${key}\` is not supported`, '"channels_first"', value);
  }
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
  const backend = name.endsWith('Pil') ? 'pil' : 'torchvision';
  return {
    name,
    backend,
    tileSize: readCount(size, 'height'),
    filter: resampleFilter(section),
    minTiles: readCount(section, 'min_patches', 1),
    maxTiles: readCount(section, 'max_patches', HF_DEFAULTS.maxPatches),
    normalization: normalization(section, backend),
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
