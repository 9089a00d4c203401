import { execFileSync, spawn } from 'node:child_process';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkWritable, giveUpWrites, writeFileAtomic, writeFileAtomicSync } from '../../src/util/atomic-write.js';
import { rejectionOf } from '../text/helpers.js';

const test = suite('atomic writes');
const dir = mkdtempSync(join(tmpdir(), 'vlm-atomic-'));
test.after(() => rmSync(dir, { recursive: true, force: true }));

test('a file is made with its folder, replaced, and nothing else is left', async () => {
  const file = join(dir, 'made', 'a.json');
  await writeFileAtomic(file, 'one');
  await writeFileAtomic(file, 'two');
  assert.is(readFileSync(file, 'utf8'), 'two');
  assert.equal(readdirSync(join(dir, 'made')), ['a.json']);
});

test('what cannot be written is OUTPUT_UNWRITABLE with its place', async () => {
  const file = join(dir, 'file');
  writeFileSync(file, '');
  const error = await rejectionOf(() => writeFileAtomic(join(file, 'x'), ''));
  assert.equal([error.code, error.details.where], ['OUTPUT_UNWRITABLE', join(file, 'x')]);
});

test('at the last moment what is being written is given up: nothing older comes after, nothing half stays', async () => {
  const folder = join(dir, 'last');
  const file = join(folder, 'run.json');
  await writeFileAtomic(file, 'first');
  for (let turns = 0; turns < 12; turns++) {
    // Stopped at another point of its way each time, as a signal would find it.
    const late = writeFileAtomic(file, 'late'.repeat(1 << 18)).catch(() => undefined);
    for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
    writeFileAtomicSync(file, `last ${turns}`);
    assert.is(readFileSync(file, 'utf8'), `last ${turns}`);
    const left = readdirSync(folder).filter((name) => name.endsWith('.tmp'));
    assert.equal(left, []);
    await late;
  }
});

test('folders that can be neither found nor made end it, wherever they are', async () => {
  for (const place of ['/proc/vlm-run-none/deep/x', join(dir, 'file', 'deep', 'x')]) {
    writeFileSync(join(dir, 'file'), '');
    assert.is((await rejectionOf(() => writeFileAtomic(place, ''))).code, 'OUTPUT_UNWRITABLE');
    assert.is((await rejectionOf(() => checkWritable(place))).code, 'OUTPUT_UNWRITABLE');
    assert.throws(() => writeFileAtomicSync(place, ''), /cannot be written/);
  }
  const deep = join(dir, 'one', 'two', 'three', 'x');
  await writeFileAtomic(deep, 'deep');
  writeFileAtomicSync(join(dir, 'four', 'five', 'x'), 'deep');
  assert.is(readFileSync(deep, 'utf8'), 'deep');
});

test('asked before: nothing is left of the question, and a folder is no file', async () => {
  const file = join(dir, 'asked', 'a.json');
  await checkWritable(file);
  assert.equal(readdirSync(join(dir, 'asked')), []);
  writeFileSync(file, 'old');
  await checkWritable(file);
  assert.is(readFileSync(file, 'utf8'), 'old');
  const error = await rejectionOf(() => checkWritable(join(dir, 'asked')));
  assert.equal([error.code, error.details.received], ['OUTPUT_UNWRITABLE', 'a folder']);
});

test('a link stays a link: what it leads to is replaced', async () => {
  const [real, link] = [join(dir, 'real'), join(dir, 'link')];
  writeFileSync(real, 'old');
  symlinkSync(real, link);
  await writeFileAtomic(link, 'new');
  writeFileAtomicSync(link, 'newer');
  assert.ok(lstatSync(link).isSymbolicLink());
  assert.is(readFileSync(real, 'utf8'), 'newer');
});

test('a pipe or a device is written into, and stays', async () => {
  const pipe = join(dir, 'pipe');
  execFileSync('mkfifo', [pipe]);
  await checkWritable(pipe);
  const reader = spawn('cat', [pipe], { stdio: ['ignore', 'pipe', 'ignore'] });
  let read = '';
  reader.stdout.setEncoding('utf8').on('data', (d: string) => {
    read += d;
  });
  const ended = new Promise((resolve) => reader.on('close', resolve));
  await writeFileAtomic(pipe, 'through');
  await ended;
  assert.is(read, 'through');
  assert.ok(lstatSync(pipe).isFIFO());
});

test('before the end by force, nothing half is left anywhere', async () => {
  const folder = join(dir, 'half');
  mkdirSync(folder);
  const late = writeFileAtomic(join(folder, 'x'), 'late'.repeat(1 << 20)).catch(() => undefined);
  while (readdirSync(folder).length === 0) await new Promise((resolve) => setImmediate(resolve));
  giveUpWrites();
  assert.equal(
    readdirSync(folder).filter((name) => name.endsWith('.tmp')),
    [],
  );
  await late;
});

test.run();
