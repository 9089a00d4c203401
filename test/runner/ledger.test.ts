import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Ledger } from '../../src/contracts/record.js';
import { flatten, LedgerBook } from '../../src/runner/ledger.js';
import type { ClockSpan } from '../../src/runner/protocol.js';
import { chromeTrace } from '../../src/runner/trace.js';
import { fakePlan, runFake, text } from './fakes/plans.js';

const test = suite('ledger');
const span = (stage: ClockSpan['stage'], start: number, end: number, node?: string): ClockSpan => ({
  stage,
  start,
  end,
  ...(node === undefined ? {} : { node }),
});

function assertSums(ledger: Ledger): void {
  for (const lane of ledger.lanes) {
    const total = Object.values(lane.stages).reduce((a, b) => a + b, 0);
    assert.ok(
      Math.abs(total - ledger.wallMs) < 1e-6 * Math.max(1, ledger.wallMs),
      `${lane.lane}: ${total} of ${ledger.wallMs}`,
    );
    let at = 0;
    for (const s of lane.spans) {
      assert.ok(s.startMs >= at - 1e-9 && s.endMs > s.startMs && s.endMs <= ledger.wallMs + 1e-9, JSON.stringify(s));
      at = s.endMs;
    }
  }
}

test('of overlapping spans the one that began last counts', () => {
  const flat = flatten([span('preprocess', 0, 100), span('image decode', 20, 50), span('load', 30, 40)], 0, 100);
  assert.equal(
    flat.map((s) => [s.stage, s.startMs, s.endMs]),
    [
      ['preprocess', 0, 20],
      ['image decode', 20, 30],
      ['load', 30, 40],
      ['image decode', 40, 50],
      ['preprocess', 50, 100],
    ],
  );
});

test('spans that cross, touch, stick out or are empty', () => {
  const flat = flatten(
    [span('load', -5, 10), span('encode', 5, 30), span('fuse', 30, 30), span('fuse', 30, 70)],
    0,
    50,
  );
  assert.equal(
    flat.map((s) => [s.stage, s.startMs, s.endMs]),
    [
      ['load', 0, 5],
      ['encode', 5, 30],
      ['fuse', 30, 50],
    ],
  );
});

test('any spans at all: stages sum to the wall time', () => {
  let seed = 1;
  const random = (): number => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return seed / 2147483648;
  };
  for (let round = 0; round < 200; round++) {
    const book = new LedgerBook(1000);
    for (let i = 0; i < 12; i++) {
      const start = 950 + random() * 200;
      book.add(`lane ${i % 3}`, [span(i % 2 === 0 ? 'load' : 'encode', start, start + random() * 80, `n${i}`)]);
    }
    assertSums(book.close(1100));
  }
});

test('a real run: every lane sums to the wall time, work is not called idle', async () => {
  const plan = fakePlan(
    {
      a: { kind: 'sleep', inputs: { text: '$.text' }, options: { ms: 100 } },
      see: { kind: 'device', inputs: { text: 'a.text' } },
      say: { kind: 'generate', inputs: { text: 'see.text' }, options: { steps: 10 } },
    },
    { out: 'say.text' },
    { main: { kind: 'fake', callMs: 10 } },
  );
  const { result } = await runFake(plan, [text('x')]);
  assertSums(result.ledger);
  assert.equal(result.ledger.lanes.map((l) => l.lane).sort(), ['host 1', 'main', 'main language', 'main vision']);
  const stages = (lane: string) => result.ledger.lanes.find((l) => l.lane === lane)?.stages ?? {};
  assert.ok((stages('host 1').preprocess ?? 0) >= 95, JSON.stringify(stages('host 1')));
  assert.ok((stages('main language').decode ?? 0) >= 95, JSON.stringify(stages('main language')));
  assert.ok((stages('main language').start ?? 0) > 0);
  const ends = result.ledger.lanes.flatMap((l) => l.spans.map((s) => s.endMs));
  assert.ok(Math.max(...ends) <= result.ledger.wallMs);
});

test('the clocks of threads agree: a step starts after the one it waits for', async () => {
  const plan = fakePlan(
    {
      a: { kind: 'sleep', inputs: { text: '$.text' }, options: { ms: 20 } },
      say: { kind: 'generate', inputs: { text: 'a.text' }, options: { steps: 3 } },
    },
    { out: 'say.text' },
  );
  const { result } = await runFake(plan, [text('x')]);
  const of = (node: string) =>
    result.ledger.lanes
      .flatMap((l) => (l.lane === 'main' ? [] : l.spans))
      .filter((s) => s.node === node && s.stage !== 'load' && s.stage !== 'transfer');
  assert.ok(Math.max(...of('a').map((s) => s.endMs)) <= Math.min(...of('say').map((s) => s.startMs)));
});

test('a Chrome trace has every span, in microseconds, and a name for each lane', () => {
  const book = new LedgerBook(0);
  book.add('main', [span('plan', 1, 3)]);
  book.add('host 1', [span('preprocess', 2, 4, 'preprocess')]);
  const { traceEvents } = JSON.parse(chromeTrace(book.close(5), 'x')) as { traceEvents: Record<string, unknown>[] };
  const spans = traceEvents.filter((e) => e['ph'] === 'X');
  assert.equal(
    spans.map((e) => [e['name'], e['ts'], e['dur'], e['tid']]),
    [
      ['plan', 1000, 2000, 0],
      ['preprocess: preprocess', 2000, 2000, 1],
    ],
  );
  assert.equal(
    traceEvents.filter((e) => e['name'] === 'thread_name').map((e) => (e['args'] as { name: string }).name),
    ['main', 'host 1'],
  );
});

test('spans of a trace that touch do not reach into one another where they are rounded', () => {
  const book = new LedgerBook(0);
  const ends = Array.from({ length: 400 }, (_, i) => i * 0.00063 + 0.0006);
  for (const [i, end] of ends.entries()) book.add('main', [span(i % 2 === 0 ? 'plan' : 'load', ends[i - 1] ?? 0, end)]);
  const { traceEvents } = JSON.parse(chromeTrace(book.close(1), 'x')) as { traceEvents: Record<string, unknown>[] };
  let at = 0;
  for (const { ph, ts, dur } of traceEvents) {
    if (ph !== 'X') continue;
    assert.ok(Number(ts) >= at && Number(dur) >= 0, `${ts} + ${dur} after ${at}`);
    at = Number(ts) + Number(dur);
  }
  assert.is(at, Math.round((ends.at(-1) ?? 0) * 1000));
});

test.run();
