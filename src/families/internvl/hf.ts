/** The `internvl` layout: transformers' InternVLProcessor, GotOcr2 image processor and a chat template in the folder. */
import { VlmError } from '../../contracts/errors.js';
import type { FamilyModel, ModelFiles } from '../../contracts/family.js';
import { processorSection } from '../shared/image-processor.js';
import { readCount, readNumber, readSection, readSide, type Section } from '../shared/read.js';
import { endIds, namedToken } from '../shared/tokens.js';
import { type ImageTokens, layoutWith, sharedTraits, textFacts, tokensPerTile } from './common.js';
import { readHfProcessor } from './processor.js';
import { internvlSymbols } from './symbols.js';

export function configureHf(files: ModelFiles): FamilyModel {
  const config: Section = { file: `${files.name}/config.json`, values: files.config };
  const vision = readSection(config, 'vision_config');
  const text = readSection(config, 'text_config');
  const processor = readHfProcessor(processorSection(files, 'InternVLProcessor'));
  const tokens = imageTokens(files);
  const perTile = tilesRows(files, config, vision, processor.tileSize);
  const tiling = {
    variant: 'hf',
    tileSize: processor.tileSize,
    filter: processor.filter,
    arithmetic: processor.backend === 'torchvision' ? 'torchvision' : 'pillow',
    minTiles: processor.minTiles,
    maxTiles: processor.maxTiles,
    useThumbnail: true,
    imageTokens: perTile,
  } as const;
  return {
    family: 'internvl',
    facts: {
      layout: 'transformers (internvl)',
      'image processor': `${processor.name} (${processor.backend})`,
      tiles: `${processor.minTiles} to ${processor.maxTiles} of ${processor.tileSize} px, and a thumbnail when several`,
      'tokens a tile': perTile,
      ...textFacts(text),
    },
    ...sharedTraits(text, tokens),
    normalization: processor.normalization,
    imagePlaceholder: tokens.context,
    eosTokenIds: endIds(files, config, text),
    tiling,
    programSymbols: internvlSymbols(processor.tileSize, perTile),
    layout: layoutWith(tiling),
    // The folder's own template places images and system message.
    prepareMessages: (messages) => messages,
  };
}

function imageTokens(files: ModelFiles): ImageTokens {
  const named = (name: string, otherwise: string): string => namedToken(files.tokenizerConfig, name) ?? otherwise;
  return {
    start: named('start_image_token', '<img>'),
    context: named('context_image_token', '<IMG_CONTEXT>'),
    end: named('end_image_token', '</img>'),
  };
}

/** Rows a tile gives: what the processor writes into the prompt has to be what the vision tower makes. */
function tilesRows(files: ModelFiles, config: Section, vision: Section, tileSize: number): number {
  const made = tokensPerTile(tileSize, readSide(vision, 'patch_size'), readNumber(config, 'downsample_ratio', 0.5));
  const processor: Section = { file: `${files.name}/processor_config.json`, values: files.processor ?? {} };
  const holder = processor.values['image_seq_length'] === undefined ? config : processor;
  const written = readCount(holder, 'image_seq_length', 256);
  if (written !== made) {
    throw new VlmError('MODEL_INVALID', {
      what: '`image_seq_length` does not fit the vision tower',
      expected: `${made} rows for a tile of ${tileSize} px`,
      received: String(written),
      where: holder.file,
      hint: 'correct image_seq_length, or size in preprocessor_config.json',
    });
  }
  return written;
}
