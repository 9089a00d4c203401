import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { TextStream } from '../../src/contracts/node.js';
import { AnswerText } from '../../src/generation/answer-text.js';

/** Tokens are the pieces themselves; `<…>` is special: the visible stream drops it. */
function streams(pieces: readonly string[]): { visible: TextStream; raw: TextStream } {
  const make = (keep: boolean): TextStream => ({
    push: (id) => {
      const piece = pieces[id] ?? '';
      return keep || !piece.startsWith('<') ? piece : '';
    },
    flush: () => '',
  });
  return { visible: make(false), raw: make(true) };
}

function play(pieces: readonly string[], stops: readonly string[]) {
  const { visible, raw } = streams(pieces);
  const answer = new AnswerText(visible, raw, stops);
  const shown: string[] = [];
  for (const [id] of pieces.entries()) {
    shown.push(answer.push(id));
    if (answer.stopped) break;
  }
  if (!answer.stopped) shown.push(answer.end());
  return { shown, text: answer.text, raw: answer.rawText, stopped: answer.stopped };
}

const test = suite('answer text');

test('without stop strings every piece is shown at once', () => {
  const { shown, text, stopped } = play(['a', 'bc', 'd'], []);
  assert.equal(shown, ['a', 'bc', 'd', '']);
  assert.is(text, 'abcd');
  assert.not(stopped);
});

test('a stop string across tokens is never shown, not even its beginning', () => {
  const { shown, text, stopped } = play(['one', ' E', 'N', 'D', ' two'], ['END']);
  assert.equal(shown, ['one', ' ', '', '']);
  assert.is(text, 'one ');
  assert.ok(stopped);
});

test('what only looked like the beginning of a stop string is shown after all', () => {
  const { shown, text } = play(['x E', 'N', 'T', ' EN'], ['END']);
  assert.equal(shown, ['x ', '', 'ENT', ' ', 'EN']);
  assert.is(text, 'x ENT EN');
});

test('a beginning inside a beginning is found', () => {
  assert.is(play(['aab', 'aab', 'aac', 'z'], ['aabaac']).text, 'aab');
  assert.is(play(['a', 'a', 'a', 'b'], ['aab']).text, 'a');
});

test('the first of several stop strings cuts, wherever it lies in a piece', () => {
  assert.is(play(['one two three four'], ['four', 'two']).text, 'one ');
  assert.is(play(['\n', '\n', 'x'], ['\n\n']).text, '');
});

test('the raw text keeps special tokens and is cut at the same place', () => {
  const cut = play(['<ref>', 'cat', '</ref>', ' and', ' STOP', '<box>', 'dog'], ['STOP']);
  assert.is(cut.text, 'cat and ');
  assert.is(cut.raw, '<ref>cat</ref> and ');
  const whole = play(['<ref>', 'cat', '</ref>'], ['STOP']);
  assert.is(whole.raw, '<ref>cat</ref>');
});

test('text that a stream gives only at its end is shown, and cut too', () => {
  const late = (): TextStream => ({ push: () => '', flush: () => 'late STOP more' });
  const answer = new AnswerText(late(), late(), ['STOP']);
  assert.is(answer.push(0), '');
  assert.is(answer.end(), 'late ');
  assert.ok(answer.stopped);
  assert.is(answer.rawText, 'late ');
});

test.run();
