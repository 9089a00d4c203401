import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ItemRecord } from '../../src/contracts/record.js';
import { type BatchRecord, figuresOf } from '../../src/sweep/measure.js';

/** One row of one picture whose first token came after `ttftMs`. */
const item = (index: number, ttftMs: number, decodeTokensPerSecond = 100): ItemRecord =>
  ({
    index,
    images: [{ digest: 'sha256:0', width: 1, height: 1, tiles: 1 }],
    text: '',
    metrics: { ttftMs, ttftQefficientMs: ttftMs / 2, decodeTokensPerSecond },
  }) as unknown as ItemRecord;
const batch = (start: number, end: number, ...ttft: number[]): BatchRecord => ({
  start,
  end,
  items: ttft.map((ms, i) => item(i, ms)),
});

test('a sample is a round: inputs that take different times are not spread', () => {
  const round = (at: number): BatchRecord[] => [batch(at, at + 10, 4), batch(at + 12, at + 42, 20)];
  const figures = figuresOf([round(0), round(50), round(100)], undefined, 1);
  assert.equal(figures.latencyMs.samples, [20, 20, 20]);
  assert.equal(figures.ttftMs.samples, [12, 12, 12]);
  assert.equal(figures.ttftQefficientMs.samples, [6, 6, 6]);
  assert.equal(figures.latencyMs.ci, [20, 20]);
  // 3 batches of 10 ms and 3 of 30.
  assert.is(figures.latencyPercentiles.p50, 20);
  assert.is(figures.latencyPercentiles.p99, 30);
});

test('rows of a batch add up in tokens a second, and are averaged per sequence', () => {
  const figures = figuresOf([[batch(0, 10, 1, 3)]], undefined, 1);
  assert.equal(figures.decodeTokensPerSecond.samples, [200]);
  assert.equal(figures.tokensPerSecondPerSequence.samples, [100]);
  assert.equal(figures.ttftMs.samples, [2]);
});

test('the time between two batches is not counted, that of overlapping ones once', () => {
  // One after the other: 2 pictures in 10 + 30 ms, the 12 ms of reading between them left out.
  assert.equal(figuresOf([[batch(0, 10, 1), batch(22, 52, 1)]], undefined, 1).imagesPerSecond.samples, [50]);
  // Two under way at once, 20 ms each, one done every 10 ms: 100 a second, and not 50.
  const queue = [0, 1, 2, 3, 4, 5].map((i) => batch(i * 10, i * 10 + 20, 1));
  const rounds = [queue.slice(0, 2), queue.slice(2, 4), queue.slice(4, 6)];
  // The first round starts while the warm-up's last batch (done at 10) is under way.
  assert.equal(figuresOf(rounds, 10, 1).imagesPerSecond.samples, [100, 100, 100]);
});

test.run();
