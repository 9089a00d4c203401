/** Bytes of an input from where it lies: a file, an address, standard input, a data URL. Size and time are limited. */
import { constants, type Stats } from 'node:fs';
import { open, readFile, stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import { basename, dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VlmError } from '../../contracts/errors.js';
import { percentDecoded, readDataUrl } from './data-url.js';

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
  /** Of a file: what it names itself lies beside it. A pipe has no such place. */
  readonly folder?: string;
}

/** `-`, `data:`, `http(s):`, `file:` or a path. */
export async function fetchBytes(place: string, context: FetchContext): Promise<Fetched> {
  const limits = { ...DEFAULT_LIMITS, ...context.limits };
  if (place.trim() === '') throw namesNothing(context);
  if (place === '-') return { bytes: await readStdin(context, limits), name: 'standard input' };
  if (/^data:/i.test(place)) {
    const oversized = (bytes: number): VlmError => tooLarge(context, limits, megabytes(bytes));
    return { bytes: readDataUrl(place, where(context), limits.maxBytes, oversized), name: 'data URL' };
  }
  if (/^https?:/i.test(place)) return { bytes: await download(place, context, limits), name: shownUrl(place) };
  if (/^file:/i.test(place)) return readPath(fileUrlPath(place, context), context, limits);
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(place)) {
    throw new VlmError('INPUT_UNREADABLE', {
      what: 'This kind of address is not read',
      expected: 'a file, or an address that begins with https:, http:, file: or data:',
      received: shownUrl(place),
      where: where(context),
      hint: 'download the file yourself and give its path',
    });
  }
  return readPath(resolve(context.cwd ?? '.', place), context, limits);
}

function namesNothing(context: FetchContext): VlmError {
  return new VlmError('INPUT_MISSING', {
    what: 'An input names no file',
    expected: 'a path, an address, or - for standard input',
    received: 'nothing',
    where: where(context),
    hint: `write --input ${context.input}=FILE; a variable of the shell may be empty`,
  });
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
    hint: 'give a smaller file',
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
      expected: 'file:///folder/name, of this machine',
      received: place,
      where: where(context),
      hint: 'give the path itself',
      cause,
    });
  }
}

async function readPath(path: string, context: FetchContext, limits: FetchLimits): Promise<Fetched> {
  const refuse = (what: string): VlmError =>
    new VlmError('INPUT_UNREADABLE', {
      what,
      expected: 'a file, or a pipe',
      received: path,
      where: where(context),
      hint: 'name one file; many pictures are a --dataset',
    });
  try {
    const info: Stats = await stat(path);
    if (info.isDirectory()) throw refuse('An input is a folder');
    if (info.isFIFO()) return { bytes: await readPipe(path, context, limits), name: basename(path) };
    // A device may never end: /dev/zero.
    if (!info.isFile()) throw refuse('An input is neither a file nor a pipe');
    if (info.size > limits.maxBytes) throw tooLarge(context, limits, megabytes(info.size));
    return { bytes: new Uint8Array(await readFile(path)), name: basename(path), folder: dirname(path) };
  } catch (cause) {
    if (cause instanceof VlmError) throw cause;
    const missing = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
    throw new VlmError('INPUT_UNREADABLE', {
      what: missing ? 'An input file does not exist' : 'An input file cannot be read',
      received: path,
      where: where(context),
      hint: missing ? pathsHint(context) : 'check the path and its permissions',
      cause,
    });
  }
}

function pathsHint({ cwd }: FetchContext): string {
  return cwd === undefined || resolve(cwd) === process.cwd()
    ? 'paths on the command line start from the working directory'
    : `paths in a recipe or a list start from its folder, here ${resolve(cwd)}`;
}

/**
 * A named pipe, or what a shell makes of `<(command)`. Read as a stream: its writer may be slow or never come, and a
 * blocking call on it could not be given up.
 */
async function readPipe(path: string, context: FetchContext, limits: FetchLimits): Promise<Uint8Array> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  let socket: Socket | undefined;
  const stop = (): void => {
    socket?.destroy(new VlmError('CANCELLED', { what: 'The run was cancelled' }));
  };
  try {
    socket = new Socket({ fd: file.fd, readable: true, writable: false });
    context.signal?.addEventListener('abort', stop);
    if (context.signal?.aborted === true) stop();
    return await collect(socket, context, limits);
  } finally {
    context.signal?.removeEventListener('abort', stop);
    socket?.destroy();
    await file.close().catch(() => undefined);
  }
}

