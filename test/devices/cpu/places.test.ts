/** Programs with weights in files of their own, laid out as model caches do: links into a folder of blobs. */
import { copyFileSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import * as assert from 'uvu/assert';
import { CpuDriver } from '../../../src/devices/cpu/index.js';
import { findIndexLimits } from '../../../src/devices/cpu/index-limits.js';
import { mendedGraph } from '../../../src/devices/cpu/mend.js';
import { parseOnnx, readOnnx } from '../../../src/devices/cpu/onnx-graph.js';
import { ByteSource } from '../../../src/devices/cpu/onnx-wire.js';
import { weightPlaces } from '../../../src/devices/cpu/places.js';
import { generate } from '../../../src/generation/index.js';
import { fixture, type GoldenCase, golden, goldenRequest } from '../conformance.js';
import { suiteOf } from '../suite.js';

const test = suiteOf('places of weights');
const dir = mkdtempSync(join(tmpdir(), 'vlm-places-'));
test.after(() => rmSync(dir, { recursive: true, force: true }));
const NAME = 'language-external.onnx';
const driver = new CpuDriver();

/** A folder `name` with the program and its weights, each a link to the file that `blobs` names; '' for a real file. */
function layOut(name: string, blobs: Readonly<Record<string, string>>): string {
  const folder = join(dir, name, 'snapshots', '0123');
  mkdirSync(folder, { recursive: true });
  for (const [file, blob] of Object.entries(blobs)) {
    const place = join(folder, file);
    const real = blob === '' ? place : join(dir, name, blob);
    mkdirSync(dirname(real), { recursive: true });
    copyFileSync(fixture(file), real);
    if (real !== place) symlinkSync(relative(folder, real), place);
  }
  return join(folder, NAME);
}

const LAYOUTS = {
  'files side by side': { [NAME]: '', [`${NAME}.data`]: '' },
  'both linked into one folder of blobs': { [NAME]: 'blobs/aa', [`${NAME}.data`]: 'blobs/bb' },
  'only the weights linked': { [NAME]: '', [`${NAME}.data`]: 'weights/bb' },
  'only the graph linked': { [NAME]: 'blobs/aa', [`${NAME}.data`]: '' },
  'linked into two folders': { [NAME]: 'blobs/aa', [`${NAME}.data`]: 'elsewhere/deep/bb' },
};

for (const [name, blobs] of Object.entries(LAYOUTS)) {
  test(`${name}: constants mended, tokens of the reference`, async () => {
    const path = layOut(name.replaceAll(' ', '-'), blobs);
    const session = await driver.open({ role: 'language', path }, { kind: 'cpu', threads: 1 });
    await session.activate();
    assert.is(session.settings.mendedConstants, 4);
    const c = golden.cases[3] as GoldenCase;
    const [result] = await generate(session, [goldenRequest(c)], {
      prefillSeqLen: 8,
      ctxLen: golden.ctx,
      maxNewTokens: c.tokens.length,
    });
    assert.equal(Array.from(result?.ids ?? []), c.tokens);
    await session.deactivate();
    await session.close();
  });
}

for (const [name, blobs] of Object.entries(LAYOUTS)) {
  test(`${name}: a graph without such constants loads too`, async () => {
    const path = layOut(`plain-${name.replaceAll(' ', '-')}`, blobs);
    // The same graph with its four constants at 0 already.
    const real = realpathSync(path);
    const source = ByteSource.open(real);
    const model = parseOnnx(source);
    const plain = mendedGraph(source, findIndexLimits({ ...model, path }, source));
    source.close();
    writeFileSync(real, plain);
    const session = await driver.open({ role: 'language', path }, { kind: 'cpu', threads: 1 });
    assert.is(session.settings.mendedConstants, 0);
    await session.close();
  });
}

test('a folder reached by a link is no move; weights in two folders have the one above both', () => {
  const path = layOut('whole', { [NAME]: '', [`${NAME}.data`]: '' });
  const linked = join(dir, 'linked');
  symlinkSync(dirname(path), linked);
  const external = readOnnx(path).graph.initializers.filter((t) => t.external !== null);
  assert.ok(external.length > 2);
  assert.is(weightPlaces(join(linked, NAME), external).moved.size, 0);
  const [one, two] = external.map((t, i) => ({
    ...t,
    external: t.external === null ? null : { ...t.external, location: i === 0 ? 'a.data' : 'b.data' },
  }));
  assert.ok(one !== undefined && two !== undefined);
  if (one === undefined || two === undefined) return;
  const folder = dirname(path);
  for (const [name, place] of [
    ['a.data', 'one/x'],
    ['b.data', 'two/y'],
  ] as const) {
    const real = join(dir, 'apart', place);
    mkdirSync(dirname(real), { recursive: true });
    copyFileSync(fixture(`${NAME}.data`), real);
    symlinkSync(real, join(folder, name));
  }
  const places = weightPlaces(path, [one, two]);
  assert.match(places.folder, /apart$/);
  assert.equal([places.moved.get(one), places.moved.get(two)], [join('one', 'x'), join('two', 'y')]);
});

test.run();
