/**
 * Everything between the inputs of a preprocess node and its tokens, from image sizes alone: planning calls this with
 * sizes read from file headers, running calls it with the same and then decodes the pixels.
 */
import type { GeometryOptions, ImageLayout } from '../contracts/family.js';
import type { ChatMessage, ModelContext } from '../contracts/node.js';
import {
  conversation,
  imageOrder,
  type PromptPlan,
  type PromptSize,
  placeImages,
  planPrompt,
  sizePrompt,
  withSystem,
} from './plan.js';

export interface PromptRequest {
  /** What to ask; leave out when `messages` are given. */
  readonly prompt?: string;
  /** A whole conversation; its image parts count the first `sizes`. */
  readonly messages?: readonly ChatMessage[];
  /** Sizes after EXIF orientation: images of the conversation first, then those of the image input. */
  readonly sizes: readonly { readonly width: number; readonly height: number }[];
  /** How many of `sizes` belong to the conversation. */
  readonly conversationImages?: number;
  /** Options of the preprocess node. */
  readonly options?: Readonly<Record<string, unknown>>;
}

export interface PreparedPrompt {
  readonly messages: readonly ChatMessage[];
  /** Index into `sizes` of each image of the prompt, in prompt order. */
  readonly order: readonly number[];
  /** Layouts in prompt order. */
  readonly layouts: readonly ImageLayout[];
  readonly prompt: PromptPlan;
}

function hasImageParts(messages: readonly ChatMessage[]): boolean {
  return messages.some(({ content }) => typeof content !== 'string' && content.some((part) => part.type === 'image'));
}

function assemble(request: PromptRequest): readonly ChatMessage[] {
  const { messages, sizes } = request;
  if (messages === undefined) return conversation(request.prompt ?? '', sizes.length);
  // Images that came with a conversation of words alone, and those of the image input, go before the first question.
  const placed = hasImageParts(messages) ? (request.conversationImages ?? sizes.length) : 0;
  return placeImages(messages, placed, sizes.length - placed);
}

/** The options that image geometry reads; undefined ones leave the model's own configuration in force. */
export function geometryOptions(options: Readonly<Record<string, unknown>> = {}): GeometryOptions {
  const { min_tiles, max_tiles, use_thumbnail } = options;
  return {
    ...(typeof min_tiles === 'number' ? { min_tiles } : {}),
    ...(typeof max_tiles === 'number' ? { max_tiles } : {}),
    ...(typeof use_thumbnail === 'boolean' ? { use_thumbnail } : {}),
  };
}

type PromptModel = Pick<ModelContext, 'family' | 'text'>;

function arrange(model: PromptModel, request: PromptRequest): Omit<PreparedPrompt, 'prompt'> {
  const system = request.options?.['system'];
  const messages = withSystem(model, assemble(request), typeof system === 'string' ? system : undefined);
  const order = imageOrder(messages, request.sizes.length);
  const geometry = geometryOptions(request.options);
  const layouts = order.flatMap((index) => {
    const size = request.sizes[index];
    return size === undefined ? [] : [model.family.layout(size.width, size.height, geometry)];
  });
  return { messages, order, layouts };
}

/** Throws what planPrompt, imageOrder and the family's layout throw. */
export function preparePrompt(model: PromptModel, request: PromptRequest): PreparedPrompt {
  const arranged = arrange(model, request);
  return { ...arranged, prompt: planPrompt(model, arranged.messages, arranged.layouts) };
}

/** The same for planning, where a missing tokenizer makes an upper bound of the exact number. */
export function preparePromptSize(
  model: PromptModel,
  request: PromptRequest,
): Omit<PreparedPrompt, 'prompt'> & { readonly prompt: PromptSize } {
  const arranged = arrange(model, request);
  return { ...arranged, prompt: sizePrompt(model, arranged.messages, arranged.layouts) };
}
