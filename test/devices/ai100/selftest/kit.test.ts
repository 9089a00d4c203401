// The acceptance kit on the emulated card: all of it passes; hangs and crashes cost the check that they meet.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { VlmError } from '../../../../src/contracts/errors.js';
import { CHECKS } from '../../../../src/devices/ai100/selftest/checks/index.js';
import { makeProgram } from '../../../../src/devices/ai100/selftest/programs.js';
import { markdown, type Report } from '../../../../src/devices/ai100/selftest/report.js';
import { runKit } from '../../../../src/devices/ai100/selftest/run.js';
import { skipped } from '../../../skipped.js';
import { suiteOf } from '../../suite.js';
import { unbuilt } from '../emulator/programs.js';
import { DEVIATIONS, EXPECTED } from './deviations.js';

const test = suiteOf('acceptance kit');
const missing = unbuilt();
const folder = mkdtempSync(join(tmpdir(), 'vlm-kit-'));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const verdict = (report: Report, name: string) => report.checks.find((c) => c.name === name);
const names = (report: Report, wanted: string) => report.checks.filter((c) => c.verdict === wanted).map((c) => c.name);

test('names are unique, say where the assumption comes from, and need only what runs before them', () => {
  const before = new Set<string>();
  for (const { name, assumption, source, needs = [] } of CHECKS) {
    assert.match(name, /^[a-z]+\/[a-z0-9-]+$/);
    assert.not(before.has(name), name);
    assert.ok(assumption.length > 10 && source.length > 3, name);
    for (const need of needs) assert.ok(before.has(need), `${name} needs ${need}`);
    before.add(name);
  }
});

test('every deviation that can be faked has checks that must find it', () => {
  const known = new Set(CHECKS.map((c) => c.name));
  for (const name of DEVIATIONS) {
    assert.ok(EXPECTED[name].length > 0, name);
    for (const check of EXPECTED[name]) assert.ok(known.has(check), check);
  }
});

if (missing === null) {
  test('passes on the emulated card; what only a card has is skipped with its reason', async () => {
    const report = await runKit({ device: 0, emulated: true });
    assert.equal(names(report, 'failed'), []);
    assert.equal(names(report, 'skipped'), ['device/nodes', 'compile/echo', 'compile/halves', 'compile/language']);
    assert.is(report.checks.length, CHECKS.length + 3);
    for (const { name, verdict: v, reason, received } of report.checks) {
      assert.ok((v === 'skipped' ? reason : received) !== undefined, name);
    }
    assert.ok(report.ok);
    assert.is(report.emulated, true);
    assert.is(report.software.library, 'libvlm_aic_emulator.so');
    const page = markdown(report);
    assert.match(page, /EMULATED/);
    // Made to be sent: nothing of where things lie on this machine.
    assert.not.match(page + JSON.stringify(report), new RegExp(`${tmpdir()}|${process.cwd()}`));
  });

  test('a call that never returns fails its check by name, and the rest goes on', async () => {
    const env = { ...process.env, VLM_AICEMU_FAULTS: 'qaicSetLogLevel * hang' };
    const only = ['abi/symbols', 'abi/library', 'device/context', 'device/log-level', 'device/queue'];
    const report = await runKit({ device: 0, emulated: true, env, only, silenceMs: 2500 });
    assert.equal(names(report, 'failed'), ['device/log-level']);
    assert.match(verdict(report, 'device/log-level')?.received ?? '', /^hung/);
    assert.is(verdict(report, 'device/queue')?.verdict, 'passed');
  });

  test('a crash fails its check by name, and the rest goes on', async () => {
    const child = new URL('./crash-child.js', import.meta.url);
    const only = ['device/context', 'device/log-level', 'device/queue'];
    const report = await runKit({ device: 0, emulated: true, child, only });
    assert.equal(names(report, 'failed'), ['device/log-level']);
    assert.match(verdict(report, 'device/log-level')?.received ?? '', /^crashed: SIGSEGV/);
    assert.equal(names(report, 'passed'), ['device/context', 'device/queue']);
  });

  test('without programs what needs one is skipped, and never counted as passed', async () => {
    const report = await runKit({ device: 0, emulated: true, bare: true });
    assert.equal(names(report, 'failed'), []);
    for (const { name, program } of CHECKS) {
      if (program !== undefined) assert.is(verdict(report, name)?.verdict, 'skipped', name);
    }
  });

  test('a program of the user stands in where values do not matter', async () => {
    const making = { folder, device: 0, cores: 16, compiler: null };
    const program = (await makeProgram('echo', making)).file;
    const report = await runKit({ device: 0, emulated: true, bare: true, program });
    assert.equal(names(report, 'failed'), []);
    for (const name of ['io/buffer-info', 'run/echo', 'shape/unlisted-refused-300', 'timeout/status-9']) {
      assert.is(verdict(report, name)?.verdict, 'passed', name);
    }
    assert.match(verdict(report, 'run/echo')?.received ?? '', /values are not known/);
    // Only a program that is known to take all cores says something here.
    assert.is(verdict(report, 'swap/one-at-a-time')?.verdict, 'skipped');
    assert.not.match(JSON.stringify(report), new RegExp(folder));
  });

  test('it can be stopped', async () => {
    const stop = new AbortController();
    const onBegin = (name: string): void => {
      if (name === 'device/context') stop.abort();
    };
    try {
      await runKit({ device: 0, emulated: true, signal: stop.signal, onBegin });
      assert.unreachable();
    } catch (error) {
      assert.ok(error instanceof VlmError);
      assert.is(error.code, 'CANCELLED');
    }
  });
} else {
  skipped('compiler', missing);
}

test.run();
