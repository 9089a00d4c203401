/** One point in a forked child under a watchdog: a crash or a hang costs this point and nothing else. */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type ErrorData, VlmError } from '../contracts/errors.js';
import { LONGEST_TIMER_MS } from '../util/timers.js';
import type { PointMeasured } from './measure.js';
import type { PointMessage, PointTask } from './protocol.js';

export type PointOutcome =
  | { readonly ok: true; readonly result: PointMeasured }
  | { readonly ok: false; readonly error: ErrorData };

export interface RunPointOptions {
  /** Module that the child runs. */
  readonly entry: URL;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Of what a child says: V8 names its reason, then prints a long native stack. */
const KEPT = 16_000;

/** Never throws for what the point does. A cancelled point has the code CANCELLED. */
export function runPoint(task: PointTask, options: RunPointOptions): Promise<PointOutcome> {
  return new Promise((resolve) => {
    const child = fork(fileURLToPath(options.entry), [], {
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    let outcome: PointOutcome | undefined;
    let why: 'cancelled' | 'late' | undefined;
    let said = '';
    const kill = (reason: 'cancelled' | 'late'): void => {
      why ??= reason;
      child.kill('SIGKILL');
    };
    const late = setTimeout(() => kill('late'), Math.min(options.timeoutMs, LONGEST_TIMER_MS));
    const cancel = (): void => kill('cancelled');
    options.signal?.addEventListener('abort', cancel, { once: true });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-KEPT);
    });
    child.on('message', (message: PointMessage) => {
      if (message.type === 'progress') options.onProgress?.(message.done, message.total);
      else
        outcome ??=
          message.type === 'measured' ? { ok: true, result: message.result } : { ok: false, error: message.error };
    });
    child.once('error', () => undefined);
    child.once('close', (code, signal) => {
      clearTimeout(late);
      options.signal?.removeEventListener('abort', cancel);
      resolve(outcome ?? { ok: false, error: ended(why, code, signal, options.timeoutMs, said).toData() });
    });
    child.send(task, () => undefined);
    if (options.signal?.aborted === true) cancel();
  });
}

const OUT_OF_MEMORY = /out of memory|bad_alloc|cannot allocate/i;

function ended(
  why: 'cancelled' | 'late' | undefined,
  code: number | null,
  signal: NodeJS.Signals | null,
  timeoutMs: number,
  said: string,
): VlmError {
  if (why === 'cancelled') return new VlmError('CANCELLED', { what: 'The sweep was interrupted' });
  if (why === 'late') {
    return new VlmError('WORKER_DIED', {
      what: `The point took longer than ${timeoutMs / 1000} s and was ended`,
      hint: 'raise measure.timeout_s, or lower measure.repeats',
    });
  }
  const lines = said.trim().split('\n');
  const memory = lines.find((line) => OUT_OF_MEMORY.test(line));
  const received = memory ?? lines.slice(-3).join('\n');
  // Nobody here sent SIGKILL: where memory is short, the system does.
  const short = memory !== undefined || signal === 'SIGKILL';
  return new VlmError('WORKER_DIED', {
    what: `The point's process ended by ${signal ?? `itself with code ${code ?? '?'}`}${memory === undefined ? '' : ': out of memory'}`,
    ...(received === '' ? {} : { received: received.trim() }),
    ...(short ? { hint: 'where memory ran out: a smaller batch_size, ctx_len or measure.in_flight' } : {}),
  });
}
