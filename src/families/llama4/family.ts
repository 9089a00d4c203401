/** Llama 4 (Scout, Maverick) in the layout of transformers. */
import { VlmError } from '../../contracts/errors.js';
import type { Family, FamilyModel, ModelFiles } from '../../contracts/family.js';
import { cacheElements } from '../shared/cache.js';
import { processorSection } from '../shared/image-processor.js';
import { maxPositionsOf } from '../shared/positions.js';
import { readCount, readNumber, readSection, readSide, type Section } from '../shared/read.js';
import { addedTokenId, endIds } from '../shared/tokens.js';
import { llama4Layout, type Tiling } from './geometry.js';
import { PROCESSORS, readProcessor } from './processor.js';
import { imageText, PATCH, visionInputs, visionRows } from './programs.js';
import { llama4Symbols } from './symbols.js';

export const family: Family = {
  name: 'llama4',
  modelTypes: ['llama4'],
  processors: PROCESSORS,
  configure,
};

/** Attention span of the chunked layers where the configuration leaves it out. */
const ATTENTION_CHUNK = 8192;

function configure(files: ModelFiles): FamilyModel {
  const config: Section = { file: `${files.name}/config.json`, values: files.config };
  const text = readSection(config, 'text_config');
  const processor = readProcessor(processorSection(files, 'Llama4Processor'));
  const { tileSize, maxTiles, resizeToMaxCanvas, filter } = processor;
  const tokensPerTile = tileRows(files, config, tileSize);
  checkPatchToken(files, config);
  const tiling: Tiling = { tileSize, tokensPerTile, maxTiles, resizeToMaxCanvas, filter };
  const hiddenSize = readCount(text, 'hidden_size');
  const textLayers = readCount(text, 'num_hidden_layers');
  const maxPositions = maxPositionsOf(text);
  const chunk = readCount(text, 'attention_chunk_size', ATTENTION_CHUNK);
  return {
    family: 'llama4',
    facts: {
      tiles: `1 to ${maxTiles} of ${tileSize} px by the image’s size, and the whole image when several`,
      'image processor': processor.name,
      'tokens a tile': tokensPerTile,
      'text model': 'llama4_text',
      'text layers': textLayers,
      experts: readCount(text, 'num_local_experts', 16),
      'hidden size': hiddenSize,
      'attention chunk': chunk,
      'longest prompt and answer': maxPositions,
    },
    normalization: processor.normalization,
    imageToken: PATCH,
    imagePlaceholder: '<|image|>',
    hiddenSize,
    textLayers,
    ...cacheElements(text),
    maxPositions,
    eosTokenIds: endIds(files, config, text),
    tiling: { minTiles: 1, maxTiles, useThumbnail: true },
    programSymbols: llama4Symbols(tileSize, tokensPerTile, chunk),
    layout: (width, height, options) => llama4Layout(width, height, tiling, options),
    // The folder's own template places images, system message and date.
    prepareMessages: (messages) => messages,
    expandImage: (image) => imageText(image, tokensPerTile),
    visionInputs,
    visionRows: (embeds, images) => visionRows(embeds, images, hiddenSize),
  };
}

function invalid(where: string, what: string, expected: string, received: string): VlmError {
  return new VlmError('MODEL_INVALID', {
    what,
    expected,
    received,
    where,
    hint: 'take config.json, preprocessor_config.json and processor_config.json from the same model',
  });
}

/** Rows a tile gives: what the processor writes into the prompt has to be what the vision tower makes of the same tile. */
function tileRows(files: ModelFiles, config: Section, tileSize: number): number {
  const vision = readSection(config, 'vision_config');
  const side = readSide(vision, 'image_size');
  if (side !== tileSize) {
    throw invalid(config.file, 'The vision tower takes tiles of another size', `${tileSize} px`, `${side} px`);
  }
  const made =
    Math.floor(side / readSide(vision, 'patch_size')) ** 2 * readNumber(vision, 'pixel_shuffle_ratio', 0.5) ** 2;
  const written: Section = { file: `${files.name}/processor_config.json`, values: files.processor ?? {} };
  const shuffle = Math.round(1 / readNumber(written, 'pixel_shuffle_ratio', 0.5) ** 2);
  const rows = Math.floor(Math.floor(side / readCount(written, 'patch_size', 14)) ** 2 / shuffle);
  if (Math.abs(rows - made) > 1e-6 || rows < 1) {
    throw invalid(
      written.file,
      'The prompt would hold another number of image tokens than the vision tower makes',
      `${made} tokens for a tile of ${side} px`,
      `${rows}`,
    );
  }
  return rows;
}

/** The language program replaces `image_token_index`, the prompt writes its text: both have to be one token. */
function checkPatchToken(files: ModelFiles, config: Section): void {
  const named = addedTokenId(files.tokenizerConfig, PATCH);
  const key = config.values['image_token_index'] === undefined ? 'image_token_id' : 'image_token_index';
  const own = config.values[key];
  if (named === undefined || own === undefined || own === named) return;
  throw invalid(config.file, `\`${key}\` is another token than ${PATCH}`, String(named), String(own));
}
