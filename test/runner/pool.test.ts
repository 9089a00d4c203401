import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
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

test.run();
