import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compile, lock, lockText, pack, plan, type RunEvent, run, VlmError, verify } from '../src/index.js';
import { packageRoot } from '../src/util/package-root.js';
import { writeRecipes } from './cli/fakes/recipes.js';

const test = suite('library');
const dir = mkdtempSync(join(tmpdir(), 'vlm-library-'));
const shipped = join(packageRoot(), 'pipelines', 'internvl.yaml');
test.before(() => writeRecipes(dir));
test.after(() => rmSync(dir, { recursive: true, force: true }));

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    assert.instance(error, VlmError);
    return (error as VlmError).code;
  }
  return 'nothing thrown';
}

test('compile gives diagnostics as data', async () => {
  const good = await compile(shipped);
  assert.equal(
    good.plan?.nodes.map((n) => n.name),
    ['preprocess', 'encode', 'decode', 'fuse'],
  );
  const bad = await compile(shipped, { set: ['nodes.decode.with.ctx_lne=5'] });
  assert.is(bad.plan, null);
  assert.ok(bad.diagnostics.length > 0);
});

test('run: several items, events, and an item that fails alone', async () => {
  const events: RunEvent[] = [];
  const result = await run(join(dir, 'slow.yaml'), {
    allowPlugins: true,
    set: ['nodes.it.with.ms=1'],
    items: [{ word: 'a' }, { word: 'b' }],
    onEvent: (event) => events.push(event),
  });
  assert.ok(result.ok);
  assert.equal(
    result.items.map((i) => i.text),
    ['a0 a1 a2', 'b0 b1 b2'],
  );
  assert.equal(events.flatMap((e) => (e.type === 'text' && e.item === 1 ? [e.piece] : [])).join(''), 'b0 b1 b2');
});

test('run: failures before anything runs are thrown, those of a node are data', async () => {
  const file = join(dir, 'throw.yaml');
  assert.is(await codeOf(run(file)), 'PLUGIN_FORBIDDEN');
  assert.is(await codeOf(run(join(dir, 'nothing.yaml'), { allowPlugins: true })), 'PLUGIN_INVALID');
  assert.is(await codeOf(run(join(dir, 'none.yaml'))), 'RECIPE_UNREADABLE');
  assert.is(await codeOf(run(file, { allowPlugins: true, set: ['nodes.it.with=5'] })), 'RECIPE_INVALID');
  assert.is(await codeOf(run(file, { allowPlugins: true, set: ['nodes.it.with'] })), 'SET_INVALID');
  assert.is(await codeOf(run(file, { allowPlugins: true, inputs: { wrod: 'x' } })), 'INPUT_UNKNOWN');
  assert.is(await codeOf(plan(file, { allowPlugins: true })), 'MODEL_MISSING');
  const result = await run(file, { allowPlugins: true });
  assert.not(result.ok);
  assert.is(result.error?.code, 'NODE_FAILED');
});

test('run: an AbortSignal stops it between calls', async () => {
  const controller = new AbortController();
  const result = await run(join(dir, 'slow.yaml'), {
    allowPlugins: true,
    // Longer than the time-out of a test file, unless it is stopped.
    set: ['nodes.it.with.steps=50000'],
    signal: controller.signal,
    onEvent: (event) => {
      if (event.type === 'text') controller.abort();
    },
  });
  assert.is(result.items[0]?.error?.code, 'CANCELLED');
});

test('run: a folder and a trace', async () => {
  const out = join(dir, 'out');
  await run(join(dir, 'slow.yaml'), {
    allowPlugins: true,
    out,
    trace: join(out, 'trace.json'),
    items: [{ word: 'a' }, { word: 'b' }],
  });
  const record = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')) as {
    status: string;
    items: { text: string }[];
  };
  assert.equal([record.status, record.items.length], ['done', 2]);
  const answers = JSON.parse(readFileSync(join(out, 'answer.json'), 'utf8')) as { text: string }[];
  assert.equal(
    answers.map((a) => a.text),
    ['a0 a1 a2', 'b0 b1 b2'],
  );
  assert.match(readFileSync(join(out, 'trace.json'), 'utf8'), 'traceEvents');
});

test('run: a listener that throws leaves a whole record that says so', async () => {
  const out = join(dir, 'listener');
  const work = run(join(dir, 'slow.yaml'), {
    allowPlugins: true,
    out,
    onEvent: () => {
      throw new RangeError('listener');
    },
  });
  assert.is(await codeOf(work), 'INTERNAL');
  const record = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')) as {
    status: string;
    error: { cause: string };
  };
  assert.equal([record.status, record.error.cause], ['failed', 'listener']);
});

test('lock, verify and pack, and a pack in place of a recipe', async () => {
  const made = await lock(shipped, { examples: [{ prompt: 'How many circles are there?' }] });
  assert.is(made.examples.length, 2);
  const { verdict, first } = await verify(shipped, made);
  assert.equal([verdict, first], ['same', null]);
  assert.is(await codeOf(lock(shipped, { examples: [{ picture: 'x' }] })), 'INPUT_UNKNOWN');
  assert.is(await codeOf(verify(shipped, join(dir, 'none.lock.json'))), 'LOCK_INVALID');
  // The shipped recipe has no lock beside it, and must not get one from a test.
  const recipe = join(dir, 'mine.yaml');
  writeFileSync(recipe, `extends: ${shipped}\nname: mine\n`);
  writeFileSync(join(dir, 'mine.lock.json'), await lockText(await lock(recipe)));
  const before = process.env['VLM_RUN_CACHE'];
  process.env['VLM_RUN_CACHE'] = join(dir, 'cache');
  try {
    const packed = await pack(recipe, join(dir, 'mine.vlm.tgz'));
    assert.is(packed.madeLock, null);
    const result = await run(packed.path);
    assert.is(result.items[0]?.text, made.examples[0]?.answers['answer']?.text);
    assert.is((await verify(packed.path)).verdict, 'same');
  } finally {
    if (before === undefined) delete process.env['VLM_RUN_CACHE'];
    else process.env['VLM_RUN_CACHE'] = before;
  }
});

test.run();
