// `vlm-run selftest`: what people and programs get from the acceptance kit.
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { Report } from '../../../src/devices/ai100/selftest/report.js';
import { unbuilt } from '../../devices/ai100/emulator/programs.js';
import { buildRuntime, lacking } from '../../devices/ai100/fake.js';
import { suiteOf } from '../../devices/suite.js';
import { skipped } from '../../skipped.js';
import { cli } from '../fakes/spawn.js';

const test = suiteOf('vlm-run selftest');
const folder = mkdtempSync(join(tmpdir(), 'vlm-selftest-cli-'));
test.after(() => rmSync(folder, { recursive: true, force: true }));

interface Failed {
  readonly ok: boolean;
  readonly error: { readonly code: string; readonly where?: string };
}

async function refused(args: readonly string[], code: number, env: Record<string, string> = {}): Promise<Failed> {
  const ended = await cli(['selftest', ...args, '--json', '--out', folder], { env });
  assert.is(ended.code, code, ended.err + ended.out);
  return JSON.parse(ended.out) as Failed;
}

test('a device that is no card, and a time that is none, are refused', async () => {
  assert.is((await refused(['--device', 'cpu'], 2)).error.code, 'OPTION_INVALID');
  assert.is((await refused(['--device', 'ai100:0', '--timeout', 'soon'], 2)).error.where, '--timeout');
});

if (unbuilt() === null) {
  test('without the runtime there is nothing to check', async () => {
    const env = { QAIC_LIB: join(folder, 'none.so') };
    assert.is((await refused(['--device', 'ai100:0'], 4, env)).error.code, 'DEVICE_UNAVAILABLE');
  });

  test('a table, a report in two forms, exit code 0; emulated is said', async () => {
    const out = join(folder, 'good');
    const { code, out: text, err } = await cli(['selftest', '--emulated', '--out', out]);
    assert.is(code, 0, err + text);
    assert.match(text, /^passed {2}abi\/version/m);
    assert.match(text, /^skipped device\/nodes/m);
    assert.match(err, /EMULATED/);
    const report = JSON.parse(readFileSync(join(out, 'selftest-ai100.json'), 'utf8')) as Report;
    assert.is(report.emulated, true);
    assert.match(readFileSync(join(out, 'selftest-ai100.md'), 'utf8'), /# Acceptance kit: ai100:0 \(EMULATED\)/);
  });

  test('one deviation: exit code 4, the check by name, in the data and in the table', async () => {
    const env = { VLM_AICEMU_FAULTS: 'deviate version-layout' };
    const args = ['selftest', '--device', 'ai100:0', '--emulated', '--json', '--out', join(folder, 'bad')];
    const ended = await cli(args, { env });
    assert.is(ended.code, 4, ended.err);
    const report = JSON.parse(ended.out) as Report;
    assert.not(report.ok);
    assert.equal(
      report.checks.filter((c) => c.verdict === 'failed').map((c) => c.name),
      ['abi/version'],
    );
    assert.match(readFileSync(join(folder, 'bad', 'selftest-ai100.md'), 'utf8'), /\*\*failed\*\* \| abi\/version/);
  });

  test('devices lists the emulated card as what it is', async () => {
    const { code, out } = await cli(['devices', '--json'], { env: { QAIC_LIB: join(folder, 'none.so') } });
    assert.is(code, 0);
    const { devices } = JSON.parse(out) as { devices: { id: string; emulated: boolean; status: string }[] };
    const cards = devices.filter((d) => d.id.startsWith('ai100'));
    assert.equal(
      cards.map((d) => [d.id, d.status, d.emulated]),
      [
        ['ai100', 'unavailable', false],
        ['ai100:0', 'ready', true],
      ],
    );
  });

  if (lacking() === null) {
    test('a library that is no emulator: programs are compiled, with the flags of the compiler driver', async () => {
      const compiler = join(folder, 'qaic-compile');
      const calls = join(folder, 'calls.txt');
      writeFileSync(compiler, `#!/bin/sh\necho "$@" >> ${calls}\necho "no licence found"\nexit 3\n`);
      chmodSync(compiler, 0o755);
      const args = ['selftest', '--device', 'ai100:0', '--compiler', compiler, '--json', '--out', join(folder, 'card')];
      const ended = await cli(args, { env: { QAIC_LIB: buildRuntime(folder) } });
      assert.is(ended.code, 4, ended.err);
      const report = JSON.parse(ended.out) as Report;
      assert.is(report.emulated, false);
      const verdict = (name: string) => report.checks.find((c) => c.name === name);
      assert.is(verdict('compile/echo')?.verdict, 'failed');
      assert.match(verdict('compile/echo')?.received ?? '', /licence/);
      assert.is(verdict('run/echo')?.verdict, 'skipped');
      const [echo = '', , language = ''] = readFileSync(calls, 'utf8').split('\n');
      assert.match(echo, /-aic-hw .*-convert-to-fp16 .*-network-specialization-config=\S+ -custom-IO-list-file=/);
      assert.match(language, /-retained-state/);
    });

    test('a library that is no emulator, without a compiler: what needs a program is skipped', async () => {
      const env = { QAIC_LIB: buildRuntime(folder), QAIC_COMPILE: join(folder, 'no-compiler') };
      const ended = await cli(['selftest', '--device', 'ai100:0', '--json', '--out', join(folder, 'bare')], { env });
      const report = JSON.parse(ended.out) as Report;
      const echo = report.checks.find((c) => c.name === 'run/echo');
      assert.is(echo?.verdict, 'skipped');
      assert.match(echo?.reason ?? '', /no compiler/);
      assert.not.match(JSON.stringify(report), new RegExp(folder));
    });
  } else {
    skipped('compiler', lacking() ?? '');
  }
} else {
  skipped('compiler', unbuilt() ?? '');
}

test.run();
