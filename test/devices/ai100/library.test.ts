// What can be missing before a card is reached: each has an error and a remedy of its own.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { VlmError } from '../../../src/contracts/errors.js';
import { libraryPath, loadAddon, permissionProblem, runsEmulated } from '../../../src/devices/ai100/library.js';
import { failed } from '../../../src/devices/ai100/status.js';
import { skipped } from '../../skipped.js';
import { codeOf } from '../../text/helpers.js';
import { unbuilt } from './emulator/programs.js';

const test = suite('what the ai100 device needs');
const folder = mkdtempSync(join(tmpdir(), 'vlm-library-'));
const given = process.env.QAIC_LIB;
test.after(() => {
  if (given === undefined) delete process.env.QAIC_LIB;
  else process.env.QAIC_LIB = given;
  rmSync(folder, { recursive: true, force: true });
});

test('a binding that is not built, does not load or is of another version', () => {
  const refused = (name: string, text: string | null): VlmError => {
    const path = join(folder, name);
    if (text !== null) writeFileSync(path, text);
    return codeOf(() => loadAddon(path));
  };
  const remedies = [
    [refused('none.node', null), 'is not built', 'C++ compiler'],
    [refused('text.node', 'no library'), 'does not load', 'build:native'],
    [refused('old.cjs', 'module.exports = { abi: 1 };'), 'another version', 'build:native'],
  ] as const;
  for (const [error, what, hint] of remedies) {
    assert.is(error.code, 'DEVICE_UNAVAILABLE');
    assert.match(error.details.what, what);
    assert.match(error.details.hint ?? '', hint);
  }
});

test('nodes that may not be opened are told before a status', () => {
  const nodes = join(folder, 'accel');
  assert.is(permissionProblem(nodes), null);
  mkdirSync(nodes);
  assert.is(permissionProblem(nodes), null);
  // No access for anyone, root among them: the link leads nowhere.
  symlinkSync(join(folder, 'nowhere'), join(nodes, 'accel0'));
  const problem = permissionProblem(nodes);
  assert.is(problem?.code, 'DEVICE_UNAVAILABLE');
  assert.match(problem?.details.received ?? '', 'accel0');
  assert.match(problem?.details.hint ?? '', 'group');
  // One that can be opened is enough: others may belong to other users.
  writeFileSync(join(nodes, 'accel1'), '');
  assert.is(permissionProblem(nodes), null);
});

test('statuses of the runtime: permission, no card, and cores that are taken have remedies of their own', () => {
  const hint = (status: number, call: string): string => failed({ status, call }, 'a program').details.hint ?? '';
  assert.match(hint(1, 'qaicCreateContext'), '/dev/accel');
  assert.match(hint(5, 'qaicCreateContext'), 'vlm-run devices');
  assert.match(hint(7, 'qaicRunActivationCmd'), '16 cores');
  assert.match(hint(9, 'qaicExecObjWaitForCompletion'), 'timeout_ms');
  assert.match(hint(6, 'qaicOpenQpcFile'), 'vlm-run compile');
});

test('an emulated card is known as one, also in the place of the runtime', () => {
  assert.is(runsEmulated({ kind: 'cpu' }), false);
  assert.is(runsEmulated({ kind: 'ai100', emulated: true }), true);
  process.env.QAIC_LIB = join(folder, 'none.so');
  assert.is(runsEmulated({ kind: 'ai100' }), false);
  const missing = unbuilt();
  if (missing !== null) return skipped('compiler', missing);
  process.env.QAIC_LIB = libraryPath({ kind: 'ai100', emulated: true });
  assert.is(runsEmulated({ kind: 'ai100' }), true);
});

test.run();
