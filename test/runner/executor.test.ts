import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../src/contracts/errors.js';
import type { PortValue } from '../../src/contracts/ports.js';
import type { Plan } from '../../src/contracts/recipe.js';
import type { RunEvent } from '../../src/contracts/record.js';
import type { RunItem } from '../../src/runner/item.js';
import { fakePlan, runFake, text } from './fakes/plans.js';

const test = suite('executor');
const dir = mkdtempSync(join(tmpdir(), 'vlm-executor-'));
test.after(() => rmSync(dir, { recursive: true, force: true }));

const textOut = (record: { outputs?: Readonly<Record<string, unknown>> } | undefined, name = 'out'): string =>
  (record?.outputs?.[name] as { text: string } | undefined)?.text ?? '';

/** How the stages of a node ended. */
const outcomesOf = (events: readonly RunEvent[], node: string): readonly (string | undefined)[] =>
  events.flatMap((e) => (e.type === 'stage' && e.state === 'end' && e.node === node ? [e.outcome] : []));

test('values flow through the graph', async () => {
  const plan = fakePlan(
    {
      up: { kind: 'upper', inputs: { text: '$.text' } },
      both: { kind: 'join', inputs: { a: 'up.text', b: '$.text' } },
    },
    { out: 'both.text' },
  );
  const { result, events } = await runFake(plan, [text('ab')]);
  assert.ok(result.ok);
  assert.is(textOut(result.items[0]), 'AB+ab');
  assert.equal(
    events
      .filter((e) => e.type === 'stage')
      .map((e) => `${e.type === 'stage' && e.node} ${e.type === 'stage' && e.state}`),
    ['up start', 'up end', 'both start', 'both end'],
  );
  assert.is(events[0]?.type, 'run-start');
  assert.equal(events.at(-1), { type: 'run-end', ok: true });
});

test('independent branches run side by side', async () => {
  const plan = fakePlan(
    {
      a: { kind: 'sleep', inputs: { text: '$.text' }, options: { ms: 300 } },
      b: { kind: 'sleep', inputs: { text: '$.text' }, options: { ms: 300 } },
      both: { kind: 'join', inputs: { a: 'a.text', b: 'b.text' } },
    },
    { out: 'both.text' },
  );
  const { events } = await runFake(plan, [text('x')]);
  const order = events.flatMap((e) => (e.type === 'stage' ? [`${e.node} ${e.state}`] : []));
  assert.equal(order.slice(0, 2).sort(), ['a start', 'b start']);
  const at = (node: string, state: string): number => {
    const found = events.find((e) => e.type === 'stage' && e.node === node && e.state === state);
    return found?.type === 'stage' ? found.at : Number.NaN;
  };
  assert.ok(at('b', 'start') < at('a', 'end'), 'b began before a ended');
  assert.ok(at('a', 'start') < at('b', 'end'), 'a began before b ended');
});

test('the last consumer of a value takes it, earlier ones a copy: nobody shares memory', async () => {
  const plan = fakePlan(
    {
      make: { kind: 'pixels' },
      one: { kind: 'sum', inputs: { pixels: 'make.pixels' } },
      two: { kind: 'sum', inputs: { pixels: 'make.pixels' } },
      both: { kind: 'join', inputs: { a: 'one.text', b: 'two.text' } },
    },
    { out: 'both.text', pixels: 'make.pixels' },
  );
  const { result } = await runFake(plan, [{}]);
  assert.is(textOut(result.items[0]), '12+12');
  const kept = result.items[0]?.outputs?.['pixels'];
  assert.ok(kept?.kind === 'pixels');
  assert.equal(Array.from(kept.tensor?.data ?? []), new Array(12).fill(1));
});

test('several images of one input reach each consumer whole', async () => {
  const image = (n: number, fill: number) =>
    ({ kind: 'image', bytes: new Uint8Array(n).fill(fill), name: `${n}` }) as const;
  const plan = fakePlan(
    {
      one: { kind: 'measure', inputs: { image: '$.image' } },
      two: { kind: 'measure', inputs: { image: '$.image' } },
      both: { kind: 'join', inputs: { a: 'one.text', b: 'two.text' } },
    },
    { out: 'both.text' },
  );
  const item: RunItem = { image: [image(10, 1), image(20, 2)] };
  const { result } = await runFake(plan, [item]);
  assert.is(textOut(result.items[0]), '10:1,20:2+10:1,20:2');
});

