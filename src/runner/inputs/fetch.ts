/** Bytes of an input from where it lies: a file, an address, standard input, a data URL. Size and time are limited. */
import { readFile, stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VlmError } from '../../contracts/errors.js';

export interface FetchLimits {
  /** Largest input in bytes. */
  readonly maxBytes: number;
  /** Longest download in milliseconds. */
  readonly timeoutMs: number;
}
export const DEFAULT_LIMITS: FetchLimits = { maxBytes: 256 * 1024 * 1024, timeoutMs: 30_000 };

export interface FetchContext {
  readonly limits?: Partial<FetchLimits>;
  /** Relative paths start here. Default: the working directory. */
  readonly cwd?: string;
  /** Ends a download that is under way. */
  readonly signal?: AbortSignal;
  readonly stdin?: AsyncIterable<Uint8Array | string>;
  /** Name of the input, for messages. */
  readonly input: string;
}

export interface Fetched {
  readonly bytes: Uint8Array;
  readonly name: string;
}

/** `-`, `data:`, `http(s):`, `file:` or a path. */
export async function fetchBytes(place: string, context: FetchContext): Promise<Fetched> {
  const limits = { ...DEFAULT_LIMITS, ...context.limits };
  if (place === '-') return { bytes: await readStdin(context, limits), name: 'standard input' };
  if (/^data:/i.test(place)) return { bytes: readDataUrl(place, context, limits), name: 'data URL' };
  if (/^https?:/i.test(place)) return { bytes: await download(place, context, limits), name: shownUrl(place) };
  if (/^file:/i.test(place)) return readPath(fileUrlPath(place, context), context, limits);
  return readPath(resolve(context.cwd ?? '.', place), context, limits);
}

function where({ input }: FetchContext): string {
  return `input "${input}"`;
}

function tooLarge(context: FetchContext, limits: FetchLimits, received: string): VlmError {
  return new VlmError('INPUT_TOO_LARGE', {
    what: 'An input is too large',
    expected: `at most ${megabytes(limits.maxBytes)}`,
    received,
    where: where(context),
  });
}

function megabytes(bytes: number): string {
  return bytes < 1024 * 1024 ? `${bytes} bytes` : `${Math.round(bytes / (1024 * 1024))} MB`;
}

function fileUrlPath(place: string, context: FetchContext): string {
  try {
    return fileURLToPath(place);
  } catch (cause) {
    throw new VlmError('INPUT_UNREADABLE', {
      what: 'A file: address cannot be used',
      received: place,
      where: where(context),
      cause,
    });
  }
}

async function readPath(path: string, context: FetchContext, limits: FetchLimits): Promise<Fetched> {
  try {
    const info = await stat(path);
    if (info.isDirectory()) throw new VlmError('INPUT_UNREADABLE', { what: 'An input is a folder', received: path });
    if (info.size > limits.maxBytes) throw tooLarge(context, limits, megabytes(info.size));
    return { bytes: new Uint8Array(await readFile(path)), name: basename(path) };
  } catch (cause) {
    if (cause instanceof VlmError) throw cause.details.where === undefined ? cause.at(where(context)) : cause;
    const missing = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
    throw new VlmError('INPUT_UNREADABLE', {
      what: missing ? 'An input file does not exist' : 'An input file cannot be read',
      received: path,
      where: where(context),
      ...(missing ? { hint: 'paths on the command line start from the working directory' } : {}),
      cause,
    });
  }
}

async function readStdin(context: FetchContext, limits: FetchLimits): Promise<Uint8Array> {
  if (context.stdin === undefined) {
    throw new VlmError('INPUT_UNREADABLE', { what: 'There is no standard input here', where: where(context) });
  }
  return collect(context.stdin, context, limits);
}

function readDataUrl(url: string, context: FetchContext, limits: FetchLimits): Uint8Array {
  const match = /^data:([^,]*?)(;base64)?,(.*)$/is.exec(url);
  const [, , base64, body] = match ?? [];
  if (body === undefined) {
    throw new VlmError('INPUT_UNREADABLE', {
      what: 'A data URL cannot be read',
      expected: 'data:image/png;base64,…',
      received: `${url.slice(0, 40)}…`,
      where: where(context),
    });
  }
  if (body.length > limits.maxBytes * 2) throw tooLarge(context, limits, megabytes(body.length));
  try {
    const plain = decodeURIComponent(body);
    const bytes = base64 === undefined ? new TextEncoder().encode(plain) : new Uint8Array(Buffer.from(plain, 'base64'));
    if (bytes.length > limits.maxBytes) throw tooLarge(context, limits, megabytes(bytes.length));
    return bytes;
  } catch (cause) {
    throw VlmError.wrap(cause, 'INPUT_UNREADABLE', { what: 'A data URL cannot be decoded', where: where(context) });
  }
}

/** Without its query: it may hold a key. */
function shownUrl(url: string): string {
  return url.replace(/[?#].*$/s, '').replace(/\/\/[^/@]*@/, '//');
}

async function download(url: string, context: FetchContext, limits: FetchLimits): Promise<Uint8Array> {
  const shown = shownUrl(url);
  const timeout = AbortSignal.timeout(limits.timeoutMs);
  const signal = context.signal === undefined ? timeout : AbortSignal.any([timeout, context.signal]);
  try {
    const response = await fetch(url, { signal, redirect: 'follow' });
    if (!response.ok) {
      throw new VlmError('DOWNLOAD_FAILED', {
        what: `The server refused an input with status ${response.status}`,
        received: shown,
        where: where(context),
      });
    }
    const announced = Number(response.headers.get('content-length') ?? 0);
    if (announced > limits.maxBytes) throw tooLarge(context, limits, megabytes(announced));
    return await collect(response.body ?? [], context, limits);
  } catch (cause) {
    if (cause instanceof VlmError) throw cause;
    if (context.signal?.aborted === true) throw new VlmError('CANCELLED', { what: 'The run was cancelled' });
    throw new VlmError('DOWNLOAD_FAILED', {
      what: timeout.aborted ? `An input was not there after ${limits.timeoutMs / 1000} s` : 'An input was not fetched',
      received: shown,
      where: where(context),
      hint: 'check the address, or download the file yourself and give its path',
      cause: cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause,
    });
  }
}

async function collect(
  source: AsyncIterable<Uint8Array | string> | Iterable<Uint8Array>,
  context: FetchContext,
  limits: FetchLimits,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of source) {
    if (context.signal?.aborted === true) throw new VlmError('CANCELLED', { what: 'The run was cancelled' });
    const bytes = typeof chunk === 'string' ? new TextEncoder().encode(chunk) : chunk;
    size += bytes.length;
    if (size > limits.maxBytes) throw tooLarge(context, limits, `more than ${megabytes(limits.maxBytes)}`);
    parts.push(bytes);
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
