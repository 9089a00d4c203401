import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { TEXT_MS, TextPieces } from '../../src/runner/text-pieces.js';

function recorded(): { pieces: TextPieces; sent: [number, string][]; clock: { now: number } } {
  const sent: [number, string][] = [];
  const clock = { now: 1000 };
  const pieces = new TextPieces(
    (item, piece) => sent.push([item, piece]),
    () => clock.now,
  );
  return { pieces, sent, clock };
}

test('the first piece of an item goes out at once, later ones together', () => {
  const { pieces, sent, clock } = recorded();
  pieces.add(0, 'a');
  assert.equal(sent, [[0, 'a']]);
  pieces.add(0, ' red');
  pieces.add(0, ' star');
  assert.is(sent.length, 1);
  clock.now += TEXT_MS;
  pieces.add(0, '.');
  assert.equal(sent, [
    [0, 'a'],
    [0, ' red star.'],
  ]);
});

test('a step without text sends what is due, and the end sends the rest once', () => {
  const { pieces, sent, clock } = recorded();
  pieces.add(0, 'a');
  pieces.add(0, 'b');
  pieces.flushDue();
  assert.is(sent.length, 1);
  clock.now += TEXT_MS;
  pieces.flushDue();
  pieces.add(0, 'c');
  pieces.flush();
  pieces.flush();
  assert.equal(
    sent.map(([, piece]) => piece),
    ['a', 'b', 'c'],
  );
});

test('rows of a batch keep their own text, whole and in order', () => {
  const { pieces, sent, clock } = recorded();
  for (let i = 0; i < 20; i++) {
    clock.now += 5;
    for (const row of [0, 1, 2]) pieces.add(row, `${row}${i},`);
  }
  pieces.flush();
  for (const row of [0, 1, 2]) {
    const text = sent.filter(([item]) => item === row).map(([, piece]) => piece);
    assert.is(text.join(''), Array.from({ length: 20 }, (_, i) => `${row}${i},`).join(''));
    assert.ok(text.length < 10, `${text.length} messages`);
  }
});

test.run();
