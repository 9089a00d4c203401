import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type Buckets,
  bestBuckets,
  bestPrefill,
  histogram,
  promptCost,
  shareSets,
} from '../../../../src/devices/ai100/planner/optimise.js';

const test = suite('sizes to compile');

/** A small repeatable generator. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function subsets(values: readonly number[], most: number): number[][] {
  let all: number[][] = [[]];
  for (const value of values) all = [...all, ...all.filter((s) => s.length < most).map((s) => [...s, value])];
  return all.filter((s) => s.length > 0);
}

const padded = (sizes: readonly number[], buckets: readonly number[]): number =>
  sizes.reduce((n, size) => n + Math.min(...buckets.filter((b) => b >= size)), 0);

test('tile counts: never more than the best of all subsets of all counts, and never less', () => {
  const next = random(1);
  for (let round = 0; round < 150; round++) {
    const sizes = Array.from({ length: 1 + next(8) }, () => 1 + next(9));
    const every = Array.from({ length: Math.max(...sizes) }, (_, i) => i + 1);
    const most = 1 + next(4);
    const found = bestBuckets(histogram(sizes), most);
    assert.is(found.length, most);
    for (const [k, buckets] of found.entries()) {
      const best = Math.min(...subsets(every, k + 1).map((s) => padded(sizes, s)));
      assert.is(buckets.cost, best, `${sizes} in ${k + 1}`);
      assert.is(padded(sizes, buckets.sizes), best);
      assert.ok(buckets.sizes.length <= k + 1);
    }
  }
});

test('prefill lengths: the best of all subsets, prompts cut as the loop cuts them', () => {
  const next = random(2);
  for (let round = 0; round < 80; round++) {
    const prompts = Array.from({ length: 1 + next(6) }, () => 1 + next(40));
    const step = 4;
    const longest = 4 * (1 + next(8));
    const call = next(12);
    const lengths = Array.from({ length: longest / step }, (_, i) => (i + 1) * step);
    const cost = (s: readonly number[]): number => prompts.reduce((n, p) => n + promptCost(p, s, call), 0);
    const found = bestPrefill(histogram(prompts), 3, { step, longest, call });
    for (const [k, buckets] of found.entries()) {
      const best = Math.min(...subsets(lengths, k + 1).map(cost));
      assert.is(buckets.cost, best, `${prompts} in ${k + 1} up to ${longest}`);
      assert.is(cost(buckets.sizes), best);
    }
  }
});

test('sets are shared so that the padding shares of both programs add up to the least', () => {
  const next = random(3);
  for (let round = 0; round < 50; round++) {
    const tiles = Array.from({ length: 4 }, () => 1 + next(13));
    const prompts = Array.from({ length: 4 }, () => 1 + next(60));
    const v = bestBuckets(histogram(tiles), 4);
    const l = bestPrefill(histogram(prompts), 4, { step: 4, longest: 64, call: 8 });
    const unpadded = { tiles: tiles.reduce((a, b) => a + b, 0), prefill: prompts.reduce((a, b) => a + b, 0) };
    const share = (a: Buckets, b: Buckets): number => a.cost / unpadded.tiles + b.cost / unpadded.prefill;
    const fitting = v.flatMap((a) => l.filter((b) => a.sizes.length + b.sizes.length <= 4).map((b) => share(a, b)));
    const split = shareSets(v, l, 4, unpadded);
    if (split === null || split.tiles === null) assert.unreachable();
    else assert.ok(Math.abs(share(split.tiles, split.prefill) - Math.min(...fitting)) < 1e-9);
  }
});

test('nothing to run, and too few sets, give no proposal', () => {
  assert.equal(bestBuckets(new Map(), 3), []);
  assert.equal(bestPrefill(new Map(), 3, { step: 8, longest: 64, call: 0 }), []);
  const one = bestBuckets(histogram([3]), 1);
  assert.is(shareSets(one, one, 1, { tiles: 3, prefill: 3 }), null);
  assert.equal(shareSets([], one, 1, { tiles: 0, prefill: 3 })?.prefill.sizes, [3]);
});

test.run();
