/** Lines of a file or of standard input, one after the other: no more is held than the longest line that is allowed. */
import { createReadStream, open } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { VlmError } from '../contracts/errors.js';

/** A row longer than this is no row: a file of another kind. */
export const MAX_ROW_BYTES = 16 * 1024 * 1024;
/** Names standard input where a file is expected. */
export const STDIN = '-';
const NEWLINE = 10;
const RETURN = 13;

export interface Line {
  /** Counted from 1. */
  readonly line: number;
  /** Without its end. */
  readonly text?: string;
  readonly problem?: string;
}

/**
 * The bytes of a dataset. A pipe is read without a thread that waits for it, so that it can be given up at any time: when
 * `signal` says so, the stream is closed, and reading it fails.
 */
export async function openRows(file: string, signal?: AbortSignal): Promise<Readable> {
  const stream = file === STDIN ? process.stdin : await openFile(file);
  if (signal !== undefined) {
    const give = (): void => void stream.destroy();
    if (signal.aborted) give();
    else signal.addEventListener('abort', give, { once: true });
    stream.once('close', () => signal.removeEventListener('abort', give));
  }
  return stream;
}

async function openFile(file: string): Promise<Readable> {
  const info = await stat(file);
  if (!info.isFIFO()) return createReadStream(file);
  // A number, no FileHandle: that one closes its file when it is collected, which is after the socket closed it.
  const fd = await promisify(open)(file, 'r');
  return new Socket({ fd, readable: true, writable: false });
}

/** Lines end with \n or \r\n; nothing else ends one. Ends early with `signal`. Throws INPUT_UNREADABLE. */
export async function* linesOf(file: string, signal?: AbortSignal): AsyncGenerator<Line> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let line = 0;
  for await (const bytes of byteLines(file, signal)) {
    line++;
    if (typeof bytes === 'number') yield { line, problem: `a row of ${bytes} bytes (at most ${MAX_ROW_BYTES})` };
    else {
      try {
        // The decoder drops a byte order mark.
        yield { line, text: decoder.decode(bytes) };
      } catch {
        yield { line, problem: 'text that is not UTF-8' };
      }
    }
  }
}

/** The bytes of each line, or how many there are of one that is too long. */
async function* byteLines(file: string, signal?: AbortSignal): AsyncGenerator<Uint8Array | number> {
  let parts: Uint8Array[] = [];
  let length = 0;
  const take = (bytes: Uint8Array): void => {
    length += bytes.length;
    if (length <= MAX_ROW_BYTES) parts.push(bytes);
    else parts = [];
  };
  const finish = (): Uint8Array | number => {
    const whole = length > MAX_ROW_BYTES ? length : Buffer.concat(parts, length);
    parts = [];
    length = 0;
    return typeof whole !== 'number' && whole.at(-1) === RETURN ? whole.subarray(0, -1) : whole;
  };
  let stream: Readable | undefined;
  try {
    stream = await openRows(file, signal);
    for await (const chunk of stream) {
      const bytes = chunk as Uint8Array;
      let from = 0;
      for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, from)) {
        take(bytes.subarray(from, end));
        from = end + 1;
        yield finish();
      }
      take(bytes.subarray(from));
    }
    if (length > 0) yield finish();
  } catch (cause) {
    if (signal?.aborted !== true) throw unreadable(file, cause);
  } finally {
    stream?.destroy();
  }
}

export function unreadable(file: string, cause: unknown, hint?: string): VlmError {
  return new VlmError('INPUT_UNREADABLE', {
    what: 'A dataset cannot be read',
    received: cause instanceof Error ? cause.message : String(cause),
    where: file === STDIN ? 'standard input' : file,
    ...(hint === undefined ? {} : { hint }),
    cause,
  });
}
