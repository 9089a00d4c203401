/** Conversations as JSON or YAML -> chat messages and the images that their parts name. */
import { VlmError } from '../../contracts/errors.js';
import type { ChatMessage, ContentPart } from '../../contracts/node.js';
import { type ImageValue, type MessagesValue, PICTURE_KEYS } from '../../contracts/ports.js';

export type LoadImage = (place: string) => Promise<ImageValue>;

/** Parses the text of a conversation file: JSON, or YAML. */
export async function parseMessages(text: string, input: string): Promise<unknown> {
  try {
    return JSON.parse(text);
  } catch {
    const { parse } = await import('yaml');
    try {
      return parse(text, { maxAliasCount: 100, logLevel: 'error' });
    } catch (cause) {
      throw new VlmError('INPUT_UNREADABLE', {
        what: 'A conversation is neither JSON nor YAML',
        expected: 'a list of messages, each with role and content',
        where: `input "${input}"`,
        hint: 'give a file of it, or a plain question to an input of type text',
        cause,
      });
    }
  }
}

/** Accepts a list of messages, or an object with one under `messages`. */
export async function readMessages(value: unknown, input: string, loadImage: LoadImage): Promise<MessagesValue> {
  const list: unknown = isObject(value) ? value['messages'] : value;
  if (!Array.isArray(list) || list.length === 0) throw wrong(input, '', 'a list of messages', list);
  const images: ImageValue[] = [];
  const messages: ChatMessage[] = [];
  for (const [i, entry] of list.entries()) {
    const at = `[${i}]`;
    if (!isObject(entry)) throw wrong(input, at, 'an object with "role" and "content"', entry);
    const { role, content } = entry;
    if (typeof role !== 'string' || role === '') throw wrong(input, `${at}.role`, 'text such as "user"', role);
    if (typeof content === 'string') {
      messages.push({ role, content });
    } else if (Array.isArray(content)) {
      const parts: ContentPart[] = [];
      for (const [j, part] of content.entries()) {
        parts.push(await readPart(part, `${at}.content[${j}]`, input, images, loadImage));
      }
      messages.push({ role, content: parts });
    } else throw wrong(input, `${at}.content`, 'text, or a list of parts', content);
  }
  return { kind: 'messages', messages, images };
}

/** `{type: text, text}`, `{type: image, image: PATH}` or, as OpenAI writes it, `{type: image_url, image_url: {url}}`. */
async function readPart(
  part: unknown,
  at: string,
  input: string,
  images: ImageValue[],
  loadImage: LoadImage,
): Promise<ContentPart> {
  if (typeof part === 'string') return { type: 'text', text: part };
  if (!isObject(part)) throw wrong(input, at, 'an object with "type"', part);
  if (part['type'] === 'text') {
    if (typeof part['text'] !== 'string') throw wrong(input, `${at}.text`, 'text', part['text']);
    return { type: 'text', text: part['text'] };
  }
  if (part['type'] !== 'image' && part['type'] !== 'image_url') {
    throw wrong(input, `${at}.type`, '"text" or "image"', part['type']);
  }
  const named = part['image'] ?? part['path'] ?? part['url'] ?? part['image_url'];
  const place = isObject(named) ? named['url'] : named;
  if (place === undefined) return { type: 'image' };
  if (typeof place === 'number') return { type: 'image', image: place };
  if (typeof place !== 'string') throw wrong(input, `${at}.image`, 'a path or an address', place);
  images.push(await loadImage(place));
  return { type: 'image', image: images.length - 1 };
}

/** The same conversation (as data, or a part of it) with other places of its pictures. */
export function mapPictures(value: unknown, change: (place: string) => string): unknown {
  if (Array.isArray(value)) return value.map((one) => mapPictures(one, change));
  if (!isObject(value) || value instanceof Uint8Array) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) => [
      key,
      typeof one === 'string' && PICTURE_KEYS.includes(key) ? change(one) : mapPictures(one, change),
    ]),
  );
}

/** Whether this is a conversation that was read before, its images in memory. */
export function isMessagesValue(value: object): value is MessagesValue {
  const { messages, images } = value as { readonly messages?: unknown; readonly images?: unknown };
  return Array.isArray(images) && images.every(isImageValue) && Array.isArray(messages) && messages.every(isMessage);
}

export function isImageValue(value: unknown): value is ImageValue {
  return isObject(value) && value['bytes'] instanceof Uint8Array && typeof value['name'] === 'string';
}

function isMessage(value: unknown): value is ChatMessage {
  if (!isObject(value) || typeof value['role'] !== 'string') return false;
  const { content } = value;
  return typeof content === 'string' || (Array.isArray(content) && content.every(isPart));
}

function isPart(value: unknown): value is ContentPart {
  if (!isObject(value)) return false;
  if (value['type'] === 'text') return typeof value['text'] === 'string';
  return value['type'] === 'image' && ['number', 'undefined'].includes(typeof value['image']);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function wrong(input: string, at: string, expected: string, received: unknown): VlmError {
  return new VlmError('INPUT_UNREADABLE', {
    what: 'A conversation is not written as expected',
    expected,
    received: received === undefined ? 'nothing' : (JSON.stringify(received)?.slice(0, 80) ?? typeof received),
    where: `input "${input}"${at === '' ? '' : `, messages${at}`}`,
    hint: 'write [{"role": "user", "content": [{"type": "image", "image": "FILE"}, {"type": "text", "text": "…"}]}]',
  });
}
