import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { FamilyModel, ModelFiles } from '../../../src/contracts/family.js';
import type { ChatMessage } from '../../../src/contracts/node.js';
import { familyFor } from '../../../src/families/index.js';
import { packageRoot } from '../../../src/util/package-root.js';
import { codeOf } from '../../text/helpers.js';

type Json = Record<string, unknown>;
const golden = join(packageRoot(), 'test', 'golden', 'text');

function read(folder: string): ModelFiles & { readonly config: Json; readonly preprocessor: Json } {
  const json = (name: string): Json => JSON.parse(readFileSync(join(golden, folder, name), 'utf8'));
  return {
    name: folder,
    config: json('config.json'),
    preprocessor: json('preprocessor_config.json'),
    processor: folder === 'internvl-hf' ? json('processor_config.json') : null,
    generation: folder === 'internvl-hf' ? json('generation_config.json') : null,
    tokenizerConfig: json('tokenizer_config.json'),
    chatTemplate: null,
  };
}

const hf = read('internvl-hf');
const chat = read('internvl-chat-internvl2_5');
const open = (files: ModelFiles): FamilyModel => familyFor(files).configure(files);
const withPixels = (change: Json): ModelFiles => ({ ...hf, preprocessor: { ...hf.preprocessor, ...change } });
const withConfig = (files: ModelFiles & { readonly config: Json }, change: Json): ModelFiles => ({
  ...files,
  config: { ...files.config, ...change },
});

test('traits of the transformers layout', () => {
  const model = open(hf);
  assert.is(model.hiddenSize, 896);
  assert.is(model.textLayers, 24);
  assert.is(model.maxPositions, 32768);
  assert.is(model.imagePlaceholder, '<IMG_CONTEXT>');
  assert.equal(model.eosTokenIds, [hf.generation?.['eos_token_id']].flat());
  assert.equal(model.normalization, {
    rescale: 1 / 255,
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    arithmetic: 'fused',
  });
  assert.is(model.expandImage(model.layout(448, 448, {})), `<img>${'<IMG_CONTEXT>'.repeat(256)}</img>`);
});

test('traits of the OpenGVLab layout', () => {
  const model = open(chat);
  assert.is(model.hiddenSize, 896);
  assert.is(model.imagePlaceholder, '\uFFFC<image>\uFFFC');
  assert.is(model.normalization.arithmetic, 'divide-then-normalize');
  const added = chat.tokenizerConfig?.['added_tokens_decoder'] as Record<string, { readonly content: string }>;
  const end = Object.keys(added).find((id) => added[id]!.content === '<|im_end|>');
  assert.equal(model.eosTokenIds, [Number(end)]);
});

test('tiling limits come from the configuration and give way to the recipe', () => {
  for (const files of [hf, chat]) {
    const model = open(files);
    assert.is(model.layout(1200, 900, {}).tiles, 13);
    assert.is(model.layout(1200, 900, { max_tiles: 4 }).tiles, 5);
    assert.is(model.layout(1200, 900, { max_tiles: 4, use_thumbnail: false }).tiles, 4);
    assert.is(model.layout(1200, 900, { max_tiles: 1 }).tiles, 1);
    assert.ok(model.layout(400, 400, { min_tiles: 6, max_tiles: 9 }).tiles >= 7);
  }
  assert.is(open(withPixels({ max_patches: 2 })).layout(1200, 900, {}).tiles, 1);
  assert.is(open(withConfig(chat, { dynamic_image_size: false })).layout(1200, 900, {}).tiles, 1);
  assert.is(open(withConfig(chat, { use_thumbnail: false })).layout(1200, 900, {}).tiles, 12);
  // A recipe's maximum below the model's minimum is no contradiction.
  assert.is(open(withPixels({ min_patches: 4 })).layout(1200, 900, { max_tiles: 2 }).tiles, 3);
});

test('crop_to_patches of the file does not count: the reference processor always cuts', () => {
  assert.is(hf.preprocessor['crop_to_patches'], false);
  assert.is(open(hf).layout(1200, 900, {}).tiles, 13);
});

test('processor settings that change pixels are honoured', () => {
  assert.equal(open(withPixels({ do_normalize: false })).normalization, {
    rescale: 1 / 255,
    mean: [0, 0, 0],
    std: [1, 1, 1],
  });
  assert.is(open(withPixels({ do_rescale: false })).normalization.rescale, 1);
  assert.is(open(withPixels({ rescale_factor: 0.5 })).normalization.rescale, 0.5);
  assert.equal(open(withPixels({ image_mean: 0.5 })).normalization.mean, [0.5, 0.5, 0.5]);
  assert.is(open(withPixels({ resample: 2 })).layout(9, 9, {}).views[0]!.resize.filter, 'bilinear');
  const pil = open(withPixels({ image_processor_type: 'GotOcr2ImageProcessorPil' }));
  assert.is(pil.normalization.arithmetic, 'rescale-then-normalize');
  const small = {
    ...hf,
    processor: { image_seq_length: 64 },
    preprocessor: { ...hf.preprocessor, size: { height: 224, width: 224 } },
  };
  assert.is(open(small).layout(9, 9, {}).visionTokens, 64);
});

test('settings nested in processor_config.json win over the old file', () => {
  const nested = { ...hf, processor: { ...hf.processor, image_processor: { ...hf.preprocessor, max_patches: 2 } } };
  assert.is(open(nested).layout(1800, 900, {}).tiles, 3);
  assert.is(open({ ...nested, preprocessor: null }).layout(1800, 900, {}).tiles, 3);
});

