import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../src/contracts/errors.js';
import { readSweep, type Sweep } from '../../src/sweep/file.js';
import {
  changesOf,
  idleRules,
  inOrder,
  pointId,
  pointName,
  pointsOf,
  referenceOf,
  valuesOf,
} from '../../src/sweep/points.js';

const test = suite<{ folder: string }>('sweep points');
test.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), 'vlm-sweep-'));
});
test.after.each(async ({ folder }) => {
  await rm(folder, { recursive: true, force: true });
});

async function read(folder: string, text: string): Promise<Sweep> {
  const path = join(folder, 'sweep.yaml');
  await writeFile(path, text);
  return readSweep(path);
}
const HEAD = 'version: 1\nname: x\nrecipe: r.yaml\n';
async function errorOf(work: Promise<unknown> | (() => unknown)): Promise<VlmError> {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    assert.instance(error, VlmError);
    return error as VlmError;
  }
  return assert.unreachable('no error') as never;
}

test('ranges, logarithmic ranges and lists', () => {
  assert.equal(valuesOf({ from: 1, to: 4 }), [1, 2, 3, 4]);
  assert.equal(valuesOf({ from: 0.1, to: 0.5, step: 0.1 }), [0.1, 0.2, 0.3, 0.4, 0.5]);
  assert.equal(valuesOf({ from: 1, to: 6, step: 2 }), [1, 3, 5]);
  assert.equal(valuesOf({ log: { from: 32, to: 512, points: 5 } }), [32, 64, 128, 256, 512]);
  assert.equal(valuesOf({ log: { from: 1, to: 4, points: 9 } }), [1, 2, 3, 4], 'rounded ones once');
  assert.equal(valuesOf(['a', 2, null]), ['a', 2, null]);
});

test('grid, zip and list are combined, and excluded points left out', async ({ folder }) => {
  const sweep = await read(
    folder,
    `${HEAD}grid: { a: [1, 2], b: { from: 1, to: 2 } }\nzip: { c: [x, y], d: [7, 8] }\nlist: [{ device.main: cpu }, { e: true }]\nexclude: [{ a: 2, c: y }, { device.main: cpu, a: 1 }]\n`,
  );
  const points = pointsOf(sweep);
  // 2 × 2 × 2 × 2 = 16; {a: 2, c: y} takes 4, {main: cpu, a: 1} takes 4.
  assert.is(points.length, 8);
  assert.ok(points.every(({ values }) => !(values['a'] === 2 && values['c'] === 'y')));
  assert.ok(points.every(({ values }) => (values['c'] === 'x') === (values['d'] === 7)));
  assert.equal(
    points.map(({ index }) => index),
    [0, 1, 2, 3, 4, 5, 6, 7],
  );
});

test('a point is what its values are, in whatever order', () => {
  assert.is(pointId({ a: 1, b: 2 }), pointId({ b: 2, a: 1 }));
  assert.is.not(pointId({ a: 1 }), pointId({ a: '1' }));
  assert.equal(changesOf({ 'device.main': 'ai100:0', 'nodes.decode.with.ctx_len': 64, 'model.path': 'a b' }), {
    set: ['nodes.decode.with.ctx_len=64', 'model.path="a b"'],
    devices: ['main=ai100:0'],
  });
  assert.is(pointName({ 'nodes.decode.with.ctx_len': 64, 'device.main': 'cpu' }), 'ctx_len=64 device.main=cpu');
  const two = { 'nodes.decode.with.batch_size': 2, 'nodes.encode.with.batch_size': 1 };
  assert.is(pointName(two), 'decode.batch_size=2 encode.batch_size=1');
});

test('the order is random, the same for one seed, and shards part the points', async ({ folder }) => {
  const sweep = await read(folder, `${HEAD}grid: { a: { from: 1, to: 40 } }\n`);
  const points = pointsOf(sweep);
  const order = inOrder(points, sweep.measure);
  assert.equal(order, inOrder(points, sweep.measure));
  assert.not.equal(order, points);
  assert.not.equal(order, inOrder(points, { ...sweep.measure, seed: 2 }));
  assert.equal(inOrder(points, { ...sweep.measure, order: 'file' }), points);
  const shards = [1, 2, 3].flatMap((index) => inOrder(points, sweep.measure, { index, count: 3 }));
  assert.equal(shards.map(({ id }) => id).sort(), points.map(({ id }) => id).sort());
});

test('what is wrong with a file is told, all of it', async ({ folder }) => {
  const several = await errorOf(read(folder, 'version: 1\nname: x\ngrid: { a: 1 }\nmeasure: { repeat: 3 }\n'));
  assert.is(several.code, 'RECIPE_INVALID');
  assert.match(several.details.received ?? '', /recipe/);
  assert.match(several.details.received ?? '', /repeat/);
  assert.is((await errorOf(read(folder, `${HEAD}grid: {a: [1]`))).code, 'RECIPE_INVALID');
  assert.is((await errorOf(read(folder, `${HEAD}grid: {a: [1], a: [2]}\n`))).code, 'RECIPE_INVALID');
  assert.is((await errorOf(readSweep(join(folder, 'none.yaml')))).code, 'RECIPE_UNREADABLE');
  const none = await read(folder, `${HEAD}grid: { a: [1] }\nexclude: [{ a: 1 }]\n`);
  assert.is((await errorOf(() => pointsOf(none))).code, 'RECIPE_INVALID');
  const many = await read(folder, `${HEAD}grid: { a: { from: 1, to: 1000 }, b: { from: 1, to: 1000 } }\n`);
  assert.is((await errorOf(() => pointsOf(many))).code, 'RECIPE_INVALID');
});

