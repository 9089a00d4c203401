import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Answered, answeredOf, type Expected, expectedOf, isBelow, scoreOf } from '../../src/sweep/score.js';

const expected = (value: unknown): Expected => {
  const found = expectedOf(value);
  if (found === null) return assert.unreachable('nothing to expect') as never;
  return found;
};
const said = (text: string): Answered => ({ text, boxes: [] });
const boxed = (...boxes: readonly (readonly [string, number, number, number, number])[]): Answered => ({
  text: '',
  boxes: boxes.map(([label, ...box]) => ({ label, box })),
});

test('texts are exact, blanks apart, or contained', () => {
  assert.is(scoreOf(expected('a red  circle\n'), said(' a red circle'), 'exact'), 1);
  assert.is(scoreOf(expected('a red circle'), said('A red circle'), 'exact'), 0);
  assert.is(scoreOf(expected(3), said('3'), 'exact'), 1);
  assert.is(scoreOf(expected('red'), said('It is RED, I think'), 'contains'), 1);
  assert.is(scoreOf(expected('red'), said('blue'), 'contains'), 0);
});

test('a box scores its overlap over both together', () => {
  // 5 × 10 shared of 150: a third.
  assert.ok(Math.abs(scoreOf(expected([0, 0, 10, 10]), boxed(['x', 5, 0, 15, 10]), 'exact') - 1 / 3) < 1e-12);
  assert.is(scoreOf(expected([0, 0, 10, 10]), boxed(['x', 0, 0, 10, 10]), 'exact'), 1);
  assert.is(scoreOf(expected([0, 0, 10, 10]), boxed(['x', 20, 20, 30, 30]), 'exact'), 0);
  assert.is(scoreOf(expected([0, 0, 10, 10]), said('nothing'), 'exact'), 0);
});

test('a label counts where one is expected; a box too few and one too many are punished', () => {
  const star = { label: 'red star', box: [0, 0, 10, 10] };
  assert.is(scoreOf(expected(star), boxed(['Red  Star', 0, 0, 10, 10]), 'exact'), 1);
  assert.is(scoreOf(expected(star), boxed(['blue star', 0, 0, 10, 10]), 'exact'), 0);
  const two = [
    [0, 0, 10, 10],
    [20, 0, 30, 10],
  ];
  assert.is(scoreOf(expected(two), boxed(['x', 0, 0, 10, 10]), 'exact'), 0.5);
  assert.is(scoreOf(expected(star), boxed(['red star', 0, 0, 10, 10], ['red star', 0, 0, 10, 10]), 'exact'), 0.5);
});

test('cells of CSV files, and what nothing can be compared with', () => {
  assert.equal(expectedOf('[1, 2, 3, 4]'), { kind: 'boxes', boxes: [{ label: null, box: [1, 2, 3, 4] }] });
  assert.equal(expectedOf('[red] circle'), { kind: 'text', text: '[red] circle' });
  assert.equal(
    [expectedOf(undefined), expectedOf(null), expectedOf([1, 2]), expectedOf({ a: 1 })],
    [null, null, null, null],
  );
});

test('the answer of a record is its text and the boxes of its first output that has some', () => {
  const outputs = {
    note: { kind: 'text', text: 'b' },
    answer: { text: 'a', boxes: [{ label: 'x', box: [1, 2, 3, 4] }] },
  };
  assert.equal(answeredOf('t', outputs), { text: 't', boxes: [{ label: 'x', box: [1, 2, 3, 4] }] });
  assert.equal(answeredOf(undefined, outputs).text, 'b');
  assert.equal(answeredOf(undefined, undefined), { text: '', boxes: [] });
});

test('below is beyond the margin, and rounding is no difference', () => {
  assert.is(isBelow(0.9, 0.92, 0.02), false);
  assert.is(isBelow(0.8999, 0.92, 0.02), true);
  assert.is(isBelow(0.1 + 0.2, 0.3, 0), false);
});

test.run();
