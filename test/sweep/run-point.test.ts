import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ErrorData } from '../../src/contracts/errors.js';
import type { PointTask } from '../../src/sweep/protocol.js';
import { type PointOutcome, type RunPointOptions, runPoint } from '../../src/sweep/run-point.js';

const CHILD = new URL('./fakes/child.js', import.meta.url);
const run = (what: string, more: Partial<RunPointOptions> = {}): Promise<PointOutcome> => {
  const task: PointTask = {
    recipe: '',
    set: [what],
    devices: [],
    allowPlugins: false,
    inputs: [{}],
    folder: '/',
    warmup: 0,
    repeats: 1,
    inFlight: 1,
    seed: 1,
    score: null,
  };
  return runPoint(task, { entry: CHILD, timeoutMs: 20_000, ...more });
};
const errorOf = (outcome: PointOutcome): ErrorData => {
  assert.is(outcome.ok, false);
  return outcome.ok ? { code: 'INTERNAL', what: 'it succeeded' } : outcome.error;
};

test('what the point says of its failure is kept', async () => {
  const seen: number[] = [];
  const error = errorOf(await run('fails', { onProgress: (done, total) => void seen.push(done, total) }));
  assert.is(error.code, 'IMAGE_UNREADABLE');
  assert.equal(seen, [1, 2]);
});

test('a crash, an exit and a hang cost this point', async () => {
  const crash = errorOf(await run('crash'));
  assert.is(crash.code, 'WORKER_DIED');
  assert.match(crash.what, /SIGSEGV/);
  const talks = errorOf(await run('talks'));
  assert.match(talks.what, /code 7/);
  assert.match(talks.received ?? '', /a library says why/);
  const hang = errorOf(await run('hang', { timeoutMs: 800 }));
  assert.is(hang.code, 'WORKER_DIED');
  assert.match(hang.what, /longer than 0\.8 s/);
});

test('a point without memory costs itself, and says so', async () => {
  const before = process.env['NODE_OPTIONS'];
  process.env['NODE_OPTIONS'] = '--max-old-space-size=32';
  const going = run('greedy');
  if (before === undefined) delete process.env['NODE_OPTIONS'];
  else process.env['NODE_OPTIONS'] = before;
  const error = errorOf(await going);
  assert.is(error.code, 'WORKER_DIED');
  assert.match(error.what, /(SIG|code).*: out of memory$/);
  assert.match(error.received ?? '', /^FATAL ERROR: .*heap out of memory/);
  assert.match(error.hint ?? '', /smaller batch_size/);
  // As the system ends a process where memory is short.
  const killed = errorOf(await run('killed'));
  assert.match(killed.what, /SIGKILL$/);
  assert.match(killed.hint ?? '', /memory/);
});

test('a time longer than a timer can wait ends no point', async () => {
  assert.is(errorOf(await run('fails', { timeoutMs: 1e13 })).code, 'IMAGE_UNREADABLE');
});

test('an interrupted point is no failed one', async () => {
  const stop = new AbortController();
  const running = run('hang', { signal: stop.signal });
  setTimeout(() => stop.abort(), 200);
  assert.is(errorOf(await running).code, 'CANCELLED');
});

test.run();
