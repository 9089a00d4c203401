import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ChatMessage, TextModel } from '../../src/contracts/node.js';
import { openModel } from '../../src/model/context.js';
import { imageOrder, placeImages, planPrompt } from '../../src/prompt/plan.js';
import { geometryOptions, preparePrompt, preparePromptSize } from '../../src/prompt/prepare.js';
import { packageRoot } from '../../src/util/package-root.js';
import { codeOf } from '../text/helpers.js';

const folder = join(packageRoot(), 'test', 'golden', 'text', 'internvl-chat-internvl2_5');
const model = await openModel({ path: folder });
const image = (index?: number) => ({ type: 'image', ...(index === undefined ? {} : { image: index }) }) as const;
const text = (words: string) => ({ type: 'text', text: words }) as const;
const user = (...content: readonly (ReturnType<typeof image> | ReturnType<typeof text>)[]): ChatMessage => ({
  role: 'user',
  content,
});

test('image parts without a number go on counting', () => {
  assert.equal(imageOrder([user(image(), text('a'), image())], 2), [0, 1]);
  assert.equal(imageOrder([user(image(1), image(0), image())], 2), [1, 0, 1]);
  assert.equal(imageOrder([{ role: 'user', content: 'words' }], 0), []);
});

test('parts without image and images without part are IMAGE_TOKENS_MISMATCH', () => {
  for (const [messages, count] of [
    [[user(image(2))], 2],
    [[user(image(0))], 2],
    [[user(image(-1))], 1],
    [[{ role: 'user', content: 'x' }], 1],
  ] as const) {
    assert.is(codeOf(() => imageOrder(messages, count)).code, 'IMAGE_TOKENS_MISMATCH');
  }
});

test('images that no message mentions go before the first user message', () => {
  const messages: readonly ChatMessage[] = [
    { role: 'system', content: 's' },
    { role: 'user', content: 'q' },
  ];
  assert.equal(placeImages(messages, 1, 1)[1]!.content, [{ type: 'image', image: 1 }, text('q')]);
  assert.is(placeImages(messages, 0, 0), messages);
});

test('only given options reach the geometry', () => {
  assert.equal(geometryOptions({ max_tiles: 4, min_tiles: undefined, system: 'x', use_thumbnail: false }), {
    max_tiles: 4,
    use_thumbnail: false,
  });
  assert.equal(geometryOptions(), {});
});

test('a placeholder in the words is a place for an image, and a word when there is none for it', () => {
  const word = preparePrompt(model, { prompt: 'What is <image>?', sizes: [] });
  assert.match(word.prompt.text, /What is <image>\?/);
  assert.not.match(word.prompt.text, /<IMG_CONTEXT>/);
  const placed = preparePrompt(model, { prompt: 'In <image>, what?', sizes: [{ width: 10, height: 10 }] });
  assert.match(placed.prompt.text, /In <img>(<IMG_CONTEXT>){256}<\/img>, what\?/);
});

test('a prompt that starts with the BOS gets no second one', () => {
  const seen: (boolean | undefined)[] = [];
  const fake = (start: string): TextModel => ({
    vocabSize: 10,
    bosToken: '<s>',
    encode: (_, options) => {
      seen.push(options?.addSpecialTokens);
      return Int32Array.of(1);
    },
    decode: () => '',
    tokenId: () => 5,
    render: () => `${start}words`,
    stream: () => ({ push: () => '', flush: () => '' }),
  });
  const { render: _, ...family } = model.family;
  planPrompt({ family, text: fake('<s>') }, [{ role: 'user', content: 'x' }], []);
  planPrompt({ family, text: fake('') }, [{ role: 'user', content: 'x' }], []);
  assert.equal(seen, [false, true]);
});

test('without a tokenizer the size is an upper bound of the exact one', async () => {
  const request = { prompt: 'Zwei große Kreise? 图片', sizes: [{ width: 300, height: 200 }] };
  const exact = preparePromptSize(model, request).prompt;
  assert.is(exact.exact, true);
  assert.equal(exact.ids, preparePrompt(model, request).prompt.ids);
  const bare = await openModel({ hub: 'OpenGVLab/InternVL2_5-1B' }, { env: { HF_HOME: packageRoot() } });
  const bound = preparePromptSize(bare, request).prompt;
  assert.is(bound.exact, false);
  assert.is(bound.visionTokens, exact.visionTokens);
  assert.is(bound.text, exact.text);
  assert.ok(bound.ids.length > exact.ids.length);
  // The stand-ins have their images where the text has them: what is in front and behind is counted in bytes.
  const words = bound.text.split(bare.family.imageToken).map((piece) => Buffer.byteLength(piece));
  const isImage = Array.from(bound.ids, (id) => id === bound.imageTokenId);
  assert.is(isImage.indexOf(true), words[0]);
  assert.is(isImage.filter(Boolean).length, exact.visionTokens);
  assert.is(isImage.length - 1 - isImage.lastIndexOf(true), words.at(-1));
});

test.run();
