import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { harmless, type Io, makePaint, wantsColor } from '../../src/cli/io.js';
import { Progress } from '../../src/cli/progress.js';

const test = suite('progress');

function fakeIo(terminals: { out?: boolean; err?: boolean } = {}): Io & { outText: string; errText: string } {
  const io = {
    outText: '',
    errText: '',
    out: (text: string) => {
      io.outText += text;
    },
    err: (text: string) => {
      io.errText += text;
    },
    outIsTerminal: terminals.out === true,
    errIsTerminal: terminals.err === true,
    color: false,
    paint: makePaint(false),
    readerGone: false,
    outError: null,
    onReaderGone: () => undefined,
  };
  return io;
}
const stage = (node: string, state: 'start' | 'end', at: number) => ({ type: 'stage', node, state, at }) as const;
const piece = (text: string, node = 'decode') => ({ type: 'text', node, item: 0, piece: text }) as const;

test('no terminal: one plain line a stage', () => {
  const io = fakeIo();
  const progress = new Progress(io, { quiet: false, streamNode: null });
  progress.handle(stage('encode', 'start', 100));
  progress.handle({ type: 'progress', node: 'encode', done: 1, total: 2, unit: 'tiles' });
  progress.handle(stage('encode', 'end', 130.4));
  progress.stop();
  assert.is(io.errText, 'encode 30 ms\n');
  assert.is(io.outText, '');
});

test('a terminal: the line is redrawn and gone at the end', () => {
  const io = fakeIo({ err: true });
  const progress = new Progress(io, { quiet: false, streamNode: null });
  progress.handle(stage('encode', 'start', 0));
  progress.handle({ type: 'progress', node: 'encode', done: 1, total: 2, unit: 'tiles' });
  assert.match(io.errText, '1/2 tiles');
  progress.stop();
  assert.ok(io.errText.endsWith('\r\u001b[K'));
  assert.not.ok(io.errText.includes('\n'));
});

test('quiet: nothing but the answer', () => {
  const io = fakeIo({ err: true });
  const progress = new Progress(io, { quiet: true, streamNode: 'decode' });
  progress.handle(stage('decode', 'start', 0));
  progress.handle(piece('yes'));
  progress.handle(stage('decode', 'end', 5));
  progress.stop();
  assert.is(io.errText, '');
  assert.is(io.outText, 'yes');
});

test('text of the answering node alone is streamed, up to the first markup', () => {
  const io = fakeIo();
  const progress = new Progress(io, { quiet: true, streamNode: 'decode' });
  for (const p of ['the ', 'circle ', '<ref>', 'red', '</ref>']) progress.handle(piece(p));
  progress.handle(piece('other', 'elsewhere'));
  assert.is(io.outText, 'the circle ');
  assert.is(progress.printed, 'the circle ');
});

test('an answer cannot steer the terminal; into a file it goes as it is', () => {
  const evil = 'a\u001b[2Jb\u009bc\td\ne';
  const terminal = fakeIo({ out: true });
  new Progress(terminal, { quiet: true, streamNode: 'decode' }).handle(piece(evil));
  assert.is(terminal.outText, 'a\ufffd[2Jb\ufffdc\td\ne');
  const file = fakeIo();
  new Progress(file, { quiet: true, streamNode: 'decode' }).handle(piece(evil));
  assert.is(file.outText, evil);
  assert.is(harmless('\u202eabc'), '\ufffdabc');
});

test('colours follow the terminal, NO_COLOR, FORCE_COLOR and TERM', () => {
  assert.is(wantsColor(true, {}), true);
  assert.is(wantsColor(false, {}), false);
  assert.is(wantsColor(true, { NO_COLOR: '1' }), false);
  assert.is(wantsColor(true, { NO_COLOR: '' }), true);
  assert.is(wantsColor(false, { FORCE_COLOR: '1' }), true);
  assert.is(wantsColor(false, { FORCE_COLOR: '0' }), false);
  assert.is(wantsColor(true, { TERM: 'dumb' }), false);
});

test.run();
