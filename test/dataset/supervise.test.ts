import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../src/contracts/errors.js';
import type { DatasetItem } from '../../src/dataset/source.js';
import type { ResultRow } from '../../src/dataset/store.js';
import { type SuperviseOptions, type SuperviseResult, supervise } from '../../src/dataset/supervise.js';

const test = suite('dataset supervisor');
const CHILD = new URL('./fakes/child.js', import.meta.url);

async function* source(ids: readonly string[]): AsyncGenerator<DatasetItem> {
  for (const id of ids) yield { id, given: {}, folder: '/', asked: '' };
}

async function run(
  ids: readonly string[],
  given: Record<string, string> = {},
  more: Partial<SuperviseOptions> = {},
): Promise<{ readonly rows: ResultRow[]; readonly result: SuperviseResult; readonly notices: string[] }> {
  const rows: ResultRow[] = [];
  const notices: string[] = [];
  const result = await supervise({
    entry: CHILD,
    start: { type: 'start', file: '', options: {}, given, arguments: [], embeddings: null },
    items: source(ids),
    onRow: async (row) => void rows.push(row),
    onNotice: (message) => void notices.push(message),
    quietMs: 20_000,
    ...more,
  });
  return { rows, result, notices };
}
const outcome = (rows: readonly ResultRow[]) =>
  Object.fromEntries(
    rows.map((row) => [row.id, row.ok ? 'ok' : (row['error'] as { readonly code: string }).code] as const).sort(),
  );

test('every item gets one row', async () => {
  const { rows, result } = await run(['a', 'bad', 'c', 'd', 'e'], { ahead: '3' });
  assert.equal(outcome(rows), { a: 'ok', bad: 'IMAGE_UNREADABLE', c: 'ok', d: 'ok', e: 'ok' });
  assert.is(rows.length, 5);
  assert.equal([result.crashes, result.cancelled, result.ledgers.length], [0, false, 1]);
});

test('a silence longer than a timer can wait ends no child', async () => {
  const { rows, result } = await run(['a', 'b'], {}, { quietMs: 1e13 });
  assert.equal([outcome(rows), result.crashes], [{ a: 'ok', b: 'ok' }, 0]);
});

test('an item that crashes its process fails alone; its neighbours run again', async () => {
  const { rows, result, notices } = await run(['a', 'b', 'crash', 'c', 'd', 'e'], { ahead: '4' });
  assert.equal(outcome(rows), { a: 'ok', b: 'ok', c: 'ok', crash: 'WORKER_DIED', d: 'ok', e: 'ok' });
  assert.is(rows.length, 6);
  assert.is(result.crashes, 2);
  assert.match(notices.join('\n'), /SIGSEGV.*run again, one by one/);
});

test('an item that hangs is ended by the watchdog', async () => {
  const { rows, result } = await run(['a', 'hang', 'b'], { ahead: '2' }, { quietMs: 4000 });
  assert.equal(outcome(rows), { a: 'ok', b: 'ok', hang: 'WORKER_DIED' });
  assert.is(result.crashes, 2);
  const error = rows.find((row) => row.id === 'hang')?.['error'] as { readonly what: string } | undefined;
  assert.match(error?.what ?? '', /no sign of life/);
});

test('a child that never starts is tried twice, and then the run ends with the story', async () => {
  try {
    await run(['a'], { mode: 'dead' });
    assert.unreachable();
  } catch (error) {
    assert.instance(error, VlmError);
    assert.is((error as VlmError).code, 'WORKER_DIED');
    assert.match((error as VlmError).details.what, /SIGKILL/);
  }
});

test('what is nobody’s fault but the model’s ends the run, and no row is written', async () => {
  const rows: ResultRow[] = [];
  try {
    await run(['a', 'b'], { mode: 'fatal' }, { onRow: async (row) => void rows.push(row) });
    assert.unreachable();
  } catch (error) {
    assert.instance(error, VlmError);
    assert.is((error as VlmError).code, 'MODEL_MISSING');
  }
  assert.equal(rows, []);
});

test('a row that cannot be kept ends the run', async () => {
  const full = new VlmError('OUTPUT_UNWRITABLE', { what: 'The disk is full' });
  try {
    await run(['a', 'b', 'c'], {}, { onRow: () => Promise.reject(full) });
    assert.unreachable();
  } catch (error) {
    assert.is(error, full);
  }
});

test('a source that fails loses nothing of what is under way', async () => {
  const rows: ResultRow[] = [];
  async function* failing(): AsyncGenerator<DatasetItem> {
    yield* source(['a', 'b', 'c']);
    throw new VlmError('INPUT_UNREADABLE', { what: 'The second file is gone' });
  }
  try {
    await run([], { ahead: '8' }, { items: failing(), onRow: async (row) => void rows.push(row) });
    assert.unreachable();
  } catch (error) {
    assert.is((error as VlmError).code, 'INPUT_UNREADABLE');
  }
  assert.equal(outcome(rows), { a: 'ok', b: 'ok', c: 'ok' });
});

test('a source that has nothing yet holds up no row and is no hang', async () => {
  let more: () => void = () => undefined;
  const quiet = new Promise<void>((resolve) => {
    more = resolve;
  });
  async function* slow(): AsyncGenerator<DatasetItem> {
    yield* source(['a', 'b']);
    await quiet;
    yield* source(['c']);
  }
  const rows: ResultRow[] = [];
  // The rows of both must come while the next item does not: only then is it given.
  const onRow = async (row: ResultRow): Promise<void> => {
    rows.push(row);
    if (rows.length === 2) setTimeout(more, 5000);
  };
  const { result } = await run([], { ahead: '3' }, { items: slow(), onRow, quietMs: 4000 });
  assert.equal(outcome(rows), { a: 'ok', b: 'ok', c: 'ok' });
  assert.is(result.crashes, 0);
});

test('an item that comes when its child is gone is run by the next one', async () => {
  let more: () => void = () => undefined;
  const late = new Promise<void>((resolve) => {
    more = resolve;
  });
  async function* slow(): AsyncGenerator<DatasetItem> {
    yield* source(['crash']);
    await late;
    yield* source(['b', 'c']);
  }
  const rows: ResultRow[] = [];
  const onRow = async (row: ResultRow): Promise<void> => {
    rows.push(row);
    more();
  };
  await run([], { ahead: '2' }, { items: slow(), onRow });
  assert.equal(outcome(rows), { b: 'ok', c: 'ok', crash: 'WORKER_DIED' });
  assert.is(rows.length, 3);
});

test('a cancelled run draws no more items', async () => {
  const stop = new AbortController();
  const rows: ResultRow[] = [];
  const ids = Array.from({ length: 500 }, (_, i) => `item ${i}`);
  const { result } = await run(
    ids,
    { ahead: '2' },
    {
      signal: stop.signal,
      onRow: async (row) => {
        rows.push(row);
        if (rows.length === 3) stop.abort();
      },
    },
  );
  assert.is(result.cancelled, true);
  assert.ok(rows.length >= 3 && rows.length < 50, `${rows.length} rows`);
});

test.run();
