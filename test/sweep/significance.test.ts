// Against SciPy and statsmodels; see tools/reference/significance_goldens.py.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { holm, mannWhitney, medianRatio, signTest, smallestP } from '../../src/sweep/significance.js';
import { packageRoot } from '../../src/util/package-root.js';

interface Golden {
  readonly rankSum: readonly {
    readonly a: readonly number[];
    readonly b: readonly number[];
    readonly kind: 'exact' | 'asymptotic';
    readonly tied: boolean;
    readonly u: number;
    readonly p: number;
  }[];
  readonly holm: readonly { readonly p: readonly number[]; readonly adjusted: readonly number[] }[];
}
const golden = JSON.parse(readFileSync(join(packageRoot(), 'test/golden/significance.json'), 'utf8')) as Golden;

/** Both count whole numbers or evaluate the same formula in doubles: what parts them is rounding of some 100 terms. */
const near = (mine: number, theirs: number, what: string): void =>
  assert.ok(Math.abs(mine - theirs) <= 1e-12 + 1e-10 * theirs, `${what}: ${mine}, golden ${theirs}`);

test('the rank-sum test is SciPy’s: exact, with equal samples, and the approximation of many', () => {
  const seen = { exact: 0, tied: 0, asymptotic: 0 };
  for (const { a, b, kind, tied, u, p } of golden.rankSum) {
    const mine = mannWhitney(a, b);
    const what = `${kind} ${a.length} against ${b.length}${tied ? ', tied' : ''}`;
    near(mine.u, u, `u of ${what}`);
    near(mine.p, p, `p of ${what}`);
    assert.is(mine.exact, kind === 'exact', what);
    near(mannWhitney(b, a).p, p, `p the other way round of ${what}`);
    seen[kind]++;
    if (tied) seen.tied++;
  }
  assert.ok(seen.exact >= 20 && seen.tied >= 10 && seen.asymptotic >= 10, JSON.stringify(seen));
});

test('Holm’s correction is that of statsmodels', () => {
  assert.ok(golden.holm.length >= 5);
  for (const { p, adjusted } of golden.holm) {
    const mine = holm(p);
    for (const [i, value] of adjusted.entries()) near(mine[i] ?? Number.NaN, value, `Holm of ${p.join()}`);
  }
  assert.equal(holm([]), []);
});

test('the smallest p is that of two sets that do not meet', () => {
  near(smallestP(3, 3), 0.1, '3 against 3');
  near(smallestP(5, 5), 2 / 252, '5 against 5');
  near(smallestP(1, 1), 1, '1 against 1');
  for (const [n, m] of [
    [3, 3],
    [4, 7],
    [10, 10],
  ] as const) {
    const apart = mannWhitney(
      Array.from({ length: n }, (_, i) => i),
      Array.from({ length: m }, (_, i) => 1000 + i),
    );
    near(apart.p, smallestP(n, m), `${n} against ${m}`);
  }
});

test('nothing to tell apart', () => {
  assert.is(mannWhitney([], [1]).p, 1);
  assert.is(mannWhitney(Array(30).fill(2), Array(30).fill(2)).p, 1);
});

test('the ratio of medians and its interval: seeded, around the ratio, narrow where samples are', () => {
  const a = [10, 10.1, 9.9, 10.05, 9.95];
  const b = a.map((x) => x * 1.2);
  const { ratio, ci } = medianRatio(a, b, 3);
  assert.ok(Math.abs(ratio - 1.2) < 1e-12);
  assert.ok(ci[0] >= (9.9 * 1.2) / 10.1 - 1e-9 && ci[0] < 1.2 && ci[1] > 1.2 && ci[1] <= (10.1 * 1.2) / 9.9 + 1e-9);
  assert.equal(medianRatio(a, b, 3), medianRatio(a, b, 3));
});

test('sign test', () => {
  // scipy.stats.binomtest(k, n).pvalue, scipy 1.x
  for (const [up, n, p] of [
    [0, 6, 0.03125],
    [9, 10, 0.021484375],
    [15, 20, 0.04138946533203125],
    [5, 10, 1],
    [0, 0, 1],
  ] as const)
    assert.ok(Math.abs(signTest(up, n) - p) < 1e-12, `${up} of ${n}: ${signTest(up, n)}`);
  assert.ok(signTest(0, 5000) >= 0 && signTest(0, 5000) < 1e-300);
  assert.ok(Math.abs(signTest(2600, 5000) - signTest(2400, 5000)) < 1e-15);
});

test.run();
