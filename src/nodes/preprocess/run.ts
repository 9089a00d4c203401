/** preprocess: (image(s), prompt | messages) -> (pixels float32 [tiles, 3, S, S], tokens int32 [prompt_len]). */
import { createHash } from 'node:crypto';
import { VlmError } from '../../contracts/errors.js';
import type { FamilyModel, ImageLayout } from '../../contracts/family.js';
import type { ItemResult, ModelContext, NodeContext, NodeInputs, NodeOutputs } from '../../contracts/node.js';
import type {
  ImageInfo,
  ImageValue,
  MessagesValue,
  PixelsValue,
  PortValue,
  TokensValue,
} from '../../contracts/ports.js';
import { tensor } from '../../contracts/tensor.js';
import { type DecodeOptions, decodeImage, readImageSize } from '../../image/decode.js';
import { loadKernels } from '../../image/native.js';
import { PREPROCESSING_VERSION } from '../../image/preprocessing-version.js';
import { normalizationTable, tileElements, writeTiles } from '../../image/tiles.js';
import { type PreparedPrompt, type PromptRequest, preparePrompt } from '../../prompt/prepare.js';

export async function run(items: readonly NodeInputs[], context: NodeContext): Promise<readonly ItemResult[]> {
  const model = await context.model();
  const started = performance.now();
  void model.text.vocabSize;
  context.span('load', started);
  const results: ItemResult[] = [];
  for (const [index, item] of items.entries()) {
    context.checkCancelled();
    results.push(await runItem(item, model, context));
    if (items.length > 1) context.progress(index + 1, items.length, 'items');
  }
  return results;
}

/** An item whose inputs are unusable fails alone; a broken model or a cancelled run ends the node. */
async function runItem(item: NodeInputs, model: ModelContext, context: NodeContext): Promise<ItemResult> {
  try {
    return { ok: true, outputs: await preprocess(item, model, context) };
  } catch (error) {
    if (error instanceof VlmError && isItemError(error)) return { ok: false, error: error.toData() };
    throw error;
  }
}

function isItemError(error: VlmError): boolean {
  return (
    error.code.startsWith('IMAGE_') ||
    error.code.startsWith('INPUT_') ||
    error.code === 'TEMPLATE_INVALID' ||
    error.code === 'OPTION_INVALID'
  );
}

async function preprocess(item: NodeInputs, model: ModelContext, context: NodeContext): Promise<NodeOutputs> {
  const started = performance.now();
  const decoding = decodeOptions(context.options);
  const { images, ...words } = readInputs(item);
  const request: PromptRequest = {
    ...words,
    sizes: images.map((image) => readImageSize(image.bytes, { ...decoding, name: image.name })),
    options: context.options,
  };
  const prepared = preparePrompt(model, request);
  context.span('preprocess', started);
  const pixels = await readPixels(images, prepared, model.family, decoding, context);
  const { ids, text, imageTokenId, visionTokens } = prepared.prompt;
  const tokens: TokensValue = { kind: 'tokens', ids, text, imageTokenId, visionTokens };
  return { pixels, tokens };
}

function decodeOptions(options: Readonly<Record<string, unknown>>): DecodeOptions {
  const { max_pixels, exif_orientation } = options;
  return {
    ...(typeof max_pixels === 'number' ? { maxPixels: max_pixels } : {}),
    ...(typeof exif_orientation === 'boolean' ? { exif: exif_orientation } : {}),
  };
}

type Words = Pick<PromptRequest, 'prompt' | 'messages' | 'conversationImages'>;

function readInputs(item: NodeInputs): Words & { readonly images: readonly ImageValue[] } {
  const given = list(item['image']).filter((value): value is ImageValue => value.kind === 'image');
  const [messages] = list(item['messages']).filter((value): value is MessagesValue => value.kind === 'messages');
  if (messages !== undefined) {
    return {
      messages: messages.messages,
      conversationImages: messages.images.length,
      images: [...messages.images, ...given],
    };
  }
  const [prompt] = list(item['prompt']);
  if (prompt === undefined || (prompt.kind !== 'text' && prompt.kind !== 'completion')) {
    throw new VlmError('INPUT_MISSING', {
      what: 'There is nothing to ask',
      expected: 'a `prompt` or `messages`',
      received: 'neither',
      hint: 'connect `prompt` or `messages` of the preprocess node',
    });
  }
  return { prompt: prompt.text, images: given };
}

function list(value: PortValue | readonly PortValue[] | undefined): readonly PortValue[] {
  if (value === undefined) return [];
  return isList(value) ? value : [value];
}

function isList(value: PortValue | readonly PortValue[]): value is readonly PortValue[] {
  return Array.isArray(value);
}

function imageInfo(image: ImageValue, layout: ImageLayout): ImageInfo {
  const { width, height, grid, tiles, visionTokens } = layout;
  return { name: image.name, width, height, grid, tiles, visionTokens };
}

/** Decodes each image once and writes its tiles where the prompt wants them: one picture in memory at a time. */
async function readPixels(
  images: readonly ImageValue[],
  { order, layouts }: PreparedPrompt,
  family: FamilyModel,
  decoding: DecodeOptions,
  context: NodeContext,
): Promise<PixelsValue> {
  const [first] = layouts;
  if (first === undefined) return { kind: 'pixels', tensor: null, images: [] };
  const offsets: number[] = [];
  let total = 0;
  for (const layout of layouts) {
    offsets.push(total);
    total += tileElements(layout);
  }
  const output = new Float32Array(total);
  const table = normalizationTable(family.normalization);
  const { kernels } = loadKernels({ notice: (message) => context.notice?.(message) });
  for (const [index, image] of images.entries()) {
    context.checkCancelled();
    const decodeStart = performance.now();
    const picture = await decodeImage(image.bytes, { ...decoding, name: image.name });
    const tileStart = performance.now();
    context.span('image decode', decodeStart, tileStart);
    for (const [place, used] of order.entries()) {
      const layout = layouts[place];
      if (used === index && layout !== undefined) {
        writeTiles(picture, layout, table, kernels, output, offsets[place]);
      }
    }
    context.span('preprocess', tileStart);
  }
  const tiles = layouts.reduce((n, layout) => n + layout.tiles, 0);
  const infos = order.flatMap((index, place) => {
    const image = images[index];
    const layout = layouts[place];
    return image === undefined || layout === undefined ? [] : [imageInfo(image, layout)];
  });
  const { width, height } = first.tileSize;
  const key = context.embeddings === undefined ? undefined : contentKey(images, { order, layouts }, family, decoding);
  return {
    kind: 'pixels',
    tensor: tensor('float32', [tiles, 3, height, width], output),
    images: infos,
    ...(key === undefined ? {} : { key }),
  };
}

/** Of everything that the pixels depend on: the pictures' bytes, their order, and how they are cut and normalised. */
function contentKey(
  images: readonly ImageValue[],
  { order, layouts }: Pick<PreparedPrompt, 'order' | 'layouts'>,
  family: FamilyModel,
  decoding: DecodeOptions,
): string {
  const hash = createHash('sha256');
  const how = [PREPROCESSING_VERSION, family.family, family.normalization, decoding, order, layouts];
  hash.update(`${JSON.stringify(how)}\n`);
  for (const { bytes } of images) hash.update(createHash('sha256').update(bytes).digest());
  return hash.digest('hex');
}