test('views that share a buffer get buffers of their own', async () => {
  const plan = fakePlan({ s: { kind: 'shared' } }, { out: 's.json' });
  for (let i = 0; i < 2; i++) {
    const { result } = await runFake(plan, [{}, {}]);
    for (const item of result.items) {
      const out = item.outputs?.['out'];
      assert.ok(out?.kind === 'json');
      assert.equal(out.value, { a: new Uint8Array(4).fill(7), b: new Uint8Array(4).fill(8) });
    }
  }
});

test('an item that fails does not sink the others', async () => {
  const plan = fakePlan(
    { p: { kind: 'picky', inputs: { text: '$.text' } }, up: { kind: 'upper', inputs: { text: 'p.text' } } },
    { out: 'up.text' },
  );
  const { result } = await runFake(plan, [text('a'), text('bad'), text('c')]);
  assert.not(result.ok);
  assert.equal(
    result.items.map((i) => i.ok),
    [true, false, true],
  );
  assert.is(textOut(result.items[2]), 'C');
  const { error } = result.items[1] ?? {};
  assert.is(error?.code, 'IMAGE_UNREADABLE');
  assert.match(error?.where ?? '', '"p"');
  assert.is(error?.location?.line, 10);
  assert.is(result.error?.code, 'IMAGE_UNREADABLE');
});

for (const [kind, code, pattern] of [
  ['throw', 'NODE_FAILED', 'the inner reason'],
  ['refuse', 'OPTION_INVALID', 'no'],
  ['few', 'NODE_FAILED', 'number of results'],
  ['wrong', 'NODE_FAILED', 'wrong value'],
  ['stuck', 'NODE_FAILED', 'cannot cross'],
] as const) {
  test(`a node that ${kind}s: ${code} with its name and place`, async () => {
    const plan = fakePlan(
      { culprit: { kind }, up: { kind: 'upper', inputs: { text: 'culprit.text' } } },
      { out: 'up.text' },
    );
    const { result } = await runFake(plan, [{}]);
    const error = result.items[0]?.error;
    assert.is(error?.code, code);
    assert.match(`${error?.what} ${error?.cause}`, pattern);
    assert.match(error?.where ?? '', 'culprit');
    assert.equal(error?.location, { file: 'fake.yaml', line: 10, column: 3 });
  });
}

test('a missing model is told at the place that names it, where the plan knows it', async () => {
  const plan = fakePlan({ culprit: { kind: 'modelless' } }, { out: 'culprit.text' });
  const modelLocation = { file: 'base.yaml', line: 3, column: 9 };
  for (const [one, place] of [
    [{ ...plan, modelLocation }, modelLocation],
    [plan, { file: 'fake.yaml', line: 10, column: 3 }],
  ] as const) {
    const { result } = await runFake(one, [{}]);
    assert.is(result.items[0]?.error?.code, 'MODEL_MISSING');
    assert.match(result.items[0]?.error?.where ?? '', 'culprit');
    assert.equal(result.items[0]?.error?.location, place);
  }
});

for (const kind of ['exit', 'loose'] as const) {
  test(`a worker that ends (${kind}): WORKER_DIED, and the next item gets a new worker`, async () => {
    const plan = fakePlan(
      { p: { kind: 'upper', inputs: { text: '$.text' } }, culprit: { kind, inputs: { text: 'p.text' } } },
      { out: 'culprit.text' },
    );
    const { result } = await runFake(plan, [text('a'), text('b')], { pool: { hostThreads: 1 } });
    for (const item of result.items) {
      assert.is(item.error?.code, 'WORKER_DIED');
      assert.match(item.error?.where ?? '', 'culprit');
    }
  });
}

test('a worker that runs out of memory: WORKER_DIED that says so', async () => {
  const plan = fakePlan({ culprit: { kind: 'memory' } }, { out: 'culprit.text' });
  const { result } = await runFake(plan, [{}], { pool: { workerHeapMb: 24 } });
  assert.is(result.items[0]?.error?.code, 'WORKER_DIED');
  assert.match(result.items[0]?.error?.what ?? '', 'out of memory');
});

