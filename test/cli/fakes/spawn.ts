// Runs the compiled command line as its users do.
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from '../../../src/util/package-root.js';

export const CLI = join(packageRoot(), '.build', 'src', 'cli', 'main.js');

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

export interface SpawnOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  readonly nodeArgs?: readonly string[];
  /** Called with the child as soon as it runs; `seen` resolves when a stream has shown the text. */
  readonly during?: (
    child: ChildProcess,
    seen: (stream: 'out' | 'err', text: string) => Promise<void>,
  ) => Promise<void>;
}

export async function cli(args: readonly string[], options: SpawnOptions = {}): Promise<Ended> {
  const { NO_COLOR: _, FORCE_COLOR: __, VLM_RUN_DEBUG: ___, ...env } = process.env;
  const child = spawn(process.execPath, [...(options.nodeArgs ?? []), CLI, ...args], {
    cwd: options.cwd,
    env: { ...env, ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const texts = { out: '', err: '' };
  const waiting: { stream: 'out' | 'err'; text: string; resolve: () => void }[] = [];
  const check = (): void => {
    for (const w of waiting) if (texts[w.stream].includes(w.text)) w.resolve();
  };
  child.stdout.setEncoding('utf8').on('data', (d: string) => {
    texts.out += d;
    check();
  });
  child.stderr.setEncoding('utf8').on('data', (d: string) => {
    texts.err += d;
    check();
  });
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.stdin ?? '');
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, ...texts }));
  });
  const seen = (stream: 'out' | 'err', text: string): Promise<void> =>
    Promise.race([
      ended.then(() => undefined),
      new Promise<void>((resolve) => {
        waiting.push({ stream, text, resolve });
        check();
      }),
    ]);
  await options.during?.(child, seen);
  return ended;
}