test('each mistake of a file is one problem, at its place, with what was meant', async ({ folder }) => {
  const axis = 'nodes.decode.with.batch_size';
  for (const [text, at, told] of [
    [`grids: { ${axis}: [1] }`, '4:1', /did you mean "grid"/],
    [`grid: { ${axis}: [1] }\nmeasure: { repeat: 5 }`, '5:12', /did you mean "repeats"/],
    [`grid: { ${axis}: [] }`, '4:9', /is empty/],
    [`grid: { ${axis}: 4 }`, '4:39', /write \[4\]/],
    [`grid: { ${axis}: { from: 4, to: 1 } }`, '4:47', /has no values/],
    [`grid: { ${axis}: { log: { from: 0, to: 8, points: 3 } } }`, '4:54', /at least 1, not 0/],
    [`grid: { ${axis}: { from: 1, to: 1.0e+12 } }`, '4:54', /more than the 100000 points/],
    [`grid: { ${axis}: { from: 1, to: .inf } }`, '4:54', /is no finite number/],
    [`grid: { ${axis}: [.nan] }`, '4:40', /is no finite number/],
    ['zip: { a.b: [1, 2], c.d: [1] }', '4:21', /a\.b has 2 values, c\.d has 1/],
    [`grid: { ${axis}: [1] }\nlist: [{ ${axis}: 2 }]`, '5:10', /an axis of "grid" already/],
    [`grid: { ${axis}: [1] }\nexclude: [{ nodes.decode.with.bach_size: 1 }]`, '5:13', /did you mean "nodes\.decode/],
    ['grid: { "": 1.5 }', '4:13', /must be a list/],
    ['grid: { "": [1] }', '4:9', /no parameter/],
    [`grid: { ${axis}=4: [1] }`, '4:9', /batch_size: \[1, 2\]/],
    [`grid: { ${axis}: { lgo: { from: 1, to: 8, points: 3 } } }`, '4:41', /did you mean "log"/],
    [`grid: { ${axis}: { log: { from: 1, to: 8, points: .inf } } }`, '4:72', /is no finite number/],
    ['grid: { device.main: [cpu, { kind: cpu }] }', '4:28', /must be text, not a map/],
    ['zip: { device.main: { from: 1, to: 2 } }', '4:8', /must be text, not a map/],
    ['list: [{ device.main: 4 }]', '4:23', /must be text, not 4/],
    [`grid: { ${axis}: [1] }\nmeasure: { order: 1.0 }`, '5:19', /must be text/],
    [`grid: { ${axis}: [1] }\nparity: { reference: { x: 1 } }`, '5:24', /no axis of this sweep/],
  ] as const) {
    const error = await errorOf(read(folder, `${HEAD}${text}\n`));
    assert.is(error.code, 'RECIPE_INVALID', text);
    const { line, column } = error.details.location ?? { line: 0, column: 0 };
    assert.is(`${line}:${column}`, at, text);
    assert.match(error.details.received ?? '', told, text);
    assert.is((error.details.received ?? '').match(/error\[/g)?.length, 1, text);
  }
});

test('a file that is none is told so as a sweep, not as a recipe', async ({ folder }) => {
  const mistakes: readonly (readonly [string, RegExp])[] = [
    ['', /the file is empty[\s\S]*start with "version: 1"/],
    [`${HEAD}---\n${HEAD}`, /a sweep is one[\s\S]*one file a sweep/],
    [`${HEAD}grid: { a: [1] }\n`.replace('1', '2'), /sweep version 2 is not known[\s\S]*may read this sweep/],
    [
      'a: &a [1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d]\n',
      /the sweep has more than/,
    ],
  ];
  for (const [text, told] of mistakes) {
    const { details } = await errorOf(read(folder, text));
    assert.match(details.received ?? '', told);
    assert.not.match(`${details.received}${details.hint}`, /recipe/);
  }
  const large = await errorOf(read(folder, '#'.repeat(1024 * 1024 + 1)));
  const none = await errorOf(readSweep(folder));
  for (const { details } of [large, none]) assert.not.match(details.received ?? '', /recipe/);
});

test('axes may be called like a member of every object', async ({ folder }) => {
  const sweep = await read(folder, `${HEAD}grid: { a: [1] }\nzip: { toString: [1] }\nlist: [{ constructor: 2 }]\n`);
  assert.equal(pointsOf(sweep)[0]?.values, { a: 1, toString: 1, constructor: 2 });
});

test('a rule that leaves no point out is known by its place', async ({ folder }) => {
  const sweep = await read(folder, `${HEAD}grid: { a: [1, 2] }\nexclude:\n  - { a: 2 }\n  - { a: 3 }\n`);
  assert.equal(idleRules(sweep), [1]);
  assert.is(sweep.placeOf(['exclude', 1]).line, 7);
});

test('the reference is the point named, or the first one', async ({ folder }) => {
  const sweep = await read(folder, `${HEAD}grid: { a: [1, 2, 3] }\nparity: { reference: { a: 2 } }\n`);
  const points = pointsOf(sweep);
  assert.equal(referenceOf(sweep, points).values, { a: 2 });
  assert.equal(referenceOf({ ...sweep, parity: { reference: null, score: null } }, points).values, { a: 1 });
  assert.is(
    (await errorOf(() => referenceOf({ ...sweep, parity: { reference: { a: 9 }, score: null } }, points))).code,
    'RECIPE_INVALID',
  );
});

test.run();
