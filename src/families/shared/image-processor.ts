/** Settings that image processors of transformers have in common: what is honoured is read, the rest is refused. */
import { VlmError } from '../../contracts/errors.js';
import type { ModelFiles, Normalization, ResampleFilter } from '../../contracts/family.js';
import { type Channels, isRecord, readChannels, readFlag, readNumber, type Section } from './read.js';

/** Which implementation of a processor: transformers' default, or the one that its class names by `Pil`. */
export type ProcessorBackend = 'torchvision' | 'pil';

/** Pillow's numbers for its filters. */
const FILTERS: Readonly<Record<number, ResampleFilter>> = {
  0: 'nearest',
  1: 'lanczos',
  2: 'bilinear',
  3: 'bicubic',
  4: 'box',
  5: 'hamming',
};

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

export function backendOf(name: string): ProcessorBackend {
  return name.endsWith('Pil') ? 'pil' : 'torchvision';
}

export function resampleFilter(section: Section): ResampleFilter {
  const number = readNumber(section, 'resample', 3);
  const filter = FILTERS[number];
  if (filter === undefined)
    throw refuse(section, '`resample` is not a filter', '0 to 5, as Pillow numbers them', number);
  return filter;
}

/** The torchvision backend folds rescaling into mean and std, the Pillow backend does one after the other. */
export function readNormalization(
  section: Section,
  backend: ProcessorBackend,
  defaults: { readonly mean: Channels; readonly std: Channels },
): Normalization {
  const rescale = readFlag(section, 'do_rescale', true) ? readNumber(section, 'rescale_factor', 1 / 255) : 1;
  if (!readFlag(section, 'do_normalize', true)) return { rescale, mean: [0, 0, 0], std: [1, 1, 1] };
  return {
    rescale,
    mean: readChannels(section, 'image_mean', defaults.mean),
    std: readChannels(section, 'image_std', defaults.std),
    arithmetic: backend === 'torchvision' ? 'fused' : 'rescale-then-normalize',
  };
}

/** Settings that change pixels in a way that is not done here. */
export function refuseUnhonoured(section: Section): void {
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

/**
 * Where a folder keeps its image processor's settings: nested in processor_config.json (newer folders) or in a file of
 * their own. Refuses a processor of another class.
 */
export function processorSection(files: ModelFiles, processorClass: string): Section {
  const named = files.processor?.['processor_class'] ?? files.preprocessor?.['processor_class'];
  const section = { file: `${files.name}/processor_config.json`, values: files.processor ?? {} };
  if (named !== undefined && named !== processorClass) {
    throw refuse(section, 'The processor of this model is not supported', processorClass, named);
  }
  const nested = files.processor?.['image_processor'];
  if (isRecord(nested)) return { file: `${section.file} image_processor`, values: nested };
  if (files.preprocessor !== null)
    return { file: `${files.name}/preprocessor_config.json`, values: files.preprocessor };
  throw new VlmError('MODEL_INVALID', {
    what: 'The model folder does not say how images are prepared',
    expected: 'preprocessor_config.json, or processor_config.json with `image_processor`',
    received: 'neither',
    where: files.name,
    hint: 'fetch preprocessor_config.json from the model’s repository',
  });
}
