// The binding built against a header that stands where the SDK's would: what several cards for one program need.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadAddon } from '../../../src/devices/ai100/library.js';
import { packageRoot } from '../../../src/util/package-root.js';
import { skipped } from '../../skipped.js';
import { buildRuntime, compiler, folder, lacking, visionProgram } from './fake.js';

const test = suite('ai100 binding against a header of the SDK');
const missing = lacking();
const script = join(packageRoot(), 'scripts', 'native', 'ai100.mjs');

function built(output: string, env: Readonly<Record<string, string>>): { status: number | null; told: string } {
  const made = spawnSync(process.execPath, [script, output], { env: { ...process.env, ...env }, encoding: 'utf8' });
  return { status: made.status, told: made.stderr };
}

if (missing !== null) skipped('compiler', missing);
else {
  const temp = folder();
  test.after(() => {
    delete process.env.FAKE_MAPPING;
    temp.remove();
  });

  test('the cards of a program are mapped in the properties that the header describes', () => {
    const output = join(temp.path, 'addon.node');
    const env = { QAIC_SDK_INCLUDE: join(packageRoot(), 'test', 'fixtures', 'ai100', 'sdk') };
    const { status, told } = built(output, env);
    assert.is(status, 0, told);
    assert.match(told, 'with the SDK header');
    assert.match(built(output, env).told, 'up to date');
    const addon = loadAddon(output);
    assert.is(addon.sdk, true);
    const { library } = addon.openLibrary(buildRuntime(temp.path));
    assert.ok(library);
    const mapped = (ids: readonly number[]): string => {
      process.env.FAKE_MAPPING = join(temp.path, 'mapping');
      const program = new addon.Program(library, ids);
      assert.is(program.create(visionProgram(join(temp.path, 'vision.bin'))), null);
      assert.is(program.release(), null);
      return readFileSync(process.env.FAKE_MAPPING, 'utf8');
    };
    assert.is(mapped([0, 2, 3]), '0:2:3');
    assert.is(mapped([1]), 'none');
  });

  test('a header that disagrees with the layouts stops the build, and a missing compiler is said', () => {
    const output = join(temp.path, 'other.node');
    writeFileSync(join(temp.path, 'QAicApi.h'), '#include <stdint.h>\ntypedef struct { uint32_t size; } QBuffer;\n');
    const source = join(packageRoot(), 'native', 'ai100', 'sdk.cc');
    const wrong = spawnSync(compiler, ['-std=c++17', '-fsyntax-only', '-isystem', temp.path, source]);
    assert.is.not(wrong.status, 0);
    const none = built(output, { CXX: join(temp.path, 'no-such-compiler') });
    assert.is(none.status, 0);
    assert.match(none.told, 'no C++ compiler');
  });
}

test.run();
