/** Which checks must fail for each way in which the emulated card can differ from what is assumed of a card. */
import * as assert from 'uvu/assert';
import { EMULATOR_DEVIATIONS, type EmulatorDeviation } from '../../../../src/devices/ai100/emulator/deviations.js';
import { runKit } from '../../../../src/devices/ai100/selftest/run.js';
import { skipped } from '../../../skipped.js';
import { suiteOf } from '../../suite.js';
import { unbuilt } from '../emulator/programs.js';

/** Written from what each deviation is said to be, not from what the kit reports. */
export const EXPECTED: Readonly<Record<EmulatorDeviation, readonly string[]>> = {
  'version-layout': ['abi/version'],
  'resource-layout': ['device/resources'],
  'devices-endless': ['device/list-ends'],
  'buffer-info-sizes': ['io/buffer-info'],
  'descriptor-sizes': ['io/binding-sizes'],
  'descriptor-short': ['io/descriptor'],
  'shapes-order': ['io/allowed-shapes'],
  // A card that takes any shape takes any size too: wrong sizes are found by the same comparison.
  'unlisted-accepted': ['run/size-too-large', 'run/size-too-small', 'shape/unlisted-refused-300'],
  'unlisted-early': ['shape/unlisted-enqueued'],
  'skipped-reset': ['run/retained-rows'],
  'skipped-refused': ['run/skipped-buffer'],
  'state-lost': ['run/retained-state'],
  'timeout-ignored': ['timeout/wait'],
  'timeout-status': ['timeout/status-9'],
  'small-buffer-accepted': ['run/size-too-small'],
  'largest-size-only': ['run/size-of-the-shape'],
  'outputs-not-written': ['run/echo'],
  'cores-unlimited': ['swap/one-at-a-time'],
  'cores-not-freed': ['swap/deactivate-frees'],
  'stale-accepted': ['handle/stale'],
  'double-release-accepted': ['handle/double-release'],
  'error-forgiven': ['recovery/refused-after-error'],
};

export const DEVIATIONS = Object.keys(EMULATOR_DEVIATIONS) as EmulatorDeviation[];

/** A share of them a file: each runs the whole kit. */
export function testShare(share: number, of: number): void {
  const test = suiteOf(`selftest deviations ${share + 1} of ${of}`);
  const missing = unbuilt();
  if (missing !== null) skipped('compiler', missing);
  else {
    for (const name of DEVIATIONS.filter((_, i) => i % of === share)) {
      test(`${name}: ${EMULATOR_DEVIATIONS[name]}`, async () => {
        const env = { ...process.env, VLM_AICEMU_FAULTS: `deviate ${name}` };
        const report = await runKit({ device: 0, emulated: true, env, silenceMs: 30_000 });
        const failed = report.checks.filter((c) => c.verdict === 'failed');
        const told = failed.map((c) => `${c.name}: ${c.received}`).join('\n');
        assert.equal(failed.map((c) => c.name).sort(), [...EXPECTED[name]].sort(), told);
        assert.not(report.ok);
        assert.is(report.emulatedFaults, `deviate ${name}`);
      });
    }
  }
  test.run();
}
