// Two programs of 16 cores on one card take turns: loaded once, activated again and again, with the same answers.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { loadControl } from '../../src/devices/ai100/emulator/addon.js';
import { writeEmulatedQpc } from '../../src/devices/ai100/emulator/qpc.js';
import { run } from '../../src/index.js';
import { packageRoot } from '../../src/util/package-root.js';
import { emulated, unbuilt } from '../devices/ai100/emulator/programs.js';
import { suiteOf } from '../devices/suite.js';
import { skipped } from '../skipped.js';

const test = suiteOf('programs that swap');
const root = packageRoot();
const model = join(root, 'models', 'shapes-internvl');
const folder = mkdtempSync(join(tmpdir(), 'vlm-swap-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

async function recipe(cores: number, memory: number): Promise<string> {
  const shapes = { batches: [1], seqLens: [32], ctxLen: 256, visionRows: 16, tiles: [1], rowsPerTile: 16, cores };
  const programs = { vision: join(folder, `vision-${cores}`), language: join(folder, `language-${cores}`) };
  for (const role of ['vision', 'language'] as const) {
    await writeEmulatedQpc(programs[role], emulated(role, join(model, `${role}.onnx`), shapes));
  }
  const main = { kind: 'ai100', emulated: true, num_cores: cores, programs, memory_gib: memory };
  const nodes = {
    preprocess: {
      kind: 'preprocess',
      inputs: { image: '$inputs.image', prompt: '$inputs.prompt' },
      with: { max_tiles: 1 },
    },
    encode: { kind: 'encode', device: 'main', inputs: { pixels: '$preprocess.pixels' } },
    decode: {
      kind: 'decode',
      device: 'main',
      inputs: { tokens: '$preprocess.tokens', vision: '$encode.embeddings' },
      with: { prefill_seq_len: 32, ctx_len: 256, max_new_tokens: 16 },
    },
  };
  const file = join(folder, `${cores}-${memory}.yaml`);
  const inputs = { image: { type: 'image' }, prompt: { type: 'text' } };
  const whole = { version: 1, name: 'swap', model: { path: model }, inputs, devices: { main }, nodes };
  writeFileSync(file, JSON.stringify({ ...whole, outputs: { text: '$decode.text' } }));
  return file;
}

interface Ran {
  readonly ids: readonly (readonly number[] | undefined)[];
  readonly swaps: number;
  readonly created: number;
  readonly activations: number;
}

async function ran(file: string): Promise<Ran> {
  const control = loadControl();
  assert.ok(control.faults(''));
  const image = join(root, 'examples', 'scene.png');
  const items = ['Describe the image.', 'How many circles are there?', 'What is red?'].map((prompt) => ({
    image,
    prompt,
  }));
  const result = await run(file, { items });
  assert.is(result.error, undefined, result.error?.what);
  return {
    ids: result.items.map((item) => item.generatedIds),
    swaps: result.ledger.swaps ?? 0,
    created: control.calls('qaicCreateProgram'),
    activations: control.calls('qaicRunActivationCmd'),
  };
}

if (unbuilt() === null) {
  test('they stay loaded, and answer as where both are active; each change is counted', async () => {
    const shared = await ran(await recipe(8, 16));
    const swapped = await ran(await recipe(16, 16));
    assert.equal(swapped.ids, shared.ids);
    assert.ok(shared.ids.every((ids) => (ids?.length ?? 0) > 0));
    assert.is(shared.swaps, 0);
    assert.ok(swapped.swaps >= 1, `${swapped.swaps} swaps`);
    assert.is(shared.created, 2);
    assert.is(swapped.created, 2);
    // One activation and one deactivation for each program, and both again for each further change.
    assert.is(swapped.activations, 2 * (swapped.swaps + 1));
  });

  test('where the memory of the card holds one of them alone, the other is closed', async () => {
    const tight = await ran(await recipe(16, 1e-8));
    assert.equal(tight.ids, (await ran(await recipe(8, 16))).ids);
    assert.is(tight.created, tight.swaps + 1);
  });
} else {
  skipped('compiler', unbuilt() ?? '');
}

test.run();