test('each device program has one session, opened once, never overlapping, closed at the end', async () => {
  const log = join(dir, 'sessions.log');
  const plan = fakePlan(
    {
      see: { kind: 'device', inputs: { text: '$.text' } },
      say: { kind: 'generate', inputs: { text: 'see.text' }, options: { steps: 2, batch_size: 2 } },
    },
    { out: 'say.text' },
    { main: { kind: 'fake', log, callMs: 5 } },
  );
  const { result } = await runFake(plan, ['a', 'b', 'c', 'd', 'e'].map(text));
  assert.ok(result.ok, JSON.stringify(result.error));
  const lines = readFileSync(log, 'utf8').trim().split('\n');
  for (const role of ['vision', 'language']) {
    const own = lines.filter((l) => l.startsWith(role)).map((l) => l.slice(role.length + 1));
    assert.equal(
      own.filter((l) => l !== 'run'),
      ['open', 'activate', 'deactivate', 'close'],
    );
    assert.equal(own.slice(0, 2), ['open', 'activate']);
    assert.is(own.filter((l) => l === 'run').length, role === 'vision' ? 5 : 10);
  }
});

test('a device that cannot open fails the node that needed it, with its code', async () => {
  const plan = fakePlan(
    { see: { kind: 'device', inputs: { text: '$.text' } } },
    { out: 'see.text' },
    { main: { kind: 'fake', broken: true } },
  );
  const { result } = await runFake(plan, [text('a')]);
  assert.is(result.items[0]?.error?.code, 'DEVICE_UNAVAILABLE');
  assert.match(result.items[0]?.error?.where ?? '', 'see');
});

test('programs load while the host works', async () => {
  const plan = fakePlan(
    {
      prepare: { kind: 'sleep', inputs: { text: '$.text' }, options: { ms: 600 } },
      say: { kind: 'generate', inputs: { text: 'prepare.text' }, options: { steps: 1 } },
    },
    { out: 'say.text' },
    { main: { kind: 'fake', openMs: 200 } },
  );
  const { result } = await runFake(plan, [text('a')]);
  const own = result.ledger.lanes.find((l) => l.lane === 'host 1')?.spans.filter((s) => s.node === 'prepare') ?? [];
  const prepared = Math.max(...own.map((s) => s.endMs));
  const load =
    result.ledger.lanes.find((l) => l.lane === 'main language')?.spans.filter((s) => s.stage === 'load') ?? [];
  const opened = Math.max(...load.map((s) => s.endMs));
  assert.ok(opened > 0 && opened < prepared, `opened at ${opened}, host done at ${prepared}`);
});

test('a vision program is not opened ahead where no item has a picture for it', async () => {
  const one = fakePlan(
    {
      pre: { kind: 'join', inputs: { a: '$.text', b: '$.text', image: '$.image' } },
      see: { kind: 'upper', program: 'vision', inputs: { text: 'pre.text' } },
      say: { kind: 'upper', program: 'language', inputs: { text: 'see.text' } },
    },
    { out: 'say.text' },
  );
  const plan: Plan = {
    ...one,
    inputs: { image: { name: 'image', type: 'image', many: true, required: false } },
  };
  const image: PortValue = { kind: 'image', bytes: new Uint8Array(1), name: 'a' };
  const both = ['main language', 'main vision'];
  for (const [items, expected] of [
    [[text('a')], ['main language']],
    [[{ ...text('a'), image: [] }], ['main language']],
    [[text('a'), { ...text('b'), image: [image] }], both],
  ] as const) {
    const warm: string[] = [];
    const { result } = await runFake(plan, items, {
      spy: (pools) => ({
        hostThreads: pools.hostThreads,
        run: (lane, task, transfer) => {
          if (task.type === 'warm') warm.push(lane);
          return pools.run(lane, task, transfer);
        },
      }),
    });
    assert.ok(result.ok, JSON.stringify(result.error));
    assert.equal(warm.sort(), expected);
  }
});

