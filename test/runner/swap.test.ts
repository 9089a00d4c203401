import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { LedgerBook } from '../../src/runner/ledger.js';
import type { TaskReply, WorkerTask } from '../../src/runner/protocol.js';
import { SwappingTasks } from '../../src/runner/swap.js';

const test = suite('swapped programs');
const node = { type: 'node', sentAt: 0 } as unknown as WorkerTask;
const warm = { type: 'warm', sentAt: 0 } as unknown as WorkerTask;

/** Remembers what ran; a lane is open from its first task to its close. */
class Fake {
  readonly hostThreads = 1;
  readonly log: string[] = [];
  readonly open = new Set<string>();
  most = 0;
  #running = 0;
  /** Tasks that ran at one time. */
  busiest = 0;
  error: TaskReply['error'];

  async run(lane: string, task: WorkerTask): Promise<TaskReply | undefined> {
    this.log.push(`${task.type} ${lane}`);
    if (task.type === 'close' || task.type === 'deactivate') this.open.delete(lane);
    else this.open.add(lane);
    this.most = Math.max(this.most, this.open.size);
    this.busiest = Math.max(this.busiest, ++this.#running);
    await new Promise((resolve) => setTimeout(resolve, 2));
    this.#running--;
    if (task.type !== 'deactivate' || this.error === undefined) return undefined;
    return { spans: [], error: this.error } as unknown as TaskReply;
  }
}

test('one lane at a time: the other is deactivated first, and each change is counted', async () => {
  const fake = new Fake();
  const ledger = new LedgerBook();
  const tasks = new SwappingTasks(fake, [{ lanes: ['v', 'l'], stayLoaded: true }], ledger);
  await Promise.all([
    tasks.run('v', warm, []),
    tasks.run('l', warm, []),
    tasks.run('v', node, []),
    tasks.run('v', node, []),
    tasks.run('l', node, []),
    tasks.run('v', node, []),
  ]);
  assert.equal(fake.log, ['warm v', 'node v', 'node v', 'deactivate v', 'node l', 'deactivate l', 'node v']);
  assert.is(fake.most, 1);
  assert.is(ledger.close().swaps, 2);
});

test('programs that the memory of a card does not hold together are closed, and keep nothing between tasks', async () => {
  const fake = new Fake();
  const exclusive = [
    { lanes: ['v', 'l'], stayLoaded: false },
    { lanes: ['a', 'b'], stayLoaded: true },
  ];
  const tasks = new SwappingTasks(fake, exclusive, new LedgerBook());
  for (const lane of ['v', 'l', 'a', 'b']) await tasks.run(lane, node, []);
  assert.equal(fake.log, ['node v', 'close v', 'node l', 'node a', 'deactivate a', 'node b']);
  assert.equal(
    ['v', 'l', 'a', 'other'].map((lane) => tasks.forgets(lane)),
    [true, true, false, false],
  );
});

test('lanes that exclude nothing go side by side, and no swap is recorded', async () => {
  const fake = new Fake();
  const ledger = new LedgerBook();
  const tasks = new SwappingTasks(fake, [], ledger);
  await Promise.all([tasks.run('v', node, []), tasks.run('l', node, [])]);
  assert.is(fake.most, 2);
  assert.is(ledger.close().swaps, undefined);
});

test('programs that stay active take turns with their tasks alone: nothing is deactivated, loading overlaps', async () => {
  const fake = new Fake();
  const ledger = new LedgerBook();
  const tasks = new SwappingTasks(fake, [{ lanes: ['v', 'l'], stayLoaded: true, stayActive: true }], ledger);
  await Promise.all([tasks.run('v', warm, []), tasks.run('l', warm, [])]);
  assert.is(fake.busiest, 2);
  fake.busiest = 0;
  await Promise.all(['v', 'l', 'v', 'l'].map((lane) => tasks.run(lane, node, [])));
  assert.is(fake.busiest, 1);
  assert.equal(fake.log, ['warm v', 'warm l', 'node v', 'node l', 'node v', 'node l']);
  assert.is(ledger.close().swaps, undefined);
});

test('lists that share a lane become one', async () => {
  const fake = new Fake();
  const ledger = new LedgerBook();
  const tasks = new SwappingTasks(
    fake,
    [
      { lanes: ['a', 'b'], stayLoaded: true },
      { lanes: ['b', 'c'], stayLoaded: true },
    ],
    ledger,
  );
  await Promise.all(['a', 'c', 'b'].map((lane) => tasks.run(lane, node, [])));
  assert.is(fake.most, 1);
  assert.is(ledger.close().swaps, 2);
});

test('a program that cannot be deactivated fails the task that needs its place, not the ones after it', async () => {
  const fake = new Fake();
  const tasks = new SwappingTasks(fake, [{ lanes: ['v', 'l'], stayLoaded: true }], new LedgerBook());
  await tasks.run('v', node, []);
  fake.error = { code: 'DEVICE_FAILED', what: 'no' } as TaskReply['error'] & object;
  let code: unknown;
  await tasks.run('l', node, []).catch((error: { code?: unknown }) => {
    code = error.code;
  });
  assert.is(code, 'DEVICE_FAILED');
  fake.error = undefined;
  await tasks.run('l', node, []);
  assert.is(fake.log.at(-1), 'node l');
});

test.run();
