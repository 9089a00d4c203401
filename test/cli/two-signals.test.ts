/** Two Ctrl-C, in the stages of a real run: whatever is under way, the process ends and its record is whole. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/util/package-root.js';
import { cli } from './fakes/spawn.js';

const test = suite('two signals');
const dir = mkdtempSync(join(tmpdir(), 'vlm-two-signals-'));
test.after(() => rmSync(dir, { recursive: true, force: true }));
const shipped = join(packageRoot(), 'pipelines', 'internvl.yaml');
// An answer that goes on for a while: the signals find the run where they are meant to.
const options = { max_new_tokens: 900, ignore_eos: true };
const long = Object.entries(options).flatMap(([key, value]) => ['--set', `nodes.decode.with.${key}=${value}`]);
const pause = (ms: number): Promise<unknown> => new Promise((resolve) => setTimeout(resolve, ms));

const STAGES: Readonly<Record<string, readonly ['out' | 'err', string] | null>> = {
  'loading and preprocess': null,
  encode: ['err', 'preprocess'],
  prefill: ['err', 'encode'],
  decode: ['out', ' '],
};

for (const [stage, sign] of Object.entries(STAGES)) {
  for (const gap of [0, 25]) {
    test(`${stage}, ${gap} ms apart`, async () => {
      const out = join(dir, `${stage}-${gap}`);
      const record = join(out, 'run.json');
      const ended = await cli([shipped, ...long, '--out', out], {
        during: async (child, seen) => {
          if (sign !== null) await seen(...sign);
          else while (!existsSync(record)) await pause(2);
          child.kill('SIGINT');
          await pause(gap);
          child.kill('SIGINT');
        },
      });
      // In order where the run ended before the second one came (two at once may arrive as one), else by the signal.
      if (ended.signal === null) assert.is(ended.code, 130, ended.err);
      else assert.is(ended.signal, 'SIGINT', ended.err);
      assert.not.match(ended.err, /\n\s+at .*\.js:\d|terminate called/);
      const { status, error } = JSON.parse(readFileSync(record, 'utf8')) as { status: string; error: { code: string } };
      assert.equal([status, error.code], ['cancelled', 'CANCELLED']);
      assert.equal(
        readdirSync(out).filter((name) => name.endsWith('.tmp')),
        [],
      );
    });
  }
}

test.run();
