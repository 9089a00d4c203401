// Locks across devices: made on the processor and verified on the emulated card, and the other way round.
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Lock } from '../../src/share/format.js';
import type { Verification } from '../../src/share/verify.js';
import { Project } from '../cli/fakes/share.js';
import { unbuilt } from '../devices/ai100/emulator/programs.js';
import { skipped } from '../skipped.js';

const test = suite('locks on the emulated card');
let project: Project;
test.before(async () => {
  project = new Project();
  const { code, err } = await project.cli(['lock', project.recipe, '--example', 'image=examples/photo.png']);
  assert.is(code, 0, err);
});
test.after(() => project.remove());

async function verified(args: readonly string[], code: number): Promise<Verification> {
  const ended = await project.cli(['verify', ...args, '--json']);
  assert.is(ended.code, code, ended.err + ended.out);
  return JSON.parse(ended.out) as Verification;
}

const layers = ({ findings }: Verification, example?: string) =>
  Object.fromEntries(findings.filter((f) => f.example === example).map((f) => [f.layer, f.status]));

if (unbuilt() === null) {
  for (const precision of ['float16', 'float32']) {
    test(`a lock of the processor holds on the emulated card, and the other way round (${precision})`, async () => {
      const card = [
        '--device',
        'main=ai100:0',
        '--set',
        'devices.main.emulated=true',
        '--set',
        `devices.main.io_precision=${precision}`,
        '--set',
        'devices.main.shapes.tiles=[1,5]',
      ];
      const compiled = await project.cli(['compile', project.recipe, '--target', 'emulator', ...card, '--quiet']);
      assert.is(compiled.code, 0, compiled.err);
      const onCard = await verified([project.recipe, ...card], 0);
      assert.match(onCard.findings[0]?.message ?? '', /on other devices: devices\.main\.kind is "ai100"/);
      for (const example of ['default', 'example 2']) {
        const found = layers(onCard, example);
        assert.is(found['pixels'], 'same');
        assert.is(found['tokens'], 'same');
        assert.is(found['answer'], 'same');
        assert.is(found['embeddings'], precision === 'float16' ? 'near' : found['embeddings']);
        assert.ok(found['embeddings'] !== 'break');
      }
      assert.ok(onCard.notes.some((note) => /language program is compiled by emulator/.test(note)));
      if (precision === 'float32') return;
      const lock = join(project.home, `${precision}.lock.json`);
      assert.is((await project.cli(['lock', project.recipe, ...card, '--out', lock])).code, 0);
      const { programs } = JSON.parse(readFileSync(lock, 'utf8')) as Lock;
      assert.equal(
        programs.map((p) => [p.kind, p.compiled?.compiler]),
        Array(2).fill(['compiled', 'emulator 1']),
      );
      assert.ok(programs.every((p) => p.compiled?.flags.includes('-aic-hw')));
      assert.not.ok(readFileSync(lock, 'utf8').includes(project.home));
      // A run beside such a lock also looks at what the compiler was.
      const own = project.write('pipelines/card.yaml', 'extends: internvl.yaml\nname: card\n');
      cpSync(lock, join(project.dir, 'pipelines', 'card.lock.json'));
      assert.not.match((await project.cli([own, ...card])).err, /departs/);
      const older = readFileSync(lock, 'utf8').replaceAll('"emulator 1"', '"emulator 0"');
      writeFileSync(join(project.dir, 'pipelines', 'card.lock.json'), older);
      const said = await project.cli([own, ...card]);
      assert.match(
        said.err,
        /departs from card\.lock\.json: the compiled language program: .*"emulator 1" \(lock: "emulator 0"\)/,
      );
      assert.is.not((await verified([project.recipe, '--lock', lock], 0)).verdict, 'break');
    });
  }
  test('a card that computes something else is a break, in the layer where it begins', async () => {
    const card = [
      '--device',
      'main=ai100:0',
      '--set',
      'devices.main.emulated=true',
      '--set',
      'devices.main.shapes.tiles=[1,5]',
    ];
    const compiled = await project.cli(['compile', project.recipe, '--target', 'emulator', ...card, '--quiet']);
    assert.is(compiled.code, 0, compiled.err);
    for (const [deviation, layer, message] of [
      // Which token is the first that a lost cache changes depends on the weights; the one of the prefill never is.
      ['state-lost', 'tokens', /token [1-9]\d* is \d+ \(lock: \d+\), no near-tie/],
      ['outputs-not-written', 'embeddings', /rows 0 to 4 differ/],
    ] as const) {
      const env = { VLM_AICEMU_FAULTS: `deviate ${deviation}` };
      const { code, out } = await project.cli(['verify', project.recipe, ...card, '--json'], { env });
      assert.is(code, 5, out);
      const { first, verdict } = JSON.parse(out) as Verification;
      assert.equal([verdict, first?.layer], ['break', layer]);
      assert.match(first?.message ?? '', message);
    }
  });
} else {
  skipped('compiler', unbuilt() ?? '');
  test('without the built emulator a lock says what is missing', async () => {
    const card = ['--device', 'main=ai100:0', '--set', 'devices.main.emulated=true'];
    const { code } = await project.cli(['verify', project.recipe, ...card]);
    assert.ok(code === 3 || code === 4);
  });
}

test.run();
