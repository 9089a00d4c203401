/** Weights of more than 2 GiB in a file of their own, INT32_MAX constants behind them: mended, mapped, never copied. */
import {
  closeSync,
  copyFileSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { CpuDriver } from '../../../src/devices/cpu/index.js';
import { generate } from '../../../src/generation/index.js';
import { skipped } from '../../skipped.js';
import { fixture, golden, goldenRequest, rejects } from '../conformance.js';
import { suiteOf } from '../suite.js';

const test = suiteOf('weights of more than 2 GiB');
const NAME = 'language-large.onnx';
/** As tools/reference/large_weights.py lays it out. */
const EMPTY_BYTES = 9 * 2 ** 28;
const driver = new CpuDriver();
const config = { kind: 'cpu', threads: 1 };
const dir = mkdtempSync(join(tmpdir(), 'vlm-large-'));
const path = join(dir, NAME);
test.after(() => rmSync(dir, { recursive: true, force: true }));

/** A file system without sparse files would need the room: then there is nothing to try. */
function laidOut(): boolean {
  copyFileSync(fixture(NAME), path);
  const fd = openSync(`${path}.data`, 'w');
  try {
    writeSync(fd, readFileSync(fixture(`${NAME}.tail`)), 0, undefined, EMPTY_BYTES);
  } finally {
    closeSync(fd);
  }
  return statSync(`${path}.data`).blocks * 512 < 2 ** 24;
}

if (process.platform === 'linux' && laidOut()) {
  test('they run as the small ones do, and cost no memory', async () => {
    const before = anonymous();
    const session = await driver.open({ role: 'language', path }, config);
    await session.activate();
    assert.ok(session.describe().weightBytes > 2 ** 31);
    assert.is(session.settings.mendedConstants, 4);
    assert.is(session.settings.inPlaceCaches, 4);
    for (const c of golden.cases) {
      const [result] = await generate(session, [goldenRequest(c)], {
        prefillSeqLen: 8,
        ctxLen: golden.ctx,
        maxNewTokens: c.tokens.length,
      });
      assert.equal(Array.from(result?.ids ?? []), c.tokens);
    }
    // A copy of the weights alone would be 2304 MiB of memory that no file backs; the session and its runs are far less.
    const grown = anonymous() - before;
    assert.ok(grown < 2 ** 29, `${Math.round(grown / 2 ** 20)} MiB more`);
    await session.deactivate();
    await session.close();
  });

  test('a weights file that ends a byte early is told before ONNX Runtime sees it', async () => {
    const { size } = statSync(`${path}.data`);
    truncateSync(`${path}.data`, size - 1);
    const error = await rejects(driver.inspect({ role: 'language', path }, config), 'MODEL_MISSING');
    assert.match(error.details.expected ?? '', String(size));
  });
} else {
  skipped('linux', 'weights of more than 2 GiB need sparse files on Linux');
}

/** Bytes of memory that no file backs: what mapped weights do not count to. */
function anonymous(): number {
  return 1024 * Number(/RssAnon:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
}

test.run();
