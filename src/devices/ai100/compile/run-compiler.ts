/** Runs the card compiler: its output is streamed and kept, and stopping it leaves nothing running. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { VlmError } from '../../../contracts/errors.js';
import { sha256 } from './cache.js';

export const DEFAULT_COMPILER = '/opt/qti-aic/exec/qaic-compile';
const GRACE_MS = 5000;

export interface Compiler {
  readonly path: string;
  readonly version: string;
}

/**
 * Path and version of the compiler; null when it is not here. The SDK's version stands in versions/apps.xml beside
 * exec/; a compiler without that file is known by its own digest.
 */
export async function findCompiler(given: string | undefined, env = process.env): Promise<Compiler | null> {
  const path = given ?? env['QAIC_COMPILE'] ?? DEFAULT_COMPILER;
  if (!existsSync(path)) return null;
  const xml = join(dirname(dirname(path)), 'versions', 'apps.xml');
  if (existsSync(xml)) {
    const text = readFileSync(xml, 'utf8');
    const tag = (name: string) => new RegExp(`<${name}>\\s*([^<\\s]+)\\s*</${name}>`).exec(text)?.[1];
    const version = [tag('base_version'), tag('build_id')].filter((part) => part !== undefined).join('.');
    if (version !== '') return { path, version: `apps ${version}` };
  }
  return { path, version: `sha256 ${(await sha256(path)).slice(0, 16)}` };
}

/** Compilers under way. */
const running = new Set<(name: NodeJS.Signals) => void>();

/** Ends them at once: for the last moments of a process. */
export function killCompilers(): void {
  for (const kill of running) kill('SIGKILL');
}

export interface CompilerRun {
  readonly command: readonly string[];
  readonly log: string;
  readonly signal?: AbortSignal;
  readonly onLine?: (line: string) => void;
}

/** Throws PROGRAM_INVALID with the likely cause, DEVICE_UNAVAILABLE when it cannot start, CANCELLED. */
export async function runCompiler(run: CompilerRun): Promise<void> {
  const [program = '', ...args] = run.command;
  const log = openSync(run.log, 'w');
  const tail: string[] = [];
  try {
    writeSync(log, `${run.command.join(' ')}\n`);
    const ended = await new Promise<Ended>((settle, fail) => {
      // A group of its own: Ctrl-C reaches us alone, and we stop all of it.
      const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
      const kill = (name: NodeJS.Signals): void => {
        try {
          if (child.pid !== undefined) process.kill(-child.pid, name);
        } catch {
          // It has ended.
        }
      };
      running.add(kill);
      let timer: NodeJS.Timeout | undefined;
      const stop = (): void => {
        kill('SIGTERM');
        timer = setTimeout(() => kill('SIGKILL'), GRACE_MS);
      };
      if (run.signal?.aborted === true) stop();
      run.signal?.addEventListener('abort', stop, { once: true });
      const onLine = (line: string): void => {
        tail.push(line);
        if (tail.length > 200) tail.shift();
        run.onLine?.(line);
      };
      for (const stream of [child.stdout, child.stderr]) {
        const lines = splitter(onLine);
        stream.on('data', (chunk: Buffer) => {
          writeSync(log, chunk);
          lines.push(chunk.toString('utf8'));
        });
        stream.on('end', () => lines.end());
      }
      const done = (): void => {
        running.delete(kill);
        clearTimeout(timer);
        run.signal?.removeEventListener('abort', stop);
        // What the compiler started and left behind goes with it.
        if (run.signal?.aborted === true) kill('SIGKILL');
      };
      child.on('error', (error) => {
        done();
        fail(cannotStart(program, error));
      });
      child.on('close', (code, signal) => {
        done();
        settle({ code, signal });
      });
    });
    if (run.signal?.aborted === true) throw new VlmError('CANCELLED', { what: 'Compiling was stopped' });
    if (ended.code !== 0) throw failed(ended, tail, run.log);
  } finally {
    closeSync(log);
  }
}

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Lines of a stream; a line that is redrawn with carriage returns counts each time. */
function splitter(onLine: (line: string) => void): { push(text: string): void; end(): void } {
  let rest = '';
  return {
    push: (text) => {
      const lines = (rest + text).split(/\r\n|\n|\r/);
      rest = lines.pop() ?? '';
      for (const line of lines) if (line !== '') onLine(line);
    },
    end: () => {
      if (rest !== '') onLine(rest);
      rest = '';
    },
  };
}

function cannotStart(program: string, cause: Error): VlmError {
  return new VlmError('DEVICE_UNAVAILABLE', {
    what: 'The compiler cannot be started',
    received: cause.message,
    where: program,
    hint: 'check that the Apps SDK is installed for this processor and that the file may be executed',
    cause,
  });
}

/** Signs in the log, and what they most often mean. */
const CAUSES: readonly (readonly [RegExp, string])[] = [
  [/no space left|ENOSPC|disk quota/i, 'the disk is full: make room, or set VLM_RUN_CACHE to a larger disk'],
  [/bad_alloc|out of memory|cannot allocate memory|oom/i, 'memory of this machine ran out: compiling takes tens of GB'],
  [
    /(does not fit|exceed\w*).{0,60}(memory|ddr|vtcm)|(memory|ddr).{0,60}exceed/i,
    'the program does not fit the card: lower ctx_len or batch_size, set mxfp6_matmul or mxint8_kv_cache, or give more ids',
  ],
  [
    /unsupported (operator|op|node)|not supported.*(op|operator)|unknown op/i,
    'an operator of the graph is unknown to this SDK: export for it, or update the SDK',
  ],
  [
    /specialization|symbol.*(not found|undefined|missing)/i,
    'the shapes and the graph’s axes do not match: compare specializations.json with the graph',
  ],
  [/custom.?io|IOName/i, 'a name in custom_io.yaml is not an input or output of the graph'],
  [/unknown (command line )?(argument|option|flag)|unrecognized/i, 'this SDK does not know a flag: see compiler_flags'],
  [/licen[sc]e/i, 'the SDK refuses for want of a licence'],
];

export function likelyCause(ended: Ended, tail: readonly string[]): string {
  const text = tail.join('\n');
  if (ended.signal === 'SIGKILL' || ended.code === 137) {
    return 'it was killed from outside, most often because memory ran out: compiling takes tens of GB';
  }
  const known = CAUSES.find(([sign]) => sign.test(text));
  if (known !== undefined) return known[1];
  if (ended.signal === 'SIGSEGV' || ended.code === 139) return 'the compiler itself crashed';
  return 'no sign of a known cause; the log has the compiler’s own words';
}

function failed(ended: Ended, tail: readonly string[], log: string): VlmError {
  const how = ended.signal === null ? `exit code ${ended.code}` : `signal ${ended.signal}`;
  const words = tail.slice(-5).join('\n');
  return new VlmError('PROGRAM_INVALID', {
    what: 'The compiler failed',
    received: `${how}${words === '' ? '' : `\n${words}`}`,
    where: log,
    hint: `likely cause: ${likelyCause(ended, tail)}`,
  });
}