test('text streams while the node runs, in order and before it ends', async () => {
  const plan = fakePlan({ say: { kind: 'generate', options: { steps: 20 } } }, { out: 'say.text' });
  const { result, events } = await runFake(plan, [{}, {}]);
  assert.ok(result.ok);
  for (const item of [0, 1]) {
    const pieces = events.flatMap((e) => (e.type === 'text' && e.item === item ? [e.piece] : []));
    assert.is(pieces.join(''), result.items[item]?.text);
    assert.is(pieces.length, 20);
  }
  assert.equal(outcomesOf(events, 'say'), [undefined, undefined]);
  const last = events.findIndex((e) => e.type === 'stage' && e.node === 'say' && e.state === 'end');
  assert.ok(events.slice(last).every((e) => e.type !== 'text' || e.item === 1));
  assert.equal(
    result.items[0]?.generatedIds,
    Array.from({ length: 20 }, (_, i) => i),
  );
  assert.ok((result.items[0]?.metrics?.ttftMs ?? -1) > 0);
});

test('cancelling stops between calls and starts nothing new', async () => {
  const log = join(dir, 'cancel.log');
  const cancel = new Int32Array(new SharedArrayBuffer(4));
  const plan = fakePlan(
    {
      say: { kind: 'generate', options: { steps: 1000 } },
      up: { kind: 'upper', inputs: { text: 'say.text' } },
    },
    { out: 'up.text' },
    { main: { kind: 'fake', callMs: 10, log } },
  );
  const { result, events } = await runFake(plan, [{}, {}], {
    cancel,
    onEvent: (e) => {
      if (e.type === 'text') Atomics.store(cancel, 0, 1);
    },
  });
  assert.equal(
    result.items.map((i) => i.error?.code),
    ['CANCELLED', 'CANCELLED'],
  );
  assert.ok(events.every((e) => e.type !== 'stage' || e.node !== 'up'));
  assert.equal(outcomesOf(events, 'say'), ['cancelled', 'cancelled']);
  const lines = readFileSync(log, 'utf8').trim().split('\n');
  assert.ok(lines.filter((l) => l === 'language run').length < 50);
  assert.equal(lines.slice(-2), ['language deactivate', 'language close']);
});

test('a listener that throws stops the run in order, and its error comes out', async () => {
  const log = join(dir, 'listener.log');
  const plan = fakePlan(
    { say: { kind: 'generate', options: { steps: 1000 } } },
    { out: 'say.text' },
    { main: { kind: 'fake', callMs: 5, log } },
  );
  let thrown: unknown;
  try {
    await runFake(plan, [{}], {
      onEvent: (e) => {
        if (e.type === 'text') throw new RangeError('listener');
      },
    });
  } catch (error) {
    thrown = error;
  }
  assert.instance(thrown, VlmError);
  assert.is((thrown as VlmError).code, 'INTERNAL');
  assert.is(((thrown as VlmError).cause as Error).message, 'listener');
  const lines = readFileSync(log, 'utf8').trim().split('\n');
  assert.ok(lines.length < 100);
  assert.is(lines.at(-1), 'language close');
});

test('a node that comes to its end is not said to have failed because another branch did', async () => {
  const plan = fakePlan(
    {
      slow: { kind: 'sleep', inputs: { text: '$.text' }, options: { ms: 600 } },
      bad: { kind: 'throw', inputs: { text: '$.text' } },
      both: { kind: 'join', inputs: { a: 'slow.text', b: 'bad.text' } },
    },
    { out: 'both.text' },
  );
  const { result, events } = await runFake(plan, [text('a')]);
  assert.is(result.error?.code, 'NODE_FAILED');
  assert.equal(outcomesOf(events, 'bad'), ['failed']);
  assert.equal(outcomesOf(events, 'slow'), [undefined]);
  assert.equal(outcomesOf(events, 'both'), []);
});

test('what verify refuses goes no further', async () => {
  const plan = fakePlan(
    {
      t: { kind: 'tokens', inputs: { text: '$.text' }, options: { n: 9 } },
      up: { kind: 'upper', inputs: { text: 't.tokens' } },
    },
    { out: 'up.text' },
  );
  const { result, events } = await runFake(plan, [text('a')], {
    verify: async () => {
      throw new VlmError('PLAN_DOES_NOT_FIT', { what: 'too long' });
    },
  });
  assert.is(result.items[0]?.error?.code, 'PLAN_DOES_NOT_FIT');
  assert.ok(events.every((e) => e.type !== 'stage' || e.node !== 'up'));
  assert.equal(outcomesOf(events, 't'), ['failed']);
  assert.is(result.items[0]?.promptIds?.length, 9);
});

test.run();
