import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { HOST } from '../../src/runner/lanes.js';
import { WorkerPools } from '../../src/runner/pool.js';

/** A folder of its own, and pools whose workers run this module in it. */
async function withPools(
  hostThreads: number,
  module: (folder: string) => readonly string[],
  use: (pools: WorkerPools, folder: string) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'vlm-pool-'));
  try {
    const workerFile = join(folder, 'worker.mjs');
    await writeFile(workerFile, module(folder).join('\n'));
    await use(new WorkerPools({ workerFile: pathToFileURL(workerFile), hostThreads }), folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

test('no worker is ended while it loads, also one that nothing asked for', async () => {
  const module = (folder: string): readonly string[] => [
    "import { writeFileSync } from 'node:fs';",
    "import { threadId } from 'node:worker_threads';",
    'await new Promise((done) => setTimeout(done, 150 * threadId));',
    `writeFileSync(${JSON.stringify(folder)} + '/loaded-' + threadId, '');`,
    'export default () => undefined;',
  ];
  await withPools(1, module, async (pools, folder) => {
    pools.prepare([], 2);
    await pools.close();
    const loaded = (await readdir(folder)).filter((name) => name.startsWith('loaded-'));
    assert.is(loaded.length, 3);
  });
});

test('the first task of the host goes to the worker that loads for it, the next one does not wait', async () => {
  const module = (): readonly string[] => [
    'let loaded = false;',
    'export default async (task) => {',
    '  const reply = { threadId: 1, kept: loaded ? 1 : 0, spans: [], repliedAt: 0 };',
    '  loaded = true;',
    '  await new Promise((done) => setTimeout(done, 400));',
    '  return reply;',
    '};',
  ];
  await withPools(2, module, async (pools) => {
    pools.prepare([], 0);
    const task = { type: 'release', ids: [], sentAt: 0 } as const;
    const replies = await Promise.all([pools.run(HOST, task, []), pools.run(HOST, task, [])]);
    await pools.close();
    assert.equal(
      replies.map((reply) => reply?.kept),
      [1, 0],
      'the first by the worker that had loaded, the second by one of its own',
    );
  });
});

test.run();
