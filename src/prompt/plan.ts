/** A conversation and the layouts of its images -> the prompt's text and token ids. Planning and running share this. */
import { VlmError } from '../contracts/errors.js';
import type { ImageLayout } from '../contracts/family.js';
import type { ChatMessage, ModelContext } from '../contracts/node.js';
import type { ImageInfo } from '../contracts/ports.js';

export interface PromptPlan {
  /** The rendered prompt with image tokens expanded. */
  readonly text: string;
  readonly ids: Int32Array;
  /** How many of `ids` are the image token. */
  readonly visionTokens: number;
  readonly imageTokenId: number;
}

type PromptModel = Pick<ModelContext, 'family' | 'text'>;

/** A prompt as a conversation: the images first, then the words. */
export function conversation(prompt: string, imageCount: number): readonly ChatMessage[] {
  if (imageCount === 0) return [{ role: 'user', content: prompt }];
  const images = Array.from({ length: imageCount }, (_, image) => ({ type: 'image', image }) as const);
  return [{ role: 'user', content: [...images, { type: 'text', text: prompt }] }];
}

/**
 * Which image each image part stands for, in prompt order. A part without a number stands for the image after the one
 * before it. Throws IMAGE_TOKENS_MISMATCH when a part has no image, or an image no part.
 */
export function imageOrder(messages: readonly ChatMessage[], imageCount: number): readonly number[] {
  const order: number[] = [];
  let next = 0;
  for (const { content } of messages) {
    if (typeof content === 'string') continue;
    for (const part of content) {
      if (part.type !== 'image') continue;
      const image = part.image ?? next;
      order.push(image);
      next = image + 1;
    }
  }
  const used = new Set(order);
  const stray = order.find((image) => !Number.isInteger(image) || image < 0 || image >= imageCount);
  const unused = Array.from({ length: imageCount }, (_, i) => i).find((i) => !used.has(i));
  if (stray !== undefined || unused !== undefined) {
    throw new VlmError('IMAGE_TOKENS_MISMATCH', {
      what: stray === undefined ? `Image ${unused} is in no message` : `A message names image ${stray}`,
      expected: `image parts for the ${imageCount} image${imageCount === 1 ? '' : 's'} given, counted from 0`,
      received: order.length === 0 ? 'no image part' : `parts for images ${order.join(', ')}`,
      hint: 'give each image of the conversation one part of type image',
    });
  }
  return order;
}

/** Puts images that no message mentions in front of the first user message. */
export function placeImages(messages: readonly ChatMessage[], first: number, count: number): readonly ChatMessage[] {
  const at = messages.findIndex((message) => message.role === 'user');
  if (count === 0 || at < 0) return messages;
  const images = Array.from({ length: count }, (_, i) => ({ type: 'image', image: first + i }) as const);
  return messages.map((message, i) => {
    if (i !== at) return message;
    const rest =
      typeof message.content === 'string' ? [{ type: 'text', text: message.content } as const] : message.content;
    return { role: message.role, content: [...images, ...rest] };
  });
}

function render(model: PromptModel, messages: readonly ChatMessage[], addGenerationPrompt: boolean): string {
  const prepared = model.family.prepareMessages(messages);
  return model.family.render === undefined
    ? model.text.render(prepared, { addGenerationPrompt })
    : model.family.render(prepared, { addGenerationPrompt });
}

/**
 * Replaces the system message. undefined keeps the conversation; an empty string leaves the message out where the
 * template then writes none, and empties it where the template would put in its own.
 */
export function withSystem(
  model: PromptModel,
  messages: readonly ChatMessage[],
  system: string | undefined,
): readonly ChatMessage[] {
  if (system === undefined) return messages;
  const rest = messages.filter((message) => message.role !== 'system');
  const message = { role: 'system', content: system };
  if (system !== '') return [message, ...rest];
  const probe: readonly ChatMessage[] = [{ role: 'user', content: '.' }];
  const adds = render(model, probe, false).length > render(model, [message, ...probe], false).length;
  return adds ? [message, ...rest] : rest;
}

