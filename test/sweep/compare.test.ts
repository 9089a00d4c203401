import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type CompareOptions, compareSides, type Side, type SidePoint } from '../../src/sweep/compare.js';

const options: CompareOptions = { metrics: ['latencyMs'], threshold: 0.05, alpha: 0.05, seed: 1 };
const around = (middle: number, n = 5): number[] => Array.from({ length: n }, (_, i) => middle * (1 + (i - 2) * 0.001));

function point(id: string, latency: readonly number[], more: Partial<SidePoint> = {}): SidePoint {
  return {
    id,
    name: id,
    status: 'measured',
    samples: { latencyMs: latency },
    tokens: [[1, 2]],
    score: null,
    noisy: false,
    ...more,
  };
}
const side = (points: readonly SidePoint[], reference = 'p', margin: number | null = null): Side => ({
  points,
  reference,
  margin,
});
const only = (before: SidePoint, after: SidePoint, more: Partial<CompareOptions> = {}) =>
  compareSides(side([before]), side([after]), { ...options, ...more });

test('worse only where significant and beyond the threshold', () => {
  assert.is(only(point('p', around(100)), point('p', around(120))).verdict, 'worse');
  assert.is(only(point('p', around(100)), point('p', around(80))).verdict, 'better');
  const close = only(point('p', around(100)), point('p', around(103)));
  assert.is(close.verdict, 'same', 'significant, but within 5 %');
  assert.ok((close.points[0]?.metrics[0]?.pHolm ?? 1) < 0.05);
  assert.is(only(point('p', around(100)), point('p', around(103)), { threshold: 0.02 }).verdict, 'worse');
  const few = only(point('p', [100, 101, 102]), point('p', [200, 201, 202]));
  assert.is(few.verdict, 'same', 'twice as slow, but 3 against 3');
  assert.ok(Math.abs((few.points[0]?.metrics[0]?.p ?? 0) - 0.1) < 1e-12);
  assert.is(few.hopeless, 1);
  assert.is(few.repeatsNeeded, 4);
});

test('more is better for rates', () => {
  const rate = (middle: number): SidePoint => point('p', [], { samples: { decodeTokensPerSecond: around(middle) } });
  const metrics = ['decodeTokensPerSecond'] as const;
  assert.is(only(rate(100), rate(80), { metrics }).verdict, 'worse');
  assert.is(only(rate(80), rate(100), { metrics }).verdict, 'better');
});

test('p is corrected for all tests of all points', () => {
  const sides = [100, 120].map((middle) =>
    side(Array.from({ length: 10 }, (_, i) => point(`p${i}`, around(i === 0 ? middle : 100)))),
  );
  const [a, b] = sides;
  if (a === undefined || b === undefined) throw new Error('two sides');
  const result = compareSides(a, b, options);
  assert.is(result.tests, 10);
  // 2/252 × 10 is above 0.05: what would be significant alone is not among ten.
  assert.is(result.verdict, 'same');
  assert.is(result.hopeless, 10);
  assert.is(result.repeatsNeeded, 6);
});

test('what no single point can show, all of them show together', () => {
  const many = (times: (i: number) => number): Side =>
    side(
      Array.from({ length: 40 }, (_, i) =>
        point(
          `p${i}`,
          [100, 101, 102].map((ms) => (ms + i) * times(i)),
        ),
      ),
    );
  const all = compareSides(
    many(() => 1),
    many(() => 2),
    options,
  );
  assert.is(all.hopeless, 40);
  assert.ok(all.points.every(({ verdict }) => verdict === 'same'));
  assert.is(all.verdict, 'worse');
  const [overall] = all.overall;
  assert.equal([overall?.ratio, overall?.up, overall?.down, overall?.verdict], [2, 40, 0, 'worse']);
  assert.is(
    compareSides(
      many(() => 2),
      many(() => 1),
      options,
    ).verdict,
    'better',
  );
  const mixed = compareSides(
    many(() => 1),
    many((i) => (i % 2 === 0 ? 2 : 0.5)),
    options,
  );
  assert.is(mixed.verdict, 'same', 'as many up as down');
  const little = compareSides(
    many(() => 1),
    many(() => 1.04),
    options,
  );
  assert.is(little.verdict, 'same', 'all went up, by less than the threshold');
  assert.ok((little.overall[0]?.pHolm ?? 1) < 1e-6);
});

test('a point that leaves its reference is worse, however fast', () => {
  const before = side([point('p', around(100)), point('q', around(100))]);
  const after = side([point('p', around(100)), point('q', around(10), { tokens: [[1, 3]] })]);
  const lost = compareSides(before, after, options);
  assert.is(lost.verdict, 'worse');
  assert.is(lost.points[1]?.parity, 'lost');
  assert.is(lost.points[1]?.tokens, 'changed');
  const regained = compareSides(after, before, { ...options, threshold: 20 });
  assert.is(regained.verdict, 'same');
  assert.is(regained.points[1]?.parity, 'regained');
  const unknown = compareSides(
    side([point('q', around(100))]),
    side([point('q', around(100), { tokens: [[9]] })]),
    options,
  );
  assert.is(unknown.points[0]?.parity, null);
  assert.is(unknown.points[0]?.tokens, 'changed');
});

test('where sweeps have scores, these are judged and not the tokens', () => {
  const [ref, fast] = [point('p', around(100), { score: 0.98 }), point('q', around(50), { score: 0.97 })];
  const before = side([ref, fast], 'p', 0.02);
  const judge = (score: number, reference = 0.98) => {
    const after = [
      { ...ref, score: reference },
      { ...fast, score, tokens: [[9]] },
    ];
    return compareSides(before, side(after, 'p', 0.02), options).points[1];
  };
  assert.equal([judge(0.96)?.parity, judge(0.96)?.verdict, judge(0.96)?.tokens], ['same', 'same', 'changed']);
  assert.equal([judge(0.9)?.parity, judge(0.9)?.verdict], ['lost', 'worse']);
  assert.is(judge(0.9, 0.91)?.parity, 'lost', 'the reference fell with it');
  assert.equal(judge(0.9)?.scores, [0.97, 0.9]);
});

test('points of one side are listed; one that fails now is worse', () => {
  const a = side([point('p', around(100)), point('a', around(1)), point('f', around(1))]);
  const failed = point('f', [], { status: 'failed', samples: {}, tokens: null, error: 'WORKER_DIED: it ended' });
  const b = side([point('p', around(100)), point('b', around(1)), failed]);
  const result = compareSides(a, b, options);
  assert.equal(result.onlyA, [{ id: 'a', name: 'a' }]);
  assert.equal(result.onlyB, [{ id: 'b', name: 'b' }]);
  assert.equal(result.broken, [{ id: 'f', name: 'f', error: 'WORKER_DIED: it ended' }]);
  assert.is(result.verdict, 'worse');
  assert.equal(compareSides(b, a, options).mended, [{ id: 'f', name: 'f' }]);
});

test('figures that are not there are not tested', () => {
  const zero = point('p', [0, 0, 0, 0, 0]);
  assert.is(only(zero, zero).tests, 0);
  assert.is(only(point('p', around(1), { samples: {} }), point('p', around(1))).tests, 0);
});

test.run();
