import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { PortValue } from '../../src/contracts/ports.js';
import type { Plan } from '../../src/contracts/recipe.js';
import { KeptValues, shellOf } from '../../src/runner/kept.js';
import type { LaneKey, TaskRunner } from '../../src/runner/lanes.js';
import type { WorkerPools } from '../../src/runner/pool.js';
import { monotonicMs, type NodeTask } from '../../src/runner/protocol.js';
import { byteSize } from '../../src/runner/values.js';
import { rejectionOf } from '../text/helpers.js';
import { fakePlan, runFake, text } from './fakes/plans.js';

const test = suite('kept values');

const pixels = (fill: number): PortValue => ({
  kind: 'pixels',
  tensor: { dtype: 'float32', dims: [1, 3, 1, 1], data: new Float32Array(3).fill(fill) },
  images: [{ name: 'a', width: 1, height: 1, grid: [1, 1], tiles: 1, visionTokens: 1 }],
});
const numbers = (value: unknown): number[] => {
  const v = value as PortValue | undefined;
  return v?.kind === 'pixels' ? Array.from(v.tensor?.data ?? []) : [];
};

/** Node tasks as they were posted, and their bytes of typed arrays. */
function spyOn(posted: { lane: LaneKey; task: NodeTask; bytes: number }[]): (pools: WorkerPools) => TaskRunner {
  return (pools) => ({
    hostThreads: pools.hostThreads,
    run: (lane, task, transfer) => {
      if (task.type === 'node') posted.push({ lane, task, bytes: byteSize(task.items) });
      return pools.run(lane, task, transfer);
    },
  });
}

/** How many values the worker of a lane still keeps. */
async function keptIn(pools: WorkerPools, lane: LaneKey): Promise<number | undefined> {
  return (await pools.run(lane, { type: 'release', ids: [], sentAt: monotonicMs() }, []))?.kept;
}

const outText = (outputs: Readonly<Record<string, unknown>> | undefined, name = 'out'): string =>
  (outputs?.[name] as { text: string } | undefined)?.text ?? '';

test('a tensor that only its own worker reads never leaves it', async () => {
  const plan = fakePlan(
    {
      make: { kind: 'pixels', program: 'vision' },
      one: { kind: 'sum', program: 'vision', inputs: { pixels: 'make.pixels' } },
      two: { kind: 'sum', program: 'vision', inputs: { pixels: 'make.pixels' } },
      both: { kind: 'join', inputs: { a: 'one.text', b: 'two.text' } },
    },
    { out: 'both.text' },
  );
  const posted: { lane: LaneKey; task: NodeTask; bytes: number }[] = [];
  const seen: PortValue[] = [];
  let left: number | undefined;
  const { result } = await runFake(plan, [{}, {}], {
    spy: spyOn(posted),
    verify: async (_, node, outputs) => {
      if (node.name === 'make' && outputs['pixels'] !== undefined) seen.push(outputs['pixels']);
    },
    after: async (pools) => {
      left = await keptIn(pools, 'main vision');
    },
  });
  assert.ok(result.ok, JSON.stringify(result.error));
  // Each consumer spoils what it got: the first one got a copy.
  assert.equal(
    result.items.map((i) => outText(i.outputs)),
    ['12+12', '12+12'],
  );
  assert.equal(
    posted.map((p) => p.bytes),
    posted.map(() => 0),
  );
  assert.is(seen.length, 2);
  for (const value of seen) {
    assert.ok(value.kind === 'pixels');
    assert.equal(value.tensor?.dims, [1, 3, 2, 2]);
    assert.is(value.tensor?.data.length, 0);
  }
  assert.is(result.items[0]?.images[0]?.visionTokens, 4);
  assert.is(left, 0);
});

test('a worker that may be closed between two tasks is sent the tensor each time', async () => {
  const plan = fakePlan(
    {
      make: { kind: 'pixels', program: 'vision' },
      one: { kind: 'sum', program: 'vision', inputs: { pixels: 'make.pixels' } },
      two: { kind: 'sum', program: 'vision', inputs: { pixels: 'make.pixels' } },
      both: { kind: 'join', inputs: { a: 'one.text', b: 'two.text' } },
    },
    { out: 'both.text' },
  );
  const posted: { lane: LaneKey; task: NodeTask; bytes: number }[] = [];
  const { result } = await runFake(plan, [{}], {
    spy: (pools) => ({ ...spyOn(posted)(pools), forgets: (lane) => lane === 'main vision' }),
  });
  assert.is(outText(result.items[0]?.outputs), '12+12');
  assert.equal(
    posted.filter((p) => p.task.kind === 'sum').map((p) => p.bytes),
    [48, 48],
  );
});