/** Renders the conversation and puts the tokens of its images in. Throws TEMPLATE_INVALID, IMAGE_TOKENS_MISMATCH. */
function expandedPrompt(
  model: PromptModel,
  messages: readonly ChatMessage[],
  layouts: readonly (ImageLayout | ImageInfo)[],
): string {
  const { family } = model;
  const pieces = render(model, messages, true).split(family.imagePlaceholder);
  const places = pieces.length - 1;
  if (places !== layouts.length) throw mismatch(family.imagePlaceholder, layouts.length, places);
  return pieces.map((piece, i) => piece + (layouts[i] === undefined ? '' : family.expandImage(layouts[i]))).join('');
}

/**
 * Renders, expands and tokenizes. `layouts` are those of the images in prompt order (see imageOrder). Throws
 * TEMPLATE_INVALID, TOKENIZER_INVALID, and IMAGE_TOKENS_MISMATCH when text and images do not agree.
 */
export function planPrompt(
  model: PromptModel,
  messages: readonly ChatMessage[],
  layouts: readonly (ImageLayout | ImageInfo)[],
): PromptPlan {
  const { family, text: tokenizer } = model;
  const text = expandedPrompt(model, messages, layouts);
  // As the reference does: a template that writes the BOS itself gets no second one.
  const addSpecialTokens = tokenizer.bosToken === undefined || !text.startsWith(tokenizer.bosToken);
  const ids = tokenizer.encode(text, { addSpecialTokens });
  const imageTokenId = tokenizer.tokenId(family.imageToken);
  if (imageTokenId === undefined && layouts.length > 0) {
    throw new VlmError('TOKENIZER_INVALID', {
      what: 'The tokenizer does not know the image token',
      expected: `a token ${JSON.stringify(family.imageToken)}`,
      received: 'none',
      hint: 'take tokenizer.json and tokenizer_config.json from the same model',
    });
  }
  const visionTokens = imageTokenId === undefined ? 0 : ids.reduce((n, id) => n + (id === imageTokenId ? 1 : 0), 0);
  const expected = layouts.reduce((n, layout) => n + layout.visionTokens, 0);
  if (visionTokens !== expected) throw mismatch(family.imageToken, expected, visionTokens);
  return { text, ids, visionTokens, imageTokenId: imageTokenId ?? -1 };
}

function mismatch(token: string, expected: number, received: number): VlmError {
  return new VlmError('IMAGE_TOKENS_MISMATCH', {
    what: `The prompt holds another number of ${token} than its images need`,
    expected: String(expected),
    received: String(received),
    hint: `do not write ${token} in a prompt, unless once for each image where the model allows it`,
  });
}

/** How long a prompt is; `exact` is false when there was no tokenizer to count with. */
export interface PromptSize extends PromptPlan {
  readonly exact: boolean;
}

/**
 * The size of a prompt for planning. Without a tokenizer (MODEL_MISSING) it is an upper bound: a byte-level tokenizer
 * makes no more tokens than there are bytes.
 */
export function sizePrompt(
  model: PromptModel,
  messages: readonly ChatMessage[],
  layouts: readonly (ImageLayout | ImageInfo)[],
): PromptSize {
  try {
    return { ...planPrompt(model, messages, layouts), exact: true };
  } catch (error) {
    if (!(error instanceof VlmError) || error.code !== 'MODEL_MISSING') throw error;
    const text = expandedPrompt(model, messages, layouts);
    const visionTokens = layouts.reduce((n, layout) => n + layout.visionTokens, 0);
    return { text, ...standIns(model, text), visionTokens, exact: false };
  }
}

/** Ids in place of those that a tokenizer would give: nothing but how many, and which of them are images. */
function standIns({ family, text: tokenizer }: PromptModel, text: string): Pick<PromptPlan, 'ids' | 'imageTokenId'> {
  const imageTokenId = 1;
  const bos = tokenizer.bosToken === undefined ? 0 : 1;
  const words = text.split(family.imageToken).map((piece) => new TextEncoder().encode(piece).length);
  const ids = new Int32Array(bos + words.reduce((n, length) => n + length, words.length - 1));
  let at = bos;
  for (const length of words.slice(0, -1)) {
    ids[at + length] = imageTokenId;
    at += length + 1;
  }
  return { ids, imageTokenId };
}
