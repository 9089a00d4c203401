/** The terminal: what may be coloured, where text goes, and a reader that goes away. */
import { fstatSync, type Stats, statSync } from 'node:fs';
import { isatty } from 'node:tty';
import { EXIT } from '../contracts/errors.js';

export interface Io {
  /** The answer, and nothing else. */
  out(text: string): void;
  /** Everything else. */
  err(text: string): void;
  readonly outIsTerminal: boolean;
  readonly errIsTerminal: boolean;
  /** What is written to the two may be read as one text: on a terminal, in one file (`2>&1`), or behind a pipe. */
  readonly outMeetsErr: boolean;
  /** Colours on standard error. */
  readonly color: boolean;
  readonly paint: Paint;
  /** True once the reader of standard output is gone (`| head`). */
  readonly readerGone: boolean;
  /** Why standard output could not be written, when it is not for want of a reader: a full disk. */
  readonly outError: Error | null;
  onReaderGone(act: () => void): void;
}

export interface Paint {
  bold(text: string): string;
  faint(text: string): string;
  red(text: string): string;
  green(text: string): string;
  cyan(text: string): string;
}

export function makePaint(color: boolean): Paint {
  const wrap =
    (code: number) =>
    (text: string): string =>
      color ? `\u001b[${code}m${text}\u001b[0m` : text;
  return { bold: wrap(1), faint: wrap(2), red: wrap(31), green: wrap(32), cyan: wrap(36) };
}

/** NO_COLOR (any value but empty) and TERM=dumb forbid colours, FORCE_COLOR asks for them. */
export function wantsColor(terminal: boolean, env: NodeJS.ProcessEnv = process.env): boolean {
  if ((env['NO_COLOR'] ?? '') !== '') return false;
  const force = env['FORCE_COLOR'];
  if (force !== undefined && force !== '' && force !== '0' && force !== 'false') return true;
  return terminal && env['TERM'] !== 'dumb';
}

function streamStat(fd: 1 | 2): Stats | undefined {
  try {
    return fstatSync(fd);
  } catch {
    return undefined;
  }
}

const sameFile = (a: Stats, b: Stats): boolean => a.dev === b.dev && a.ino === b.ino;

/** Only a file (or a device such as /dev/null) of its own keeps a stream apart: what reads a pipe may show it anywhere. */
function streamsMeet(outIsTerminal: boolean, errIsTerminal: boolean): boolean {
  const [out, err] = [streamStat(1), streamStat(2)];
  if (out === undefined || err === undefined) return false;
  const apart = (stat: Stats, terminal: boolean): boolean => stat.isFile() || (stat.isCharacterDevice() && !terminal);
  return sameFile(out, err) || (!apart(out, outIsTerminal) && !apart(err, errIsTerminal));
}

/** Whether a path leads where standard output or standard error goes. /dev/null is nobody's. */
export function isStandardStream(path: string): boolean {
  let file: Stats;
  try {
    file = statSync(path);
  } catch {
    return false;
  }
  const streams = [
    [streamStat(1), isatty(1)],
    [streamStat(2), isatty(2)],
  ] as const;
  return streams.some(
    ([stat, terminal]) => stat !== undefined && sameFile(stat, file) && (terminal || !stat.isCharacterDevice()),
  );
}

export function processIo(): Io {
  const { stdout, stderr } = process;
  let gone = false;
  let outError: Error | null = null;
  const acts: (() => void)[] = [];
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (gone) return;
    gone = true;
    if (error.code !== 'EPIPE') {
      outError = error;
      // The last write may fail when everything else is done.
      process.exitCode = EXIT.run;
      stderr.write(`error[OUTPUT_UNWRITABLE]: The answer cannot be written: ${error.message}\n`);
    }
    for (const act of acts) act();
  });
  // Without a reader of messages there is nobody to tell.
  stderr.on('error', () => undefined);
  const color = wantsColor(stderr.isTTY === true);
  return {
    out: (text) => {
      if (!gone) stdout.write(text);
    },
    err: (text) => {
      stderr.write(text);
    },
    outIsTerminal: stdout.isTTY === true,
    errIsTerminal: stderr.isTTY === true && process.env['TERM'] !== 'dumb',
    outMeetsErr: streamsMeet(stdout.isTTY === true, stderr.isTTY === true),
    color,
    paint: makePaint(color),
    get readerGone() {
      return gone;
    },
    get outError() {
      return outError;
    },
    onReaderGone: (act) => {
      acts.push(act);
    },
  };
}

/** Text of others must not steer the terminal: control characters other than newline and tab become visible. */
export function harmless(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');
}
