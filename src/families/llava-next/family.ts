/** LLaVA-NeXT in the layout of transformers: Granite Vision 3.x and models built alike. */
import type { ProgramDescription } from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';
import type { Family, FamilyModel, GeometryOptions, ModelFiles } from '../../contracts/family.js';
import { cacheElements } from '../shared/cache.js';
import { processorSection } from '../shared/image-processor.js';
import { maxPositionsOf } from '../shared/positions.js';
import { readCount, readNumber, readSection, readText, type Section } from '../shared/read.js';
import { endIds, namedToken } from '../shared/tokens.js';
import { type Anyres, anyresLayout } from './geometry.js';
import { PROCESSORS, type ProcessorSettings, readPinpoints, readProcessor } from './processor.js';
import { isPacked, openInputs, openRows, packedInputs, packedRows } from './programs.js';
import { GRANITE_VISION, llavaNextSymbols } from './symbols.js';

export const family: Family = {
  name: 'llava-next',
  modelTypes: ['llava_next'],
  processors: PROCESSORS,
  configure,
};

interface Model {
  readonly anyres: Anyres;
  readonly hiddenSize: number;
  readonly processor: ProcessorSettings;
  readonly shared: Omit<FamilyModel, 'tiling' | 'programSymbols' | 'layout' | 'visionInputs' | 'visionRows'>;
}

function configure(files: ModelFiles): FamilyModel {
  const config: Section = { file: `${files.name}/config.json`, values: files.config };
  const vision = readSection(config, 'vision_config');
  const text = readSection(config, 'text_config');
  const processor = readProcessor(processorSection(files, 'LlavaNextProcessor'));
  const patches = Math.floor(readCount(vision, 'image_size') / readCount(vision, 'patch_size'));
  checkAgreement(files, config, vision, processor, patches);
  const token = imageToken(files);
  const hiddenSize = readCount(text, 'hidden_size');
  const { tileSize, pinpoints, filter, arithmetic } = processor;
  const type = text.values['model_type'];
  return openModel({
    anyres: { tileSize, patches, pinpoints, filter, arithmetic },
    hiddenSize,
    processor,
    shared: {
      family: 'llava-next',
      facts: {
        'image processor': `${processor.name} (${processor.backend})`,
        'tokens a tile': patches * patches,
        'text model': typeof type === 'string' ? type : 'unknown',
        'text layers': readCount(text, 'num_hidden_layers'),
        'hidden size': hiddenSize,
        'longest prompt and answer': maxPositionsOf(text),
      },
      normalization: processor.normalization,
      imageToken: token,
      imagePlaceholder: token,
      hiddenSize,
      textLayers: readCount(text, 'num_hidden_layers'),
      ...cacheElements(text),
      maxPositions: maxPositionsOf(text),
      eosTokenIds: endIds(files, config, text),
      expandImage: (image) => token.repeat(image.visionTokens),
      // The folder's own template places images and system message.
      prepareMessages: (messages) => messages,
    },
  });
}

/** Tiles are packed by the host: any image size, several images. */
function openModel(model: Model): FamilyModel {
  const { anyres, hiddenSize, shared } = model;
  const { tileSize, patches, pinpoints } = anyres;
  const counts = pinpoints.map(([height, width]) => (height / tileSize) * (width / tileSize));
  const minTiles = Math.min(...counts);
  const maxTiles = Math.max(...counts);
  return {
    ...shared,
    facts: {
      tiles: `${minTiles} to ${maxTiles} of ${tileSize} px by the image’s shape, and the whole image`,
      ...shared.facts,
    },
    tiling: { minTiles, maxTiles, useThumbnail: true, isWholeAlways: true },
    programSymbols: {
      vision: ({ batchSize, tiles }) => ({ num_patches: batchSize * tiles, img_size: tileSize }),
      // At most: every tile whole, and a newline behind each row of each tile but the whole image.
      language: ({ visionBatch, tiles }) => ({
        vision_size: visionBatch * (tiles * patches * patches + (tiles - 1) * patches),
      }),
    },
    forProgram: (program, calls) =>
      (program === null ? calls === 'padded' : isPacked(program)) ? packedModel(model, program) : openModel(model),
    layout: (width, height, options) => anyresLayout(width, height, anyres, options),
    visionInputs: openInputs,
    visionRows: (embeds, images) => openRows(embeds, images, patches, hiddenSize),
  };
}

