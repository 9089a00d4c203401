import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Load, suggestShapes, wasteOf } from '../../../../src/devices/ai100/planner/suggest.js';

const test = suite('proposed shapes');
const loads: readonly Load[] = [
  { tiles: 1, tokens: 40 },
  { tiles: 1, tokens: 41 },
  { tiles: 5, tokens: 300 },
  { tiles: 13, tokens: 700 },
  { tiles: 0, tokens: 20 },
];
const options = { sets: 6, batches: 1, newTokens: 64, step: 32, callCost: 64 };

test('more sets never waste more, and never more sets than allowed are proposed', () => {
  let before = Number.POSITIVE_INFINITY;
  for (let sets = 3; sets <= 10; sets++) {
    const shapes = suggestShapes(loads, { ...options, sets, callCost: 0 });
    if (shapes === null) assert.unreachable();
    else {
      const waste = wasteOf(loads, shapes, 64, 1);
      assert.ok(waste.sets <= sets);
      assert.is(waste.unfit, 0);
      const both = waste.tiles.computed / waste.tiles.used + waste.prefill.computed / waste.prefill.used;
      assert.ok(both <= before + 1e-9, `${sets}: ${both} > ${before}`);
      before = both;
    }
  }
});

test('each compiled batch size takes its own prefill and decode sets', () => {
  const shapes = suggestShapes(loads, { ...options, sets: 7, batches: 2 });
  assert.ok(shapes !== null);
  if (shapes !== null) assert.ok(wasteOf(loads, shapes, 64, 2).sets <= 7);
  assert.is(suggestShapes(loads, { ...options, sets: 4, batches: 2 }), null);
  assert.is(suggestShapes(loads, { ...options, sets: 2 }), null);
  assert.is(suggestShapes([], options), null);
});

test('text alone asks for no tiles, and the context holds prompt and answer', () => {
  const shapes = suggestShapes([{ tiles: 0, tokens: 100 }], options);
  assert.equal(shapes, { tiles: [], prefill: [128], ctxLen: 192 });
});

test('what does not fit is counted and left out', () => {
  const waste = wasteOf(loads, { tiles: [5], prefill: [128], ctxLen: 512 }, 64, 1);
  assert.is(waste.unfit, 1);
  assert.equal(waste.tiles, { used: 7, computed: 15, wastePercent: 53.3 });
  // 40, 41 and 20 tokens in one call of 128 each, 300 in three.
  assert.equal(waste.prefill, { used: 401, computed: 768, wastePercent: 47.8 });
  assert.is(waste.prefillCalls, 6);
});

test.run();
