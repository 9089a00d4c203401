import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parityOf } from '../../src/sweep/measure.js';
import { randomOf } from '../../src/sweep/random.js';
import { median, percentile, spread, statistic } from '../../src/sweep/stats.js';

test('percentiles are numpy’s', () => {
  // numpy.percentile([15, 20, 35, 40, 50], [0, 5, 30, 40, 50, 95, 100])
  const samples = [35, 50, 15, 40, 20];
  assert.equal(
    [0, 0.05, 0.3, 0.4, 0.5, 0.95, 1].map((p) => Number(percentile(samples, p).toFixed(9))),
    [15, 16, 23, 29, 35, 48, 50],
  );
  assert.is(median([1, 2, 3, 4]), 2.5);
});

test('the interval covers the true median about 95 times in 100', () => {
  const random = randomOf(11);
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  let covered = 0;
  for (let i = 0; i < 200; i++) {
    const { ci } = statistic(
      Array.from({ length: 21 }, () => 10 + normal()),
      i,
    );
    if (ci[0] <= 10 && 10 <= ci[1]) covered++;
  }
  // Binomial with n 200 and p 0.95: 178 to 199 in all but 1 of 1000 cases; the percentile bootstrap is a little narrow.
  assert.ok(covered >= 174 && covered <= 200, `${covered} of 200`);
});

test('one sample says nothing of its spread; equal ones have none', () => {
  assert.is(spread(statistic([5], 1)), Number.POSITIVE_INFINITY);
  assert.is(spread(statistic([5, 5, 5], 1)), 0);
  assert.equal(statistic([3, 1, 2], 4), statistic([3, 1, 2], 4));
});

test('parity names the first token that differs', () => {
  assert.is(parityOf([[1, 2], [3]], [[1, 2], [3]]), 'same');
  assert.equal(
    parityOf(
      [
        [1, 2],
        [3, 4],
      ],
      [
        [1, 2],
        [3, 5],
      ],
    ),
    { input: 1, token: 1 },
  );
  assert.equal(parityOf([[1, 2]], [[1, 2, 3]]), { input: 0, token: 2 });
});

test.run();
