/** Inputs of a run: what was given, else the recipe's default, as port values with the digests of their bytes. */
import { createHash } from 'node:crypto';
import { dirname } from 'node:path';
import { VlmError } from '../../contracts/errors.js';
import type { ImageValue, MessagesValue, PortValue } from '../../contracts/ports.js';
import type { Plan, PlanInput } from '../../contracts/recipe.js';
import type { RunItem } from '../item.js';
import { copyValue } from '../values.js';
import { type FetchContext, fetchBytes } from './fetch.js';
import { isImageValue, isMessagesValue, parseMessages, readMessages } from './messages.js';

/**
 * A value for an input. Text inputs take a string as it is; images and conversations take a string as a path, an
 * address (`https:`, `data:`, `file:`) or `-` for standard input. `{ file }` reads a text input from such a place.
 */
export type InputGiven =
  | string
  | Uint8Array
  | { readonly file: string }
  | ImageValue
  | MessagesValue
  | readonly unknown[]
  | { readonly [key: string]: unknown };

export interface LoadOptions extends Omit<FetchContext, 'input'> {
  /** Makes "did you mean" hints; without it they are left out. */
  readonly suggest?: (word: string, known: readonly string[]) => string | undefined;
}

/** SHA-256 of each value's bytes, for the run record. */
export interface InputDigest {
  readonly input: string;
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
}

export interface LoadedInputs {
  readonly values: RunItem;
  readonly digests: readonly InputDigest[];
}

/** Throws INPUT_UNKNOWN, INPUT_MISSING, OPTION_INVALID and what reading throws. */
export async function loadInputs(
  plan: Plan,
  given: Readonly<Record<string, InputGiven>>,
  options: LoadOptions = {},
): Promise<LoadedInputs> {
  const known = Object.keys(plan.inputs);
  for (const name of Object.keys(given)) {
    if (Object.hasOwn(plan.inputs, name)) continue;
    const hint = options.suggest?.(name, known);
    throw new VlmError('INPUT_UNKNOWN', {
      what: `The recipe has no input "${name}"`,
      expected: known.length === 0 ? 'no input' : `one of ${known.join(', ')}`,
      received: name,
      ...(hint === undefined ? {} : { hint }),
    });
  }
  const values: Record<string, PortValue | readonly PortValue[]> = {};
  const digests: InputDigest[] = [];
  for (const input of Object.values(plan.inputs)) {
    const own = Object.hasOwn(given, input.name) ? given[input.name] : undefined;
    const value = await loadInput(input, own, plan, options);
    if (value === undefined) continue;
    values[input.name] = value;
    for (const one of listOf(value)) digests.push(...digestsOf(input.name, one));
  }
  return { values, digests };
}

async function loadInput(
  input: PlanInput,
  given: InputGiven | undefined,
  plan: Plan,
  options: LoadOptions,
): Promise<PortValue | readonly PortValue[] | undefined> {
  const value: unknown = given ?? input.default;
  if (value === undefined || value === null) {
    if (!input.required) return undefined;
    throw new VlmError('INPUT_MISSING', {
      what: `The input "${input.name}" has no value and the recipe gives no default`,
      expected: `a value of type ${input.type}${input.description === undefined ? '' : `: ${input.description}`}`,
      hint: `give one with --input ${input.name}=…`,
    });
  }
  // Defaults belong to the recipe's folder, given values to the caller's.
  const context = { ...options, ...(given === undefined ? { cwd: dirname(plan.file) } : {}), input: input.name };
  if (!input.many) {
    if (Array.isArray(value) && input.type !== 'messages') {
      throw new VlmError('OPTION_INVALID', {
        what: `The input "${input.name}" takes one value`,
        received: `${value.length} values`,
        hint: 'declare it with `many: true` in the recipe',
      });
    }
    return loadOne(input, value, context);
  }
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  return Promise.all(list.map((one) => loadOne(input, one, context)));
}

async function loadOne(input: PlanInput, value: unknown, context: FetchContext): Promise<PortValue> {
  if (isPortValue(value, input.type)) return copyValue(value);
  if (input.type === 'text') return { kind: 'text', text: await loadText(value, context) };
  if (input.type === 'image') return loadImage(value, context);
  return loadMessages(value, context);
}

async function loadText(value: unknown, context: FetchContext): Promise<string> {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (value instanceof Uint8Array) return decodeText(value, context);
  const file = fileOf(value);
  if (file === undefined) throw wrongType(context, 'text', value);
  const { bytes } = await fetchBytes(file, context);
  // The newline at the end of a file is not part of the question.
  return decodeText(bytes, context).replace(/\r?\n$/, '');
}

function decodeText(bytes: Uint8Array, context: FetchContext): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new VlmError('INPUT_UNREADABLE', {
      what: 'A text input is not UTF-8',
      expected: 'text in UTF-8',
      where: `input "${context.input}"`,
      hint: 'save it as UTF-8; a picture belongs to an input of type image',
      cause,
    });
  }
}

async function loadImage(value: unknown, context: FetchContext): Promise<ImageValue> {
  if (value instanceof Uint8Array) return { kind: 'image', bytes: new Uint8Array(value), name: context.input };
  const place = typeof value === 'string' ? value : fileOf(value);
  if (place === undefined) throw wrongType(context, 'a path, an address or bytes', value);
  const { bytes, name } = await fetchBytes(place, context);
  return { kind: 'image', bytes, name };
}

async function loadMessages(value: unknown, context: FetchContext): Promise<MessagesValue> {
  const place = typeof value === 'string' ? value : fileOf(value);
  if (place === undefined) return readMessages(value, context.input, (image) => loadImage(image, context));
  const { bytes, folder } = await fetchBytes(place, context);
  const parsed = await parseMessages(decodeText(bytes, context), context.input);
  const inner = folder === undefined ? context : { ...context, cwd: folder };
  return readMessages(parsed, context.input, (image) => loadImage(image, inner));
}

function fileOf(value: unknown): string | undefined {
  return typeof value === 'object' && value !== null && 'file' in value && typeof value.file === 'string'
    ? value.file
    : undefined;
}

/** Values that are port values already are copied: their buffers may be handed to workers. A file can only name the kind. */
function isPortValue(value: unknown, type: PlanInput['type']): value is PortValue {
  if (typeof value !== 'object' || value === null || !('kind' in value) || value.kind !== type) return false;
  if (type === 'text') return 'text' in value && typeof value.text === 'string';
  return type === 'image' ? isImageValue(value) : isMessagesValue(value);
}

function wrongType(context: FetchContext, expected: string, received: unknown): VlmError {
  return new VlmError('OPTION_INVALID', {
    what: 'An input has a value of the wrong type',
    expected,
    received: JSON.stringify(received)?.slice(0, 80) ?? typeof received,
    where: `input "${context.input}"`,
  });
}

function listOf(value: PortValue | readonly PortValue[]): readonly PortValue[] {
  return Array.isArray(value) ? value : [value as PortValue];
}

function digestsOf(input: string, value: PortValue): readonly InputDigest[] {
  const digest = (name: string, bytes: Uint8Array): InputDigest => ({
    input,
    name,
    bytes: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  });
  const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
  if (value.kind === 'image') return [digest(value.name, value.bytes)];
  if (value.kind === 'text') return [digest('text', encode(value.text))];
  if (value.kind !== 'messages') return [];
  return [
    digest('messages', encode(JSON.stringify(value.messages))),
    ...value.images.map((image) => digest(image.name, image.bytes)),
  ];
}
