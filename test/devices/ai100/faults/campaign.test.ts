// Every function of the runtime that a session calls, failing in every way: each case ends with the right error or the
// right result, what was finished is kept, and no case disturbs another.
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { emulatorLibrary, loadControl } from '../../../../src/devices/ai100/emulator/addon.js';
import { ai100Driver } from '../../../../src/devices/ai100/index.js';
import { skipped } from '../../../skipped.js';
import { rejects } from '../../conformance.js';
import { suiteOf } from '../../suite.js';
import { unbuilt } from '../emulator/programs.js';
import { codeOf, type FaultCase, gentleCases, hangingCases, OPENING, STATUSES } from './cases.js';
import { complaint, type Outcome, runCases } from './driver.js';
import { writeEchoPrograms } from './programs.js';

const test = suiteOf('fault campaign');
const missing = unbuilt();
const folder = mkdtempSync(join(tmpdir(), 'vlm-faults-'));
const vision = join(folder, 'vision');
const language = join(folder, 'language');

test.before(() => writeEchoPrograms(vision, language));
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** Several children at a time, each with its share of the cases. */
async function campaign(cases: readonly FaultCase[], silenceMs: number, lanes: number): Promise<Outcome[]> {
  const shares = Array.from({ length: lanes }, (_, lane) => cases.filter((__, i) => i % lanes === lane));
  const outcomes = await Promise.all(shares.map((share) => runCases({ cases: share, vision, language }, silenceMs)));
  return cases.map((_, i) => outcomes[i % lanes]?.[Math.floor(i / lanes)] as Outcome);
}

function judge(cases: readonly FaultCase[], outcomes: readonly Outcome[]): void {
  const complaints = cases.flatMap((fault, i) => {
    const said = complaint(fault, outcomes[i] as Outcome);
    return said === null ? [] : [`${fault.name}: ${said}`];
  });
  assert.is(
    complaints.length,
    0,
    `${complaints.length} of ${cases.length} cases:\n${complaints.slice(0, 20).join('\n')}`,
  );
}

if (missing === null) {
  test('every function with every status, lasting faults, vanishing cards, delays, stalls, wrong sizes', async () => {
    const cases = gentleCases();
    assert.ok(cases.length > 550);
    judge(cases, await campaign(cases, 30_000, Math.min(2, availableParallelism())));
  });

  test('a function that never returns is ended by the watchdog; finished results are known', async () => {
    const cases = hangingCases();
    judge(cases, await campaign(cases, 3000, 9));
  });

  test('listing cards and inspecting a program say what failed', async () => {
    const control = loadControl();
    const given = process.env['QAIC_LIB'];
    process.env['QAIC_LIB'] = emulatorLibrary();
    const config = { kind: 'ai100', emulated: true };
    try {
      for (const status of STATUSES) {
        control.faults(`qaicGetResourceInfo 1 status ${status}`);
        if (status === 5) await rejects(ai100Driver.list(), 'DEVICE_UNAVAILABLE');
        else {
          const [card] = await ai100Driver.list();
          assert.is(card?.status, 'unavailable');
          assert.match(card?.summary ?? '', `status ${status}`);
        }
        control.faults(`qaicGetAicVersion 1 status ${status}`);
        assert.is((await ai100Driver.list())[0]?.details['runtime'], 'unknown');
        for (const call of OPENING.filter((name) => name !== 'qaicLoadProgram')) {
          control.faults(`${call} 1 status ${status}`);
          const error = await rejects(
            ai100Driver.inspect({ role: 'vision', path: vision }, config),
            codeOf(call, status),
          );
          assert.match(error.message, call);
        }
      }
      control.faults('qaicGetResourceInfo 1 vanish');
      await rejects(ai100Driver.list(), 'DEVICE_UNAVAILABLE');
      for (const faults of ['qaicGetResourceInfo 1 garbage', 'deviate resource-layout', 'deviate version-layout']) {
        control.faults(faults);
        assert.is((await ai100Driver.list()).length, 1, faults);
      }
      assert.is(control.liveHandles(), 0);
    } finally {
      control.faults('');
      if (given === undefined) delete process.env['QAIC_LIB'];
      else process.env['QAIC_LIB'] = given;
    }
  });

  test('a crash costs its own case', async () => {
    const plain = (name: string, faults: string): FaultCase => ({
      name,
      faults,
      role: 'vision',
      results: [true, true, true],
      error: null,
      recovered: false,
    });
    const crash: FaultCase = { ...plain('crash', 'abort'), results: [false, false, false], child: 'crashed' };
    const cases = [plain('before', ''), crash, plain('after', '')];
    judge(cases, await campaign(cases, 30_000, 1));
  });
} else {
  skipped('compiler', missing);
}

test.run();
