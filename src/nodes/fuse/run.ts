/** fuse: (text, image(s)) -> answer: boxes in pixels, clean text, structured output, an overlay picture. */
import { VlmError } from '../../contracts/errors.js';
import type { ItemResult, NodeContext, NodeInputs } from '../../contracts/node.js';
import type {
  AnswerValue,
  CompletionValue,
  GroundedBox,
  ImageValue,
  MessagesValue,
  PortValue,
  TextValue,
} from '../../contracts/ports.js';
import { readImageSize } from '../../image/decode.js';
import { imageOrder } from '../../prompt/plan.js';
import { GROUNDING_TAGS, parseGrounding } from './grounding.js';
import { type StructuredReader, structuredReader } from './structured.js';

export async function run(items: readonly NodeInputs[], context: NodeContext): Promise<readonly ItemResult[]> {
  const { schema } = context.options;
  const wanted = (typeof schema === 'object' && schema !== null) || typeof schema === 'boolean' ? schema : undefined;
  const reader = wanted === undefined ? null : await structuredReader(wanted);
  const results: ItemResult[] = [];
  for (const item of items) {
    context.checkCancelled();
    results.push(await runItem(item, reader, context));
  }
  return results;
}

async function runItem(item: NodeInputs, reader: StructuredReader | null, context: NodeContext): Promise<ItemResult> {
  try {
    return { ok: true, outputs: { answer: await fuse(item, reader, context) } };
  } catch (error) {
    if (error instanceof VlmError && isItemError(error)) return { ok: false, error: error.toData() };
    throw error;
  }
}

function isItemError({ code }: VlmError): boolean {
  return code.startsWith('IMAGE_') || code === 'INPUT_MISSING' || code === 'OPTION_INVALID';
}

async function fuse(item: NodeInputs, reader: StructuredReader | null, context: NodeContext): Promise<AnswerValue> {
  const completion = textInput(item);
  const pictures = picturesOf(item);
  const number = imageNumber(context, pictures);
  const image = pictures.images[number - 1];
  const source = await markedText(completion, context);
  const exif = context.options['exif_orientation'] !== false;
  // Without a picture there are no pixels to map to: the markup stays readable in the text.
  const { text, boxes } =
    image === undefined
      ? { text: completion.text, boxes: [] }
      : parseGrounding(source, readImageSize(image.bytes, { name: image.name, exif }), number - 1);
  if (boxes.length > 0) tellWhich(context, pictures.images.length, number);
  if (image === undefined) tellUndrawn(context);
  const overlay =
    image === undefined ? undefined : await drawn(image, number - 1, boxes, exif, context.options['overlay']);
  return {
    kind: 'answer',
    text: boxes.length === 0 ? completion.text : text,
    boxes,
    ...(reader === null ? {} : { json: reader(completion.text) }),
    ...(overlay === undefined ? {} : { overlay }),
    ...(completion.kind === 'completion' ? { finish: completion.finish } : {}),
  };
}

/** The images of a prompt, and which of them an answer is about when nobody says. */
interface Pictures {
  readonly images: readonly ImageValue[];
  /** Counted from 1. */
  readonly asked: number;
}

function picturesOf(item: NodeInputs): Pictures {
  const values = list(item['image']);
  const conversation = values.find((value): value is MessagesValue => value.kind === 'messages');
  if (conversation !== undefined) return { images: conversation.images, asked: lastShown(conversation) };
  return { images: values.filter((value): value is ImageValue => value.kind === 'image'), asked: 1 };
}

/** The first image of the last message that shows any: later turns may ask about a new picture. */
function lastShown({ messages, images }: MessagesValue): number {
  const shown = messages.map(({ content }) =>
    typeof content === 'string' ? 0 : content.filter((part) => part.type === 'image').length,
  );
  const last = shown.findLastIndex((count) => count > 0);
  if (last < 0) return 1;
  const before = shown.slice(0, last).reduce((n, count) => n + count, 0);
  return (imageOrder(messages, images.length)[before] ?? 0) + 1;
}

/** Counted from 1. None of the images is meant where there are none. */
function imageNumber({ options }: NodeContext, { images, asked }: Pictures): number {
  const number = typeof options['image'] === 'number' ? options['image'] : asked;
  if (images.length === 0 || images.length >= number) return number;
  throw new VlmError('OPTION_INVALID', {
    what: 'Boxes are to refer to an image that the prompt does not have',
    expected: images.length === 1 ? '`image: 1`, the only one' : `\`image\` from 1 to ${images.length}`,
    received: `\`image: ${number}\``,
    where: 'option `image`',
  });
}

function tellWhich(context: NodeContext, count: number, number: number): void {
  if (count < 2 || typeof context.options['image'] === 'number') return;
  context.notice?.(
    `boxes are taken to be of image ${number} of ${count}: the text does not say which; the option \`image\` of "${context.node}" names another`,
  );
}

function tellUndrawn(context: NodeContext): void {
  const { overlay } = context.options;
  if (overlay === 'png' || overlay === 'svg') {
    context.notice?.(`no overlay is drawn: "${context.node}" was given no image`);
  }
}

function textInput(item: NodeInputs): TextValue | CompletionValue {
  const [value] = list(item['text']);
  if (value?.kind === 'text' || value?.kind === 'completion') return value;
  throw new VlmError('INPUT_MISSING', {
    what: 'There is no text to read',
    expected: 'a text or a completion at the port `text`',
    received: value === undefined ? 'nothing' : value.kind,
    hint: 'connect `text` of the fuse node to a decode node',
  });
}

function list(value: PortValue | readonly PortValue[] | undefined): readonly PortValue[] {
  if (value === undefined) return [];
  return isList(value) ? value : [value];
}

function isList(value: PortValue | readonly PortValue[]): value is readonly PortValue[] {
  return Array.isArray(value);
}

/** The text with grounding tags: some models make them special tokens, which the plain text leaves out. */
async function markedText(completion: TextValue | CompletionValue, context: NodeContext): Promise<string> {
  if (completion.kind === 'text' || completion.text.includes('<box>') || !completion.rawText.includes('<box>')) {
    return completion.text;
  }
  const { text } = await context.model();
  const dropped = (text.specialTokens ?? []).filter((token) => !GROUNDING_TAGS.has(token));
  return dropped.reduce((rest, token) => rest.replaceAll(token, ''), completion.rawText);
}

async function drawn(
  image: ImageValue,
  index: number,
  boxes: readonly GroundedBox[],
  exif: boolean,
  wanted: unknown,
): Promise<AnswerValue['overlay']> {
  const format = wanted === 'auto' ? (boxes.length > 0 ? 'png' : undefined) : wanted;
  if (format !== 'png' && format !== 'svg') return undefined;
  const { drawOverlay } = await import('../../image/draw.js');
  return { format, bytes: await drawOverlay(image.bytes, boxes, { format, exif, image: index }) };
}
