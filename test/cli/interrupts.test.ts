// Ctrl-C where a run is not among device programs: while it is planned, in its last node, while it writes; and a pull.
import { execFileSync, spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/util/package-root.js';
import { withHub } from '../model/fake-hub.js';
import { writeRecipes } from './fakes/recipes.js';
import { cli, type Ended } from './fakes/spawn.js';

const test = suite('interrupts');
const dir = mkdtempSync(join(tmpdir(), 'vlm-interrupts-'));
const pause = (ms: number): Promise<unknown> => new Promise((resolve) => setTimeout(resolve, ms));

test.before(() => {
  writeRecipes(dir);
  // A last node that looks at nothing while it works, as a native call does.
  writeFileSync(
    join(dir, 'deaf.mjs'),
    `import { writeSync } from 'node:fs';
export const manifest = { kind: 'deaf', description: 'For tests.', stage: 'fuse',
  inputs: { text: { kind: 'text', description: 'Text.' } }, outputs: { text: { kind: 'text', description: 'Text.' } },
  options: { ms: { type: 'integer', default: 900, description: 'Sleeps this long.', examples: [3] } } };
export async function run(items, context) {
  writeSync(2, 'asleep\\n');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, context.options.ms);
  return items.map(({ text }) => ({ ok: true, outputs: { text: { kind: 'text', text: text.text } } }));
}
`,
  );
  writeFileSync(
    join(dir, 'deaf.yaml'),
    `version: 1
name: deaf
model: { path: ./no-model }
nodes:
  it: { kind: ./slow.mjs, with: { steps: 2, ms: 1 } }
  fuse: { kind: ./deaf.mjs, inputs: { text: $it.text } }
outputs: { answer: $fuse.text }
`,
  );
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

interface Kept {
  readonly status: string;
  readonly error?: { readonly code: string };
  readonly items: readonly { readonly ok: boolean; readonly text?: string }[];
}
const recordOf = (folder: string): Kept => JSON.parse(readFileSync(join(folder, 'run.json'), 'utf8')) as Kept;

function clean(ended: Ended, ...folders: readonly string[]): void {
  assert.not.match(ended.err, /\n\s+at .*\.js:\d|terminate called/);
  for (const folder of folders) {
    assert.equal(
      readdirSync(folder).filter((name) => name.endsWith('.tmp')),
      [],
    );
  }
}

test('while the recipe is planned: said at once, and nothing runs', async () => {
  // The top of a node module runs while its recipe is checked.
  writeFileSync(
    join(dir, 'late.mjs'),
    `console.error('checking');\nawait new Promise((resolve) => setTimeout(resolve, 500));\n${readFileSync(join(dir, 'slow.mjs'), 'utf8')}`,
  );
  writeFileSync(
    join(dir, 'late.yaml'),
    readFileSync(join(dir, 'slow.yaml'), 'utf8').replace('./slow.mjs', './late.mjs'),
  );
  for (const times of [1, 2]) {
    const out = join(dir, `planned-${times}`);
    const ended = await cli([join(dir, 'late.yaml'), '--allow-plugins', '--out', out], {
      during: async (child, seen) => {
        await seen('err', 'checking');
        child.kill('SIGINT');
        await seen('err', 'stopping after the current call');
        if (times === 2) child.kill('SIGINT');
      },
    });
    if (times === 1) {
      assert.equal([ended.code, ended.signal, ended.out], [130, null, ''], ended.err);
      assert.match(ended.err, 'CANCELLED');
      assert.is(recordOf(out).status, 'cancelled');
      clean(ended, out);
    } else {
      assert.is(ended.signal, 'SIGINT', ended.err);
      assert.not.ok(existsSync(out));
    }
  }
});

test('in the last node: its call ends, the answer that it gave is printed and kept, exit 130', async () => {
  const out = join(dir, 'last-once');
  const ended = await cli([join(dir, 'deaf.yaml'), '--allow-plugins', '--out', out], {
    during: async (child, seen) => {
      await seen('err', 'asleep');
      child.kill('SIGINT');
    },
  });
  assert.equal([ended.code, ended.signal, ended.out], [130, null, 'word0 word1\n'], ended.err);
  assert.match(ended.err, 'stopping after the current call');
  assert.match(ended.err, 'CANCELLED');
  assert.equal([recordOf(out).status, recordOf(out).items[0]?.text], ['done', 'word0 word1']);
  clean(ended, out);
});

test('in the last node with --json: the document says that it was interrupted, and has the answer', async () => {
  const { code, out } = await cli([join(dir, 'deaf.yaml'), '--allow-plugins', '--json'], {
    during: async (child, seen) => {
      await seen('err', 'asleep');
      child.kill('SIGINT');
    },
  });
  const { ok, error, items } = JSON.parse(out) as { ok: boolean; error: { code: string }; items: { text: string }[] };
  assert.equal([code, ok, error.code, items[0]?.text], [130, false, 'CANCELLED', 'word0 word1']);
});

test('twice in the last node: dead by the signal at once, the record whole', async () => {
  const out = join(dir, 'last-twice');
  // Sleeps longer than the time-out of a test file.
  const ended = await cli(
    [join(dir, 'deaf.yaml'), '--allow-plugins', '--out', out, '--set', 'nodes.fuse.with.ms=600000'],
    {
      during: async (child, seen) => {
        await seen('err', 'asleep');
        child.kill('SIGINT');
        await seen('err', 'Ctrl-C again');
        child.kill('SIGINT');
      },
    },
  );
  assert.equal([ended.code, ended.signal, ended.out], [null, 'SIGINT', ''], ended.err);
  const { status, error } = recordOf(out);
  assert.equal([status, error?.code], ['cancelled', 'CANCELLED']);
  clean(ended, out);
});

for (const times of [1, 2]) {
  test(`${times === 1 ? 'once' : 'twice'} while results are written`, async () => {
    const out = join(dir, `writing-${times}`);
    // A pipe that nobody reads holds the run up where it writes its trace, after the record.
    const pipe = join(dir, `pipe-${times}`);
    execFileSync('mkfifo', [pipe]);
    let reader: ReturnType<typeof spawn> | undefined;
    const ended = await cli([join(dir, 'slow.yaml'), '--allow-plugins', '--out', out, '--trace', pipe], {
      during: async (child, seen) => {
        while (!existsSync(join(out, 'answer.json'))) await pause(5);
        child.kill('SIGINT');
        await seen('err', 'Ctrl-C again');
        if (times === 2) child.kill('SIGINT');
        else reader = spawn('cat', [pipe], { stdio: 'ignore' });
      },
    });
    reader?.unref();
    if (times === 1) assert.equal([ended.code, ended.out], [130, 'word0 word1 word2\n'], ended.err);
    else assert.is(ended.signal, 'SIGINT', ended.err);
    assert.equal([recordOf(out).status, recordOf(out).items[0]?.text], ['done', 'word0 word1 word2']);
    clean(ended, out, dir);
  });
}

test('the second signal finds a file half written: nothing of it is left', async () => {
  const folder = join(dir, 'half');
  mkdirSync(folder);
  const built = (path: string): string =>
    JSON.stringify(pathToFileURL(join(packageRoot(), '.build', 'src', path)).href);
  const script = `import { readdirSync } from 'node:fs';
import { watchSignals } from ${built('cli/signals.js')};
import { writeFileAtomic } from ${built('util/atomic-write.js')};
watchSignals();
void writeFileAtomic(${JSON.stringify(join(folder, 'x'))}, 'x'.repeat(1 << 25));
while (readdirSync(${JSON.stringify(folder)}).length === 0) await new Promise((resolve) => setImmediate(resolve));
process.emit('SIGINT', 'SIGINT');
process.emit('SIGINT', 'SIGINT');
`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'ignore' });
  assert.is(await new Promise((resolve) => child.on('close', (_, signal) => resolve(signal))), 'SIGINT');
  assert.equal(readdirSync(folder), []);
});

test('while weights are still being read for the record: it does not wait for them', async () => {
  const model = join(dir, 'model');
  cpSync(join(packageRoot(), 'models', 'shapes-internvl'), model, {
    recursive: true,
    filter: (path) => !path.endsWith('.safetensors'),
  });
  // Sparse: takes no room, and longer to read than a test file may run.
  writeFileSync(join(model, 'language.onnx.data'), '');
  truncateSync(join(model, 'language.onnx.data'), 2 ** 38);
  const shipped = join(packageRoot(), 'pipelines', 'internvl.yaml');
  for (const times of [1, 2]) {
    const out = join(dir, `weights-${times}`);
    const ended = await cli([shipped, '--set', `model.path=${model}`, '--out', out], {
      during: async (child, seen) => {
        await seen('out', 'circle');
        child.kill('SIGINT');
        await seen('err', 'Ctrl-C again');
        if (times === 2) child.kill('SIGINT');
      },
    });
    if (ended.signal === null) assert.is(ended.code, 130, ended.err);
    else assert.equal([times, ended.signal], [2, 'SIGINT']);
    assert.is.not(recordOf(out).status, 'running');
    clean(ended, out);
  }
});

test('twice while an input is fetched: at once', async () => {
  const server = createServer((_, response) => void response.write('x'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const shipped = join(packageRoot(), 'pipelines', 'internvl.yaml');
  const ended = await cli([shipped, '--input', `image=http://127.0.0.1:${port}/x.png`], {
    during: async (child) => {
      await new Promise((resolve) => server.once('request', resolve));
      child.kill('SIGINT');
      await pause(1);
      child.kill('SIGINT');
    },
  });
  server.closeAllConnections();
  server.close();
  assert.ok(ended.signal === 'SIGINT' || ended.code === 130, ended.err);
  clean(ended);
});

for (const times of [1, 2]) {
  test(`a pull, ${times === 1 ? 'once' : 'twice'}: nothing half is left, and the next one goes on`, async () => {
    await withHub(async (hub, env) => {
      const begun = new Promise<void>((resolve) => {
        hub.intercept = (path, response) => {
          if (!path.endsWith('/onnx/vision.onnx')) return false;
          response.writeHead(200, { etag: '"x"', 'content-range': 'bytes 0-99999/100000' }).write('v'.repeat(500));
          resolve();
          return true;
        };
      });
      const cache = join(env['HF_HUB_CACHE'] ?? '', 'models--org--m');
      const ended = await cli(['models', 'pull', 'org/m'], {
        env,
        during: async (child) => {
          await Promise.race([begun, new Promise((resolve) => child.once('close', resolve))]);
          const blobs = join(cache, 'blobs');
          const isOnItsWay = (): boolean => readdirSync(blobs).some((name) => name.endsWith('.incomplete'));
          for (let i = 0; i < 200 && !isOnItsWay(); i++) await pause(5);
          for (let i = 0; i < times; i++) child.kill('SIGINT');
        },
      });
      if (ended.signal === null) {
        assert.is(ended.code, 130, ended.err);
        assert.match(ended.err, /^error\[CANCELLED\]: Pulling org\/m was interrupted$/m);
      } else assert.equal([times, ended.signal], [2, 'SIGINT']);
      clean(ended);
      assert.not.ok(readdirSync(join(cache, 'blobs')).some((name) => name.endsWith('.incomplete')));
      assert.not.ok(existsSync(join(cache, 'refs')));
      hub.intercept = () => false;
      const again = await cli(['models', 'pull', 'org/m'], { env });
      assert.is(again.code, 0, again.err);
      assert.match(again.err, /^have config\.json/m);
    });
  });
}

test.run();