test('a tensor read again by the same worker crosses once', async () => {
  const plan = fakePlan(
    {
      make: { kind: 'pixels' },
      one: { kind: 'sum', program: 'vision', inputs: { pixels: 'make.pixels' } },
      two: { kind: 'sum', program: 'vision', inputs: { pixels: 'make.pixels' } },
      both: { kind: 'join', inputs: { a: 'one.text', b: 'two.text' } },
    },
    { out: 'both.text' },
  );
  const posted: { lane: LaneKey; task: NodeTask; bytes: number }[] = [];
  let left: number | undefined;
  const { result } = await runFake(plan, [{}], {
    spy: spyOn(posted),
    after: async (pools) => {
      left = await keptIn(pools, 'main vision');
    },
  });
  assert.is(outText(result.items[0]?.outputs), '12+12');
  assert.equal(
    posted.map((p) => [p.task.node, p.bytes]),
    [
      ['make', 0],
      ['one', 48],
      ['two', 0],
      ['both', 0],
    ],
  );
  const ways = posted.map((p) => p.task.items[0]?.['pixels']).map((i) => (i?.way === 'kept' ? i.last : i?.way));
  assert.equal(ways, [undefined, 'keep', true, undefined]);
  assert.is(left, 0);
});

test('readers elsewhere and outputs of the recipe get the tensor whole', async () => {
  const plan = fakePlan(
    {
      make: { kind: 'pixels', program: 'vision' },
      here: { kind: 'sum', program: 'vision', inputs: { pixels: 'make.pixels' } },
      there: { kind: 'sum', inputs: { pixels: 'make.pixels' } },
      other: { kind: 'sum', program: 'language', inputs: { pixels: 'make.pixels' } },
      again: { kind: 'sum', program: 'language', inputs: { pixels: 'make.pixels' } },
    },
    { here: 'here.text', there: 'there.text', other: 'other.text', again: 'again.text', pixels: 'make.pixels' },
  );
  const left: (number | undefined)[] = [];
  const { result } = await runFake(plan, [{}], {
    after: async (pools) => {
      for (const lane of ['main vision', 'main language']) left.push(await keptIn(pools, lane));
    },
  });
  const outputs = result.items[0]?.outputs;
  for (const name of ['here', 'there', 'other', 'again']) assert.is(outText(outputs, name), '12', name);
  assert.equal(numbers(outputs?.['pixels']), new Array(12).fill(1));
  assert.equal(left, [0, 0]);
});

for (const [hostThreads, bytes] of [
  [1, 0],
  [2, 48],
] as const) {
  test(`${hostThreads} host thread(s): a tensor stays only where the next task is sure to run`, async () => {
    const plan = fakePlan(
      { make: { kind: 'pixels' }, one: { kind: 'sum', inputs: { pixels: 'make.pixels' } } },
      { out: 'one.text' },
    );
    const posted: { lane: LaneKey; task: NodeTask; bytes: number }[] = [];
    const { result } = await runFake(plan, [{}], { spy: spyOn(posted), pool: { hostThreads } });
    assert.is(outText(result.items[0]?.outputs), '12');
    assert.is(posted[1]?.bytes, bytes);
  });
}

/** One worker makes pixels, fails some items at `picky`, and would have summed up what it kept. */
function pickyPlan(options: Record<string, unknown> = {}): Plan {
  return fakePlan(
    {
      make: { kind: 'pixels', program: 'vision', inputs: { text: '$.text' }, options },
      picky: { kind: 'picky', program: 'vision', inputs: { text: '$.text', pixels: 'make.pixels' } },
      sum: { kind: 'sum', program: 'vision', inputs: { pixels: 'make.pixels', text: 'picky.text' } },
      fail: { kind: 'throw', program: 'vision', inputs: { pixels: 'make.pixels', text: 'sum.text' } },
    },
    { out: 'sum.text', fail: 'fail.text' },
  );
}