test('what cannot be honoured is PROCESSOR_UNSUPPORTED', () => {
  const refused: readonly Json[] = [
    { image_processor_type: 'Qwen2VLImageProcessor' },
    { image_processor_type: undefined },
    { do_convert_rgb: false },
    { size: { shortest_edge: 448 } },
    { size: { height: 448, width: 224 } },
    { resample: 9 },
    { data_format: 'channels_last' },
  ];
  for (const change of refused) {
    const error = codeOf(() => open(withPixels(change)));
    assert.is(error.code, 'PROCESSOR_UNSUPPORTED', JSON.stringify(change));
    assert.match(error.message, 'preprocessor_config.json');
  }
  assert.match(codeOf(() => open(withPixels({ image_processor_type: 'X' }))).message, 'GotOcr2ImageProcessor');
  assert.is(
    codeOf(() => open({ ...hf, processor: { processor_class: 'LlavaProcessor' } })).code,
    'PROCESSOR_UNSUPPORTED',
  );
  assert.is(codeOf(() => open({ ...chat, preprocessor: { image_processor_type: 'X' } })).code, 'PROCESSOR_UNSUPPORTED');
});

test('configurations that contradict themselves or lack something are MODEL_INVALID and name file and key', () => {
  const broken: readonly (readonly [ModelFiles, string])[] = [
    [withConfig(hf, { text_config: null }), 'text_config'],
    [withConfig(hf, { vision_config: { patch_size: 'x' } }), 'patch_size'],
    [withConfig(hf, { text_config: { hidden_size: 896 } }), 'num_hidden_layers'],
    [{ ...hf, processor: { image_seq_length: 100 } }, 'image_seq_length'],
    [{ ...hf, preprocessor: null }, 'preprocessor_config.json'],
    [withPixels({ image_mean: [1, 2] }), 'image_mean'],
    [withPixels({ min_patches: 0 }), 'min_patches'],
    [withConfig(chat, { llm_config: undefined }), 'llm_config'],
    [withConfig(chat, { template: 4 }), 'template'],
    [withConfig(chat, { force_image_size: [448, 224] }), 'force_image_size'],
  ];
  for (const [files, key] of broken) {
    const error = codeOf(() => open(files));
    assert.is(error.code, 'MODEL_INVALID', key);
    assert.match(error.message, key);
  }
});

test('conversation templates and padding that are not known are MODEL_UNSUPPORTED', () => {
  for (const change of [{ template: 'vicuna_v1.1' }, { template: 'toString' }, { pad2square: true }]) {
    assert.is(codeOf(() => open(withConfig(chat, change))).code, 'MODEL_UNSUPPORTED');
  }
});

test('end tokens: the separator of the template, else what the configuration says', () => {
  const plain = { ...chat, tokenizerConfig: null };
  assert.equal(open({ ...plain, generation: { eos_token_id: [1, 2] } }).eosTokenIds, [1, 2]);
  assert.equal(
    open(withConfig(plain, { llm_config: { ...(chat.config['llm_config'] as Json), eos_token_id: 7 } })).eosTokenIds,
    [7],
  );
  assert.equal(open(plain).eosTokenIds, []);
  assert.is(open({ ...hf, generation: null }).eosTokenIds.length, 1);
});

test('OpenGVLab messages: a text may place its images itself; the places are told apart from the word', () => {
  const model = open(chat);
  const place = model.imagePlaceholder;
  const image = { type: 'image' } as const;
  const [, placed] = model.prepareMessages([
    { role: 'user', content: [image, { type: 'text', text: 'See <image> there' }] },
  ]);
  assert.is(placed!.content, `See ${place} there`);
  const [, inline] = model.prepareMessages([{ role: 'user', content: [{ type: 'text', text: 'See ' }, image] }]);
  assert.is(inline!.content, `See ${place}\n`);
  const own = model.prepareMessages([
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Hi' },
  ]);
  assert.equal(
    own.map((m) => m.role),
    ['system', 'user'],
  );
  assert.is(
    codeOf(() => model.render?.([{ role: 'tool', content: 'x' }], { addGenerationPrompt: true })).code,
    'TEMPLATE_INVALID',
  );
});

test('OpenGVLab messages: a word before a picture does not take its place, as it would in chat() of the published code', () => {
  const model = open(chat);
  const place = model.imagePlaceholder;
  const image = { type: 'image' } as const;
  const contents = (messages: readonly ChatMessage[]) => model.prepareMessages(messages).map((m) => m.content);
  assert.equal(
    contents([
      { role: 'system', content: 'A picture is <image>.' },
      { role: 'user', content: 'What does <image> mean?' },
      { role: 'assistant', content: '<image> is a tag.' },
      { role: 'user', content: [image, { type: 'text', text: 'And this?' }] },
    ]),
    ['A picture is <image>.', 'What does <image> mean?', '<image> is a tag.', `${place}\nAnd this?`],
  );
  // Fewer words than pictures place nothing: the parts do.
  assert.is(
    contents([{ role: 'user', content: [{ type: 'text', text: 'Two <image>:\n' }, image, image] }])[1],
    `Two <image>:\nImage-1: ${place}\nImage-2: ${place}\n`,
  );
});

test.run();
