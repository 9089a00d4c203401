import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { harmless, type Io, makePaint, wantsColor } from '../../src/cli/io.js';
import { Progress } from '../../src/cli/progress.js';

const test = suite('progress');

type FakeIo = Io & { outText: string; errText: string; both: string };

function fakeIo(streams: { out?: boolean; err?: boolean; meet?: boolean } = {}): FakeIo {
  const io = {
    outText: '',
    errText: '',
    /** As one reads both on a screen. */
    both: '',
    out: (text: string) => {
      io.outText += text;
      io.both += text;
    },
    err: (text: string) => {
      io.errText += text;
      io.both += text;
    },
    outIsTerminal: streams.out === true,
    errIsTerminal: streams.err === true,
    outMeetsErr: streams.meet ?? (streams.out === true && streams.err === true),
    color: false,
    paint: makePaint(false),
    readerGone: false,
    outError: null,
    onReaderGone: () => undefined,
  };
  return io;
}
const stage = <S extends 'start' | 'end'>(node: string, state: S, at: number) =>
  ({ type: 'stage', node, state, at }) as const;
const piece = (text: string, node = 'decode') => ({ type: 'text', node, item: 0, piece: text }) as const;

test('no terminal: one plain line a stage', () => {
  const io = fakeIo();
  const progress = new Progress(io, { quiet: false, streamNode: null });
  progress.handle(stage('encode', 'start', 100));
  progress.handle({ type: 'progress', node: 'encode', done: 1, total: 2, unit: 'tiles' });
  progress.handle(stage('encode', 'end', 130.4));
  progress.handle(stage('decode', 'start', 131));
  progress.handle({ ...stage('decode', 'end', 151), outcome: 'failed' });
  progress.stop();
  assert.is(io.errText, 'encode 30 ms\ndecode failed after 20 ms\n');
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

test('read as one text, the answer is not cut in two: what comes meanwhile waits for its end', () => {
  const io = fakeIo({ meet: true });
  const progress = new Progress(io, { quiet: false, streamNode: 'decode', label: 'answer: ' });
  progress.handle(stage('encode', 'start', 0));
  progress.handle(stage('encode', 'end', 20));
  for (const [node, at] of [['decode', 20] as const]) progress.handle(stage(node, 'start', at));
  progress.handle(piece('a red '));
  progress.handle({ type: 'notice', message: 'warning: one' });
  progress.handle(piece('circle'));
  progress.handle(stage('decode', 'end', 47_220));
  progress.stop();
  io.out('\n');
  progress.end();
  assert.is(io.both, 'encode 20 ms\nanswer: a red circle\nwarning: one\ndecode 47.2 s\n');
  assert.is(progress.printed, 'a red circle');
});

test('streams that never meet do not wait for each other', () => {
  const io = fakeIo({ meet: false });
  const progress = new Progress(io, { quiet: false, streamNode: 'decode' });
  progress.handle(piece('half a'));
  progress.handle({ type: 'notice', message: 'now' });
  assert.is(io.errText, 'now\n');
});

test('what cannot wait breaks the line off, once', () => {
  const io = fakeIo({ meet: true });
  const progress = new Progress(io, { quiet: false, streamNode: 'decode' });
  progress.handle(piece('half a'));
  progress.interject('stopping');
  progress.interject('stopping again');
  progress.handle(piece(' line'));
  progress.breakOff();
  assert.is(io.both, 'half a\nstopping\nstopping again\n line\n');
  assert.is(io.outText, 'half a line\n');
});

test('behind a pipe the line that is redrawn gives way to the answer', () => {
  const io = fakeIo({ err: true, meet: true });
  const progress = new Progress(io, { quiet: false, streamNode: 'decode' });
  progress.handle(stage('decode', 'start', 0));
  progress.handle(piece('half'));
  const { errText } = io;
  assert.ok(errText.endsWith('\r\u001b[K'));
  progress.handle({ type: 'progress', node: 'decode', done: 1, total: 2, unit: 'tokens' });
  assert.is(io.errText, errText);
  progress.end();
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