test('nothing is left behind: many items, consumers that fail, and one that throws at the very end', async () => {
  const items = Array.from({ length: 60 }, (_, i) => text(i % 3 === 0 ? 'bad' : `item ${i}`));
  let left: number | undefined;
  let most = 0;
  const { result } = await runFake(pickyPlan(), items, {
    spy: (pools) => ({
      hostThreads: pools.hostThreads,
      run: async (lane, task, transfer) => {
        const reply = await pools.run(lane, task, transfer);
        most = Math.max(most, reply?.kept ?? 0);
        return reply;
      },
    }),
    after: async (pools) => {
      left = await keptIn(pools, 'main vision');
    },
  });
  assert.equal(
    result.items.map((i) => i.error?.code),
    items.map((_, i) => (i % 3 === 0 ? 'IMAGE_UNREADABLE' : 'NODE_FAILED')),
  );
  assert.is(left, 0);
  // Values go with their item: never more than the chunks under way (two device stages and two host threads).
  assert.ok(most <= 4, `${most} kept at once`);
});

test('nothing is left behind by a batch of which some items fail', async () => {
  const items = Array.from({ length: 12 }, (_, i) => text(i % 2 === 0 ? 'bad' : 'good'));
  let left: number | undefined;
  const { result } = await runFake(pickyPlan({ batch_size: 5 }), items, {
    after: async (pools) => {
      left = await keptIn(pools, 'main vision');
    },
  });
  assert.equal(
    result.items.map((i) => i.error?.code),
    items.map((_, i) => (i % 2 === 0 ? 'IMAGE_UNREADABLE' : 'NODE_FAILED')),
  );
  assert.is(left, 0);
});

test('nothing is left behind by a cancelled run', async () => {
  const cancel = new Int32Array(new SharedArrayBuffer(4));
  let left: number | undefined;
  const { result } = await runFake(pickyPlan(), [text('a'), text('b'), text('c')], {
    cancel,
    onEvent: (e) => {
      if (e.type === 'stage' && e.node === 'make' && e.state === 'end') Atomics.store(cancel, 0, 1);
    },
    after: async (pools) => {
      left = await keptIn(pools, 'main vision');
    },
  });
  assert.equal(
    result.items.map((i) => i.error?.code),
    ['CANCELLED', 'CANCELLED', 'CANCELLED'],
  );
  assert.is(left, 0);
});

test('the last reader takes the value, earlier ones a copy; an id that is not there is told by its port', async () => {
  const kept = new KeptValues();
  const value = pixels(1);
  const first = kept.resolve({ p: { way: 'keep', id: 'a', value } });
  assert.is.not(first['p'], value);
  assert.equal(numbers(first['p']), [1, 1, 1]);
  const second = kept.resolve({ p: { way: 'kept', id: 'a', last: false } });
  assert.is.not(second['p'], value);
  assert.is(kept.size, 1);
  assert.is(kept.resolve({ p: { way: 'kept', id: 'a', last: true } })['p'], value);
  assert.is(kept.size, 0);
  kept.resolve({ p: { way: 'keep', id: 'b', value } });
  const error = await rejectionOf(async () =>
    kept.resolve({ gone: { way: 'kept', id: 'a', last: true }, p: { way: 'kept', id: 'b', last: true } }),
  );
  assert.is(error.code, 'WORKER_DIED');
  assert.match(error.message, 'gone');
  assert.is(kept.size, 0, 'what this task was to take is gone all the same');
});

test('outputs stay under their ids, and a shell without numbers goes back', () => {
  const kept = new KeptValues();
  const value = pixels(2);
  const sent = kept.keep({ p: value, t: { kind: 'text', text: 'x' } }, { p: { ids: ['a', 'b'], send: false } }, 1);
  assert.equal(sent['p'], shellOf(value));
  assert.is(byteSize(sent), 0);
  assert.is(kept.resolve({ p: { way: 'kept', id: 'b', last: true } })['p'], value);
  assert.is(kept.keep({ p: value }, { p: { ids: ['c'], send: true } }, 0)['p'], value);
  assert.is.not(kept.resolve({ p: { way: 'kept', id: 'c', last: true } })['p'], value);
  const none: PortValue = { kind: 'embeddings', tensor: null };
  assert.is(shellOf(none), none);
});

test.run();
