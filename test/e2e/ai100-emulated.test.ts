// The shipped card recipe on an emulated card: compiled from the same graphs, it gives the answer of the cpu device.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/util/package-root.js';
import { cli } from '../cli/fakes/spawn.js';
import { unbuilt } from '../devices/ai100/emulator/programs.js';
import { skipped } from '../skipped.js';

const root = packageRoot();
const RECIPE = join(root, 'pipelines', 'internvl.ai100.yaml');
const EMULATED = ['--set', 'devices.main.emulated=true', '--set', 'devices.main.io_precision=float32'];

interface Entry {
  readonly role: string;
  readonly files: Readonly<Record<string, { readonly sha256: string }>>;
}

const test = suite<{ cache: string }>('the card recipe on an emulated card');
test.before.each((context) => {
  context.cache = mkdtempSync(join(tmpdir(), 'vlm-emulated-'));
});
test.after.each(({ cache }) => rmSync(cache, { recursive: true, force: true }));

test('without compiled programs the run names the command', async ({ cache }) => {
  const { code, err } = await cli([RECIPE, ...EMULATED], { env: { VLM_RUN_CACHE: cache } });
  assert.is(code, 3);
  assert.match(err, /not compiled for the emulated card/);
  assert.match(err, /vlm-run compile .*internvl\.ai100\.yaml --set devices\.main\.emulated=true/);
});

if (unbuilt() === null) {
  test('compiled for the emulator, it answers as cpu does', async ({ cache }) => {
    const env = { VLM_RUN_CACHE: cache };
    const compiled = await cli(['compile', RECIPE, '--target', 'emulator', ...EMULATED], { env });
    assert.is(compiled.code, 0, compiled.err);
    const card = await cli([RECIPE, ...EMULATED, '--quiet'], { env });
    assert.is(card.code, 0, card.err);
    const told = await cli([RECIPE, ...EMULATED, '--out', join(cache, 'run')], { env });
    assert.match(told.err, /tok\/s · emulated/);
    const { ledger, model } = JSON.parse(readFileSync(join(cache, 'run', 'run.json'), 'utf8'));
    const listed = JSON.parse((await cli(['cache', 'ls', '--json'], { env })).out) as { programs: Entry[] };
    for (const { role, files } of listed.programs) {
      assert.is(model.sha256[`${role}/programqpc.bin`], files['qpc/programqpc.bin']?.sha256);
    }
    assert.is(listed.programs.length, 2);
    const marked = ledger.lanes.filter((lane: { emulated?: boolean }) => lane.emulated === true);
    assert.equal(marked.map((lane: { lane: string }) => lane.lane).sort(), ['main language', 'main vision']);
    const cpu = await cli([RECIPE, '--device', 'main=cpu', '--quiet'], { env });
    assert.is(cpu.code, 0, cpu.err);
    assert.is(card.out, cpu.out);
  });
} else {
  skipped('compiler', unbuilt() ?? '');
  test('without the built emulator programs can be made, and a run says what is missing', async ({ cache }) => {
    const env = { VLM_RUN_CACHE: cache };
    assert.is((await cli(['compile', RECIPE, ...EMULATED], { env })).code, 0);
    const { code, err } = await cli([RECIPE, ...EMULATED], { env });
    assert.is(code, 4);
    assert.match(err, /DEVICE_UNAVAILABLE/);
  });
}

test.run();
