/** The `internvl_chat` layout: OpenGVLab's own folders, whose settings live in config.json. */
import { VlmError } from '../../contracts/errors.js';
import type { FamilyModel, ModelFiles } from '../../contracts/family.js';
import {
  readCount,
  readFlag,
  readIds,
  readNumber,
  readSection,
  readSide,
  readText,
  type Section,
} from '../shared/read.js';
import { addedTokenId } from '../shared/tokens.js';
import { layoutWith, sharedTraits, textFacts, tokensPerTile } from './common.js';
import {
  CONVERSATIONS,
  type ConversationTemplate,
  PLACEHOLDER,
  renderConversation,
  writeMessages,
} from './conversation.js';
import { readChatNormalization } from './processor.js';
import { internvlSymbols } from './symbols.js';

const TOKENS = { start: '<img>', context: '<IMG_CONTEXT>', end: '</img>' };

export function configureChat(files: ModelFiles): FamilyModel {
  const config: Section = { file: `${files.name}/config.json`, values: files.config };
  const vision = readSection(config, 'vision_config');
  const text = readSection(config, 'llm_config');
  const template = conversation(config);
  const tileSize =
    config.values['force_image_size'] == null ? readSide(vision, 'image_size') : readSide(config, 'force_image_size');
  const perTile = tokensPerTile(tileSize, readSide(vision, 'patch_size'), readNumber(config, 'downsample_ratio', 0.5));
  const tiling = readTiling(config, tileSize, perTile);
  const preprocessor = files.preprocessor;
  return {
    family: 'internvl',
    facts: {
      layout: 'OpenGVLab (internvl_chat)',
      'image processor': 'dynamic tiling of the model’s own code',
      tiles: `${tiling.minTiles} to ${tiling.maxTiles} of ${tileSize} px${tiling.useThumbnail ? ', and a thumbnail when several' : ''}`,
      'tokens a tile': perTile,
      'conversation template': readText(config, 'template'),
      ...textFacts(text),
    },
    ...sharedTraits(text, TOKENS),
    normalization: readChatNormalization(
      preprocessor === null ? null : { file: `${files.name}/preprocessor_config.json`, values: preprocessor },
    ),
    imagePlaceholder: PLACEHOLDER,
    eosTokenIds: eosIds(files, template, text),
    tiling,
    programSymbols: internvlSymbols(tileSize, perTile),
    layout: layoutWith(tiling),
    prepareMessages: (messages) => writeMessages(messages, template.system),
    render: (messages, { addGenerationPrompt }) =>
      renderConversation(template, messages, addGenerationPrompt, config.file),
  };
}

function readTiling(config: Section, tileSize: number, imageTokens: number) {
  if (readFlag(config, 'pad2square', false)) {
    throw new VlmError('MODEL_UNSUPPORTED', {
      what: 'Models that pad images to a square (InternVL 1) are not supported',
      expected: '`pad2square: false`',
      received: '`pad2square: true`',
      where: config.file,
      hint: 'use InternVL 2 or later',
    });
  }
  const dynamic = readFlag(config, 'dynamic_image_size', false);
  return {
    variant: 'opengvlab',
    tileSize,
    filter: 'bicubic',
    minTiles: dynamic ? readCount(config, 'min_dynamic_patch', 1) : 1,
    maxTiles: dynamic ? readCount(config, 'max_dynamic_patch', 6) : 1,
    useThumbnail: readFlag(config, 'use_thumbnail', false),
    imageTokens,
  } as const;
}

function conversation(config: Section): ConversationTemplate {
  const name = readText(config, 'template');
  const template = Object.hasOwn(CONVERSATIONS, name) ? CONVERSATIONS[name] : undefined;
  if (template === undefined) {
    throw new VlmError('MODEL_UNSUPPORTED', {
      what: 'The model’s conversation template is not known',
      expected: Object.keys(CONVERSATIONS).join(', '),
      received: JSON.stringify(name),
      where: config.file,
      hint: 'models of InternVL 2 and later name one of these in `template`',
    });
  }
  return template;
}

/** The reference stops at the template's separator token and at no other. */
function eosIds(files: ModelFiles, template: ConversationTemplate, text: Section): readonly number[] {
  const id = addedTokenId(files.tokenizerConfig, template.separator.trim());
  if (id !== undefined) return [id];
  const generation =
    files.generation === null ? undefined : { file: `${files.name}/generation_config.json`, values: files.generation };
  return readIds(generation, 'eos_token_id') ?? readIds(text, 'eos_token_id') ?? [];
}