/** Tiles are packed in the graph, for the one image size that the export knows. */
function packedModel(model: Model, program: ProgramDescription | null): FamilyModel {
  const { anyres, hiddenSize, shared } = model;
  const { width, height } = GRANITE_VISION;
  const { tiles, visionTokens } = anyresLayout(width, height, anyres, {});
  const image = { width, height, tiles };
  checkPackedRows(program, visionTokens);
  return {
    ...shared,
    facts: { tiles: `${tiles} of ${anyres.tileSize} px: images are brought to ${width}×${height}`, ...shared.facts },
    exportedImage: image,
    programSymbols: llavaNextSymbols({ tileSize: anyres.tileSize, width, height, tiles, visionTokens }),
    forProgram: (other, calls) => openModel(model).forProgram?.(other, calls) ?? packedModel(model, program),
    layout: (from, to, options) => {
      refuseOptions(options, image);
      return {
        ...anyresLayout(width, height, anyres, {}),
        width: from,
        height: to,
        // As the export's own examples do it: Pillow's default filter, without keeping the ratio.
        bring: { width, height, filter: 'bicubic', arithmetic: 'pillow' },
      };
    },
    visionInputs: (pixels, description) => packedInputs(pixels, description, image),
    visionRows: (embeds, images) => packedRows(embeds, images, hiddenSize),
  };
}

/** A graph that names its rows has to name those of the size it was exported for. */
function checkPackedRows(program: ProgramDescription | null, visionTokens: number): void {
  const rows = program?.outputs.find((port) => port.name.endsWith('vision_embeds'))?.dims.at(-2);
  if (typeof rows !== 'number' || rows === visionTokens) return;
  throw new VlmError('PROGRAM_INVALID', {
    what: 'The vision program was exported for another image size',
    expected: `${visionTokens} rows, those of ${GRANITE_VISION.width}×${GRANITE_VISION.height} px`,
    received: `${rows} rows`,
    where: 'vision_embeds',
    hint: 'export it with QEfficient’s own image size, or use the open kind (python -m vlm_export)',
  });
}

function refuseOptions(options: GeometryOptions, image: { readonly tiles: number }): void {
  const [given] = Object.entries(options).filter(([, value]) => value !== undefined);
  if (given === undefined) return;
  throw new VlmError('OPTION_INVALID', {
    what: `The exported vision program always takes ${image.tiles} tiles`,
    expected: 'min_tiles, max_tiles and use_thumbnail left out',
    received: `${given[0]}: ${String(given[1])}`,
    where: given[0],
    hint: 'leave the option out, or use an export of the open kind (python -m vlm_export)',
  });
}

/** What the processor writes into the prompt has to be what the vision tower makes of the same image. */
function checkAgreement(
  files: ModelFiles,
  config: Section,
  vision: Section,
  processor: ProcessorSettings,
  patches: number,
): void {
  const written: Section = { file: `${files.name}/processor_config.json`, values: files.processor ?? {} };
  const invalid = (where: string, what: string, expected: string, received: string): VlmError =>
    new VlmError('MODEL_INVALID', {
      what,
      expected,
      received,
      where,
      hint: 'take config.json, preprocessor_config.json and processor_config.json from the same model',
    });
  const side = readCount(vision, 'image_size');
  if (side !== processor.tileSize) {
    throw invalid(
      config.file,
      'The vision tower takes tiles of another size',
      `${processor.tileSize} px`,
      `${side} px`,
    );
  }
  const patch = readCount(written, 'patch_size', readCount(vision, 'patch_size'));
  const strategy = readText(
    written,
    'vision_feature_select_strategy',
    readText(config, 'vision_feature_select_strategy', 'default'),
  );
  // Tokens beside the patches: a class token that the processor counts, less the one that `default` drops.
  const beside = readNumber(written, 'num_additional_image_tokens', 0) - (strategy === 'default' ? 1 : 0);
  if (Math.floor(side / patch) !== patches || beside !== 0) {
    const rows = Math.floor(side / patch) ** 2 + beside;
    throw invalid(
      written.file,
      'The prompt would hold another number of image tokens than the vision tower makes',
      `${patches * patches} tokens for a tile`,
      `${rows} (patch_size ${patch}, strategy ${strategy}, ${beside} beside the patches)`,
    );
  }
  const own = config.values['image_grid_pinpoints'];
  if (own === undefined || own === null) return;
  if (JSON.stringify(readPinpoints(config, side)) !== JSON.stringify(processor.pinpoints)) {
    throw invalid(
      config.file,
      '`image_grid_pinpoints` of the model and of its image processor differ',
      JSON.stringify(processor.pinpoints).slice(0, 80),
      JSON.stringify(own).slice(0, 80),
    );
  }
}

function imageToken(files: ModelFiles): string {
  const named = namedToken(files.tokenizerConfig, 'image_token') ?? files.processor?.['image_token'];
  return typeof named === 'string' ? named : '<image>';
}
