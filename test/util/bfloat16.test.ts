import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { toBfloat16 } from '../../src/util/bfloat16.js';

test('the nearest of eight significant bits, ties to even, signs and special values kept', () => {
  for (const [value, rounded] of [
    [1, 1],
    [257, 256],
    [259, 260],
    [258.5, 258],
    [-257, -256],
    [-259, -260],
    [1 / 3, 0.333984375],
    [0.1, 0.10009765625],
    [3.4028235e38, Number.POSITIVE_INFINITY],
    [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY],
  ] as const) {
    assert.is(toBfloat16(value), rounded, String(value));
  }
  assert.ok(Object.is(toBfloat16(-0), -0));
  assert.ok(Number.isNaN(toBfloat16(Number.NaN)));
});

test.run();
