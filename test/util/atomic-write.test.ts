import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { writeFileAtomic, writeFileAtomicSync } from '../../src/util/atomic-write.js';
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

test.run();
