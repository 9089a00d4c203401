import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { HOST } from '../../src/runner/lanes.js';
import { WorkerPools } from '../../src/runner/pool.js';

test('no worker is ended while it loads, also one that nothing asked for', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vlm-pool-'));
  try {
    const workerFile = join(folder, 'worker.mjs');
    const lines = [
      "import { writeFileSync } from 'node:fs';",
      "import { threadId } from 'node:worker_threads';",
      'await new Promise((done) => setTimeout(done, 150 * threadId));',
      `writeFileSync(${JSON.stringify(folder)} + '/loaded-' + threadId, '');`,
      'export default () => undefined;',
    ];
    await writeFile(workerFile, lines.join('\n'));
    const pools = new WorkerPools({ workerFile: pathToFileURL(workerFile), hostThreads: 1 });
    pools.prepare([], 2);
    await pools.close();
    const loaded = (await readdir(folder)).filter((name) => name.startsWith('loaded-'));
    assert.is(loaded.length, 3);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('the first task of the host goes to the worker that loads for it, the next one does not wait', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vlm-pool-'));
  try {
    const workerFile = join(folder, 'worker.mjs');
    const lines = [
      "import { threadId } from 'node:worker_threads';",
      'let loaded = false;',
      'export default async (task) => {',
      "  if (task.type === 'warm') await new Promise((done) => setTimeout(done, 400));",
      '  const reply = { threadId, kept: loaded ? 1 : 0, spans: [], repliedAt: 0 };',
      '  loaded = true;',
      "  if (task.type === 'release') await new Promise((done) => setTimeout(done, 400));",
      '  return reply;',
      '};',
    ];
    await writeFile(workerFile, lines.join('\n'));
    const pools = new WorkerPools({ workerFile: pathToFileURL(workerFile), hostThreads: 2 });
    pools.prepare([], 0);
    const task = { type: 'release', ids: [], sentAt: 0 } as const;
    const replies = await Promise.all([pools.run(HOST, task, []), pools.run(HOST, task, [])]);
    await pools.close();
    assert.equal(
      replies.map((reply) => reply?.kept),
      [1, 0],
      'the first by the worker that had loaded, the second by one of its own',
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test.run();
