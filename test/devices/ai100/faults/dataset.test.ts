// A dataset on a card that hangs or goes away: what was finished is kept, the rest is run again.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { writeEmulatedQpc } from '../../../../src/devices/ai100/emulator/qpc.js';
import { packageRoot } from '../../../../src/util/package-root.js';
import { cli, type Ended } from '../../../cli/fakes/spawn.js';
import { skipped } from '../../../skipped.js';
import { suiteOf } from '../../suite.js';
import { emulated, type Shapes, unbuilt } from '../emulator/programs.js';

const test = suiteOf('datasets on a failing card');
const missing = unbuilt();
const folder = mkdtempSync(join(tmpdir(), 'vlm-failing-'));
const recipe = join(folder, 'recipe.json');
const model = join(packageRoot(), 'models', 'shapes-internvl');
const ITEMS = 6;

interface Row {
  readonly id: string;
  readonly ok: boolean;
  readonly text?: string;
  readonly error?: { readonly code: string };
}

async function prepare(): Promise<void> {
  const shapes: Shapes = { seqLens: [32], ctxLen: 1024, visionRows: 80, tiles: [5], rowsPerTile: 16 };
  const programs = { vision: join(folder, 'vision'), language: join(folder, 'language') };
  for (const role of ['vision', 'language'] as const) {
    await writeEmulatedQpc(programs[role], emulated(role, join(model, `${role}.onnx`), shapes));
  }
  const image = '$inputs.image';
  const text = {
    version: 1,
    name: 'failing',
    model: { path: model },
    inputs: { image: { type: 'image' }, prompt: { type: 'text', default: 'Describe the image.' } },
    devices: { main: { kind: 'ai100', emulated: true, programs, num_cores: 5 } },
    nodes: {
      preprocess: { kind: 'preprocess', inputs: { image, prompt: '$inputs.prompt' } },
      encode: { kind: 'encode', device: 'main', inputs: { pixels: '$preprocess.pixels' } },
      decode: {
        kind: 'decode',
        device: 'main',
        inputs: { tokens: '$preprocess.tokens', vision: '$encode.embeddings' },
        with: { batch_size: 1, prefill_seq_len: 32, ctx_len: 1024, max_new_tokens: 40 },
      },
    },
    outputs: { text: '$decode.text' },
  };
  writeFileSync(recipe, JSON.stringify(text));
}

function dataset(out: string, faults: string, more: readonly string[] = []): Promise<Ended> {
  const pictures = join(packageRoot(), 'examples', '*.png');
  const args = ['run', recipe, '--dataset', pictures, '--embedding-cache', 'off', '--item-timeout', '8', '--out', out];
  return cli([...args, ...more], { env: { VLM_AICEMU_FAULTS: faults, VLM_RUN_CACHE: folder } });
}

/** Text of each finished picture; of several rows of one the last counts. */
function rows(out: string): Map<string, Row> {
  const lines = readFileSync(join(out, 'results.jsonl'), 'utf8').trim().split('\n');
  return new Map(lines.map((line) => JSON.parse(line) as Row).map((row) => [row.id, row]));
}

const texts = (found: Map<string, Row>): [string, string | undefined][] =>
  [...found].map(([id, row]): [string, string | undefined] => [id, row.text]).sort();

if (missing === null) {
  const whole = join(folder, 'whole');
  test.before(prepare);
  test.after(() => rmSync(folder, { recursive: true, force: true }));

  test('a call that never returns ends its child alone; all items are answered', async () => {
    const clean = await dataset(whole, '');
    assert.is(clean.code, 0, clean.err);
    assert.is(rows(whole).size, ITEMS);
    const out = join(folder, 'hung');
    const { code, err } = await dataset(out, 'qaicExecObjWaitForCompletion 60 hang');
    assert.is(code, 0, err);
    assert.match(err, 'no sign of life');
    assert.equal(texts(rows(out)), texts(rows(whole)));
  });

  test('a card that goes away leaves what was finished, and a later run goes on from there', async () => {
    const out = join(folder, 'gone');
    const first = await dataset(out, 'qaicExecObjWaitForCompletion 60 vanish');
    assert.is.not(first.code, 0);
    const kept = [...rows(out).values()].filter((row) => row.ok);
    assert.ok(kept.length > 0 && kept.length < ITEMS, `${kept.length} of ${ITEMS} finished`);
    for (const row of kept) assert.is(row.text, rows(whole).get(row.id)?.text);
    for (const row of rows(out).values()) {
      if (!row.ok) assert.ok(['DEVICE_FAILED', 'DEVICE_UNAVAILABLE'].includes(row.error?.code ?? ''), row.error?.code);
    }
    const second = await dataset(out, '', ['--resume']);
    assert.is(second.code, 0, second.err);
    assert.equal(texts(rows(out)), texts(rows(whole)));
  });
} else {
  skipped('compiler', missing);
}

test.run();
