import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DatasetProgress } from '../../src/cli/dataset-progress.js';
import { type Io, makePaint } from '../../src/cli/io.js';

function terminal(): { readonly io: Io; readonly said: () => string } {
  let said = '';
  const io: Io = {
    out: () => undefined,
    err: (text) => {
      said += text;
    },
    outIsTerminal: true,
    errIsTerminal: true,
    outMeetsErr: true,
    color: false,
    paint: makePaint(false),
    readerGone: false,
    outError: null,
    onReaderGone: () => undefined,
  };
  return { io, said: () => said };
}

test('what was done before is in neither the count nor the time left', () => {
  const { io, said } = terminal();
  const progress = new DatasetProgress(io, false);
  // Resumed: 7 of 10 had their rows.
  progress.total(3);
  progress.row({ id: 'h', ok: true });
  progress.stop();
  assert.match(said(), /\r1\/3 · [\d.]+ items\/s · [\d.]+ s left/);
  const text = progress.summary(2000, 7, false, true);
  assert.match(text, /^1 items in 2\.0 s · 0\.5 items\/s · 7 were done before$/);
});

test('the summary says how to go on', () => {
  const { io } = terminal();
  const progress = new DatasetProgress(io, true);
  progress.row({ id: 'a', ok: true });
  progress.row({ id: 'b', ok: false, error: { code: 'IMAGE_UNREADABLE' } });
  assert.match(progress.summary(1000, 0, false, true), /1 failed \(IMAGE_UNREADABLE 1\) · --retry-failed runs those/);
  assert.match(progress.summary(1000, 0, true, true), /interrupted: --resume goes on$/);
  assert.not.match(progress.summary(1000, 0, false, false), /--retry-failed/);
});

test.run();
