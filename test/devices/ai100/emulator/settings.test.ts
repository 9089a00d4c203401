// Settings of the emulated card: what is not understood is refused; the log; the names of deviations.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { ErrorCode } from '../../../../src/contracts/errors.js';
import { emulatorLibrary, loadControl } from '../../../../src/devices/ai100/emulator/addon.js';
import { EMULATOR_DEVIATIONS } from '../../../../src/devices/ai100/emulator/deviations.js';
import { ai100Driver } from '../../../../src/devices/ai100/index.js';
import { packageRoot } from '../../../../src/util/package-root.js';
import { skipped } from '../../../skipped.js';
import { rejects } from '../../conformance.js';
import { suiteOf } from '../../suite.js';
import { writeEchoPrograms } from '../faults/programs.js';
import { unbuilt } from './programs.js';

const test = suiteOf('emulated card, settings');
const missing = unbuilt();
const folder = mkdtempSync(join(tmpdir(), 'vlm-settings-'));
const vision = join(folder, 'vision');
const config = { kind: 'ai100', emulated: true };

/** Lists the cards in a process of its own, whose emulator reads this environment. */
function listing(env: Record<string, string>): { code: string; text: string; cards: number; stderr: string } {
  const url = JSON.stringify(join(packageRoot(), '.build/src/devices/ai100/index.js'));
  const script = `
    const { ai100Driver } = await import(${url});
    const say = (told) => process.stdout.write(JSON.stringify(told));
    try { say({ code: 'none', text: '', cards: (await ai100Driver.list()).length }); }
    catch (e) { say({ code: e.code ?? 'foreign', text: e.message, cards: 0 }); }`;
  const made = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    env: { ...process.env, QAIC_LIB: emulatorLibrary(), ...env },
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.is(made.status, 0, made.stderr);
  return { ...JSON.parse(made.stdout), stderr: made.stderr };
}

if (missing !== null) {
  skipped('compiler', missing);
} else {
  const control = loadControl();
  test.before(() => writeEchoPrograms(vision, join(folder, 'language')));
  test.after.each(() => {
    control.faults('');
    control.latency('');
  });
  test.after(() => rmSync(folder, { recursive: true, force: true }));

  test('settings that are not understood are refused with the line and the grammar', async () => {
    const file = join(folder, 'faults.txt');
    writeFileSync(file, '# one that is fine\nqaicLoadProgram 1 status 3\nqaicLoadProgram one status 3\n');
    const wrong: readonly [string, readonly string[]][] = [
      ['qaicLoadProgrm 1 hang', ['line 1', 'no function is called qaicLoadProgrm']],
      ['qaicLoadProgram 1 hang; qaicLoadProgram 0 hang', ['line 2', 'NTH']],
      ['qaicLoadProgram 1 status', ['takes one number']],
      ['qaicLoadProgram 1 status 99999999999', ['no number that fits']],
      ['qaicLoadProgram 1 status 0', ['success']],
      ['qaicLoadProgram 1 explode', ['no fault is called explode']],
      ['qaicLoadProgram 1 hang 5', ['takes nothing more']],
      ['qaicLoadProgram', ['neither a file that can be read nor a rule']],
      ['qaicLoadProgram 1 garbage', ['hands out no sizes']],
      ['deviate nonsense', ['no deviation is called nonsense']],
      ['deviate', ['neither a file']],
      [file, ['faults.txt, line 3', 'one status']],
    ];
    for (const [text, says] of wrong) {
      assert.not.ok(control.faults(text), text);
      const error = await rejects(ai100Driver.open({ role: 'vision', path: vision }, config), 'OPTION_INVALID');
      for (const words of says)
        assert.ok(error.details.received?.includes(words), `${text}: ${error.details.received}`);
      assert.match(error.details.expected ?? '', 'FUNCTION NTH status NUMBER');
    }
    assert.ok(control.faults(''));
    for (const text of ['fast', '1:2:3:4', '1::3', '-1', '1.5', '99999999999']) {
      assert.not.ok(control.latency(text), text);
      assert.match(control.problem(), 'FIXED_US');
      assert.ok(control.latency('1:2:3'));
    }
  });

  test('so are those of the environment, also when cards are listed', () => {
    const refused = (env: Record<string, string>, words: string): void => {
      const said = listing(env);
      assert.is(said.code, 'OPTION_INVALID' satisfies ErrorCode);
      assert.ok(said.text.includes(words), said.text);
      // Whoever uses the library without us is told as well.
      assert.match(said.stderr, 'emulated card: VLM_AICEMU_');
    };
    refused({ VLM_AICEMU_FAULTS: 'qaicLoadProgram 1 hangs' }, 'VLM_AICEMU_FAULTS: line 1');
    refused({ VLM_AICEMU_LATENCY: 'slow' }, 'VLM_AICEMU_LATENCY: "slow"');
    refused({ VLM_AICEMU_DEVICES: '65' }, 'whole number from 0 to 64');
    refused({ VLM_AICEMU_LOG: join(folder, 'none', 'log') }, 'cannot be written');
    assert.is(listing({ VLM_AICEMU_DEVICES: '3' }).cards, 3);
    assert.is(listing({ VLM_AICEMU_DEVICES: '0' }).code, 'DEVICE_UNAVAILABLE');
  });

  test('the log has a line for each call: number, arguments, status', () => {
    const log = join(folder, 'log');
    listing({ VLM_AICEMU_LOG: log, VLM_AICEMU_FAULTS: 'qaicGetResourceInfo 2 status 7', VLM_AICEMU_DEVICES: '2' });
    const lines = readFileSync(log, 'utf8').trim().split('\n');
    assert.equal(lines, [
      'qaicGetAicVersion 1 -> 0',
      'qaicGetResourceInfo 1 id=0 -> 0',
      'qaicGetResourceInfo 2 id=1 -> 7',
      'qaicGetResourceInfo 3 id=2 -> 5',
    ]);
  });

  test('deviations have one list of names in both languages', () => {
    const source = readFileSync(join(packageRoot(), 'native/emulator/faults.cc'), 'utf8');
    const list = /kDeviations\[\] = \{([^}]*)\}/.exec(source)?.[1] ?? '';
    const names = [...list.matchAll(/"([^"]+)"/g)].map((m) => m[1]);
    assert.equal(names.sort(), Object.keys(EMULATOR_DEVIATIONS).sort());
    for (const name of names) assert.ok(control.faults(`deviate ${name}`), name);
  });
}

test.run();
