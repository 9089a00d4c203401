// The kit on a library that does not say that it is an emulator, with a compiler: the way it goes on a card. The library
// is the emulator compiled without what tells it apart; the compiler hands out programs that were made before.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as assert from 'uvu/assert';
import { makeProgram } from '../../../../src/devices/ai100/selftest/programs.js';
import type { Report } from '../../../../src/devices/ai100/selftest/report.js';
import { packageRoot } from '../../../../src/util/package-root.js';
import { cli } from '../../../cli/fakes/spawn.js';
import { skipped } from '../../../skipped.js';
import { suiteOf } from '../../suite.js';
import { unbuilt } from '../emulator/programs.js';
import { compiler, lacking } from '../fake.js';

const test = suiteOf('acceptance kit as on a card');
const missing = lacking() ?? unbuilt();
const folder = mkdtempSync(join(tmpdir(), 'vlm-kit-card-'));
test.after(() => rmSync(folder, { recursive: true, force: true }));

function buildLibrary(): string {
  const source = join(packageRoot(), 'native/emulator');
  const files = readdirSync(source).filter((f) => f.endsWith('.cc') && !f.startsWith('harness'));
  const output = join(folder, 'libcard.so');
  const args = ['-std=c++17', '-O0', '-fPIC', '-fvisibility=hidden', '-shared', '-pthread'];
  execFileSync(compiler, [
    ...args,
    '-DaicemuVersion=notAnEmulator',
    ...files.map((f) => join(source, f)),
    ...['-o', output],
  ]);
  return output;
}

/** Takes the arguments of qaic-compile and leaves what `made` has for them. */
async function writeCompiler(): Promise<string> {
  const made = join(folder, 'made');
  const making = { folder: made, device: 0, cores: 16, compiler: null };
  for (const name of ['echo', 'halves', 'language'] as const) {
    assert.is(dirname((await makeProgram(name, making)).file), join(made, name, 'qpc'));
  }
  mkdirSync(join(folder, 'exec'));
  const path = join(folder, 'exec', 'qaic-compile');
  const script = `#!/bin/sh
name=echo
for a in "$@"; do
  case "$a" in
    -retained-state) name=language ;;
    -aic-num-cores=8) name=halves ;;
    -aic-binary-dir=*) out="\${a#*=}" ;;
    -network-specialization-config=*) test -s "\${a#*=}" || exit 4 ;;
    -custom-IO-list-file=*) test -s "\${a#*=}" || exit 5 ;;
    -m=*) test -s "\${a#*=}" || exit 6 ;;
  esac
done
test ! -e "$out" || exit 7
cp -r "${made}/$name/qpc" "$out"
`;
  writeFileSync(path, script);
  chmodSync(path, 0o755);
  return path;
}

if (missing === null) {
  test('programs are compiled and run; what the library cannot do fails by name', async () => {
    const args = ['selftest', '--device', 'ai100:0', '--json', '--out', join(folder, 'out')];
    const ended = await cli([...args, '--compiler', await writeCompiler(), '--timeout', '30'], {
      env: { QAIC_LIB: buildLibrary() },
    });
    const report = JSON.parse(ended.out) as Report;
    const verdict = (name: string) => report.checks.find((c) => c.name === name)?.verdict;
    assert.is(report.emulated, false);
    assert.match(report.software.compiler ?? '', /^sha256 /, ended.err);
    for (const name of ['compile/echo', 'compile/halves', 'compile/language', 'run/echo', 'swap/halves-share']) {
      assert.is(verdict(name), 'passed', name);
    }
    // Nothing computes for the language program here, and there is no kernel driver in front of this library.
    const failed = report.checks.filter((c) => c.verdict === 'failed').map((c) => c.name);
    assert.equal(
      failed.filter((name) => name !== 'device/nodes'),
      ['run/skipped-buffer'],
    );
    assert.is(ended.code, 4);
  });
} else {
  skipped('compiler', missing);
}

test.run();