async function readStdin(context: FetchContext, limits: FetchLimits): Promise<Uint8Array> {
  if (context.stdin === undefined) {
    throw new VlmError('INPUT_UNREADABLE', {
      what: 'There is no standard input here',
      where: where(context),
      hint: 'give a path, or the bytes themselves',
    });
  }
  return collect(context.stdin, context, limits);
}

/** Without its query: it may hold a key. */
function shownUrl(url: string): string {
  return url.replace(/[?#].*$/s, '').replace(/\/\/[^/@]*@/, '//');
}

/** A name and password in the address become a header: fetch refuses them there, in a message that shows them. */
function request(url: string): { readonly address: URL; readonly headers: Readonly<Record<string, string>> } {
  const address = new URL(url);
  const { username, password } = address;
  if (username === '' && password === '') return { address, headers: {} };
  address.username = '';
  address.password = '';
  const pair = Buffer.concat([percentDecoded(username), Buffer.from(':'), percentDecoded(password)]);
  return { address, headers: { authorization: `Basic ${pair.toString('base64')}` } };
}

async function download(url: string, context: FetchContext, limits: FetchLimits): Promise<Uint8Array> {
  const shown = shownUrl(url);
  const timeout = AbortSignal.timeout(limits.timeoutMs);
  const signal = context.signal === undefined ? timeout : AbortSignal.any([timeout, context.signal]);
  try {
    const { address, headers } = request(url);
    const response = await fetch(address, { signal, redirect: 'follow', headers });
    const problem = responseProblem(address, response, context, limits);
    if (problem !== null) {
      await response.body?.cancel();
      throw problem;
    }
    return await collect(response.body ?? [], context, limits);
  } catch (cause) {
    if (cause instanceof VlmError) throw cause;
    if (context.signal?.aborted === true) throw new VlmError('CANCELLED', { what: 'The run was cancelled' });
    throw new VlmError('DOWNLOAD_FAILED', {
      what: timeout.aborted ? `An input was not there after ${limits.timeoutMs / 1000} s` : 'An input was not fetched',
      received: shown,
      where: where(context),
      ...fetchTrouble(cause),
    });
  }
}

/** Why an answer of a server is not read; null when it is. */
function responseProblem(
  address: URL,
  response: Response,
  context: FetchContext,
  limits: FetchLimits,
): VlmError | null {
  const details = { received: shownUrl(address.href), where: where(context) };
  // What comes over an open connection is nobody's word, whatever the address promised.
  if (address.protocol === 'https:' && !response.url.startsWith('https:')) {
    return new VlmError('DOWNLOAD_FAILED', {
      what: `The server sends an https: address on to ${shownUrl(response.url)}, which is not encrypted`,
      ...details,
      hint: 'give that address itself if you trust it',
    });
  }
  if (!response.ok) {
    const what = `The server refused an input with status ${response.status}`;
    return new VlmError('DOWNLOAD_FAILED', { what, ...details, hint: refusalHint(response.status) });
  }
  const announced = Number(response.headers.get('content-length') ?? 0);
  return announced > limits.maxBytes ? tooLarge(context, limits, megabytes(announced)) : null;
}

function refusalHint(status: number): string {
  if (status === 401 || status === 403) return 'it may want a login: download the file yourself and give its path';
  if (status >= 500) return 'the server has trouble: try again later, or give another address';
  if (status === 429) return 'it was asked too often: try again later, or download the file yourself and give its path';
  return 'check the address in a browser, or download the file yourself and give its path';
}

const UNTRUSTED = /^(?:CERT_|ERR_TLS_CERT|DEPTH_ZERO_SELF_SIGNED|SELF_SIGNED_CERT|UNABLE_TO_(?:GET_ISSUER|VERIFY))/;

/** What fetch itself says stands in the cause of its error. */
function fetchTrouble(error: unknown): { readonly hint: string; readonly cause: unknown } {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const trust = UNTRUSTED.test(code)
    ? 'the server’s certificate is not trusted: name its authority’s file in NODE_EXTRA_CA_CERTS'
    : 'check the address';
  return { hint: `${trust}, or download the file yourself and give its path`, cause };
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
