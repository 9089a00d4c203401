import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../src/contracts/errors.js';
import type { ItemRecord } from '../../src/contracts/record.js';
import type { RunItem } from '../../src/runner/item.js';
import { LedgerBook } from '../../src/runner/ledger.js';
import { chunksOf } from '../../src/runner/stream.js';
import { fakePlan, runFake, text } from './fakes/plans.js';

const test = suite('stream');
const PLAN = fakePlan({ host: { kind: 'upper', inputs: { text: '$.text' } } }, { answer: 'host.text' });

async function* numbered(count: number, drawn: number[] = []): AsyncGenerator<RunItem> {
  for (let i = 0; i < count; i++) {
    drawn.push(i);
    yield text(`item ${i}`);
  }
}

test('callers that draw at once get whole chunks, in order, and then nothing', async () => {
  const next = chunksOf(
    (async function* () {
      yield* ['a', 'b', 'c', 'd', 'e'];
    })(),
    2,
    (item, index) => `${item}${index}`,
  );
  const chunks = await Promise.all([next(), next(), next(), next(), next()]);
  assert.equal(chunks, [['a0', 'b1'], ['c2', 'd3'], ['e4'], [], []]);
});

test('every item of a stream comes back once, and none is kept', async () => {
  const seen: ItemRecord[] = [];
  const { result } = await runFake(PLAN, [], { items: numbered(50), onItem: (record) => void seen.push(record) });
  assert.is(result.ok, true);
  assert.equal(result.items, []);
  assert.equal(
    seen.map((r) => r.index).sort((a, b) => a - b),
    Array.from({ length: 50 }, (_, i) => i),
  );
  assert.equal(
    [...seen].sort((a, b) => a.index - b.index).map((r) => r.text),
    Array.from({ length: 50 }, (_, i) => `ITEM ${i}`),
  );
});

test('a stream is drawn from only as there is room', async () => {
  const drawn: number[] = [];
  let done = 0;
  let ahead = 0;
  await runFake(PLAN, [], {
    items: numbered(40, drawn),
    onItem: () => {
      done++;
      ahead = Math.max(ahead, drawn.length - done);
    },
  });
  assert.is(done, 40);
  // Two host threads: four chunks of one item are under way, and each line draws its next one.
  assert.ok(ahead <= 5, `${ahead} items were under way`);
});

test('a source that breaks ends the run with its error; what was done is told', async () => {
  const seen: number[] = [];
  const broken = async function* (): AsyncGenerator<RunItem> {
    yield text('one');
    throw new VlmError('INPUT_UNREADABLE', { what: 'The list cannot be read' });
  };
  try {
    await runFake(PLAN, [], { items: broken(), onItem: (record) => void seen.push(record.index) });
    assert.unreachable();
  } catch (error) {
    assert.instance(error, VlmError);
    assert.is((error as VlmError).code, 'INPUT_UNREADABLE');
  }
  assert.equal(seen, [0]);
});

test('a cancelled stream is drawn no further', async () => {
  const drawn: number[] = [];
  const cancel = new Int32Array(new SharedArrayBuffer(4));
  const { result } = await runFake(PLAN, [], {
    items: numbered(1000, drawn),
    cancel,
    onItem: () => {
      Atomics.store(cancel, 0, 1);
    },
  });
  assert.ok(drawn.length < 20, `${drawn.length} items were drawn`);
  assert.ok(result.ok || result.error?.code === 'CANCELLED');
});

test('sums of a long run are those of a ledger that keeps every span', () => {
  const whole = new LedgerBook(1000);
  const sums = new LedgerBook(1000, { totalsOnly: true });
  for (let i = 0; i < 20_000; i++) {
    const at = 1000 + i * 10;
    const spans = [
      { stage: 'encode' as const, start: at, end: at + 8 },
      { stage: 'load' as const, start: at + 2, end: at + 3 },
    ];
    whole.add('main cpu', spans);
    sums.add('main cpu', spans);
  }
  const [a, b] = [whole.close(201_500), sums.close(201_500)];
  assert.is(a.wallMs, b.wallMs);
  for (const [i, lane] of a.lanes.entries()) {
    const other = b.lanes[i];
    assert.is(lane.lane, other?.lane);
    assert.equal(other?.spans, []);
    for (const [stage, ms] of Object.entries(lane.stages)) {
      const sum = Object.entries(other?.stages ?? {}).find(([name]) => name === stage)?.[1] ?? Number.NaN;
      assert.ok(Math.abs(sum - ms) < 1e-3, `${lane.lane} ${stage}: ${sum} of ${ms}`);
    }
  }
});

test.run();
