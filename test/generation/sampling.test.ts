import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { philox, Random } from '../../src/generation/random.js';
import { Filter, Sampler } from '../../src/generation/sampling.js';
import { GREEDY, type SamplingOptions } from '../../src/generation/types.js';
import { packageRoot } from '../../src/util/package-root.js';

interface GoldenSampling {
  readonly cases: readonly {
    readonly name: string;
    readonly logits: readonly (number | null)[];
    readonly results: readonly {
      readonly options: Readonly<Record<string, number>>;
      readonly order: readonly string[];
      readonly seen: readonly number[];
      readonly kept: readonly number[];
      readonly scores: readonly number[];
    }[];
  }[];
}
const golden = JSON.parse(readFileSync(join(packageRoot(), 'test/golden/sampling.json'), 'utf8')) as GoldenSampling;

const test = suite('sampling');

function optionsOf(given: Readonly<Record<string, number>>): SamplingOptions {
  return {
    ...GREEDY,
    temperature: given.temperature ?? 0,
    topK: given.top_k ?? 0,
    topP: given.top_p ?? 1,
    minP: given.min_p ?? 0,
    repetitionPenalty: given.repetition_penalty ?? 1,
  };
}

function scoreOf(id: number, ids: readonly number[], scores: readonly number[]): number {
  return scores[ids.indexOf(id)] ?? Number.NEGATIVE_INFINITY;
}

for (const c of golden.cases) {
  const logits = Float32Array.from(c.logits, (v) => v ?? Number.NEGATIVE_INFINITY);
  for (const r of c.results) {
    test(`${c.name} ${JSON.stringify(r.options)} leaves what ${r.order.join(', ') || 'greedy'} leaves`, () => {
      const kept = new Filter(optionsOf(r.options), logits.length).apply(logits, new Set(r.seen));
      const ids = Array.from(kept.ids.subarray(0, kept.count));
      const scores = Array.from(kept.scores.subarray(0, kept.count));
      const cut = Math.min(...scores);
      // Of equals at the cut of top-p the reference keeps as many, but leaves open which: its sort is not stable.
      const sure = (all: readonly number[]): readonly number[] =>
        c.name === 'ties' && r.options.top_p !== undefined ? all.filter((id) => scoreOf(id, ids, scores) > cut) : all;
      assert.equal(sure(ids), sure(r.kept));
      assert.is(ids.length, r.kept.length);
      // Scores are float32 on both sides, after penalty and temperature.
      const given = scores.slice(0, r.scores.length);
      if (c.name === 'ties') assert.equal(given.sort(), r.scores.map(Math.fround).sort());
      else assert.equal(given, r.scores.map(Math.fround));
    });
  }
}

test('the order of the reference is repetition penalty, temperature, top-k, top-p, min-p', () => {
  const all = golden.cases[0]?.results.find((r) => r.order.length === 5);
  assert.equal(all?.order, [
    'RepetitionPenaltyLogitsProcessor',
    'TemperatureLogitsWarper',
    'TopKLogitsWarper',
    'TopPLogitsWarper',
    'MinPLogitsWarper',
  ]);
});

test('philox4x32-10 gives the known answers of its authors', () => {
  const known: readonly [number[], number[], number[]][] = [
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ];
  for (const [counter, key, expected] of known) {
    const state = Uint32Array.from(counter);
    philox(state, Uint32Array.from(key));
    assert.equal(Array.from(state), expected);
  }
});

test('draws depend on seed and step alone, and fill [0, 1) evenly', () => {
  const a = new Random(42);
  const draws = Array.from({ length: 4000 }, (_, i) => a.at(i));
  assert.is(new Random(42).at(1234), draws[1234]);
  assert.is.not(new Random(43).at(1234), draws[1234]);
  assert.is.not(new Random(42 + 2 ** 32).at(1234), draws[1234]);
  assert.ok(draws.every((d) => d >= 0 && d < 1));
  const bins = new Array<number>(10).fill(0);
  for (const d of draws) bins[Math.floor(d * 10)] = (bins[Math.floor(d * 10)] ?? 0) + 1;
  // Chi-square with 9 degrees of freedom: 27.9 is the 0.1 % point.
  assert.ok(bins.reduce((sum, n) => sum + (n - 400) ** 2 / 400, 0) < 27.9);
});

test('tokens are drawn as often as their probabilities say', () => {
  const logits = Float32Array.of(Math.log(0.5), Math.log(0.3), Math.log(0.15), Math.log(0.05));
  const options = { ...GREEDY, temperature: 1, seed: 5 };
  const filter = new Filter(options, 4);
  const sampler = new Sampler(options, new Int32Array(0));
  const counts = [0, 0, 0, 0];
  for (let i = 0; i < 8000; i++) {
    const id = sampler.pick(logits, filter);
    counts[id] = (counts[id] ?? 0) + 1;
  }
  const chi = [0.5, 0.3, 0.15, 0.05].reduce((s, p, i) => s + ((counts[i] ?? 0) - 8000 * p) ** 2 / (8000 * p), 0);
  assert.ok(chi < 16.3, `chi-square ${chi} of ${counts}`); // 3 degrees of freedom, 0.1 % point
});

test('the same seed gives the same tokens, another seed others', () => {
  const logits = Float32Array.from({ length: 200 }, (_, i) => Math.sin(i) * 2);
  const draw = (seed: number): number[] => {
    const options = { ...GREEDY, temperature: 1, seed };
    const sampler = new Sampler(options, new Int32Array(0));
    const filter = new Filter(options, 200);
    return Array.from({ length: 50 }, () => sampler.pick(logits, filter));
  };
  assert.equal(draw(1), draw(1));
  assert.not.equal(draw(1), draw(2));
});

test('greedy takes the lowest index among equals; NaN and -Infinity never win', () => {
  const options = { ...GREEDY, repetitionPenalty: 1.2 };
  const pick = (values: number[]): number =>
    new Sampler(options, new Int32Array(0)).pick(Float32Array.from(values), new Filter(options, values.length));
  assert.is(pick([1, 3, 3, 2]), 1);
  assert.is(pick([Number.NaN, Number.NEGATIVE_INFINITY, -5]), 2);
  assert.is(pick([Number.NaN, Number.NaN]), 0);
});

test('of equals at the cut of top-p the lowest ids stay', () => {
  const options = { ...GREEDY, temperature: 1, topP: 0.5 };
  const kept = new Filter(options, 6).apply(Float32Array.of(0, 0, 1, 0, 0, 0), new Set());
  // e / (e + 5) = 0.35 of the mass, then ties of 0.13 until half is reached.
  assert.equal(Array.from(kept.ids.subarray(0, kept.count)), [0, 1, 2]);
});

test('a penalty above 1 lets a token that was said once fall behind', () => {
  const options = { ...GREEDY, repetitionPenalty: 2 };
  const filter = new Filter(options, 3);
  const sampler = new Sampler(options, Int32Array.of(2));
  const logits = Float32Array.of(3, 2.5, 4);
  assert.equal([sampler.pick(logits, filter), sampler.pick(logits, filter), sampler.pick(logits, filter)], [0, 1, 2]);
});

test.run();
