/** A tiny model of Llama 4's architecture, from pictures to token ids and logits, against transformers' own generate. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ChatMessage } from '../src/contracts/node.js';
import type { MessagesValue } from '../src/contracts/ports.js';
import type { Tensor } from '../src/contracts/tensor.js';
import { tensor } from '../src/contracts/tensor.js';
import { describeFile } from '../src/devices/describe.js';
import { loadDriver } from '../src/devices/drivers.js';
import { decodeImage } from '../src/image/decode.js';
import { loadKernels } from '../src/image/native.js';
import { imageTiles, tileElements } from '../src/image/tiles.js';
import { run } from '../src/index.js';
import { openModel } from '../src/model/context.js';
import { preparePrompt } from '../src/prompt/prepare.js';
import { packageRoot } from '../src/util/package-root.js';
import { cli } from './cli/fakes/spawn.js';
import { unbuilt } from './devices/ai100/emulator/programs.js';
import { skipped } from './skipped.js';
import { tinyModel } from './tiny-models.js';

interface Case {
  readonly images: readonly string[];
  readonly messages: readonly ChatMessage[];
  readonly tiles: number;
  readonly ids: readonly (number | readonly [number, number])[];
  readonly tokens: readonly number[];
  readonly logits: Readonly<Record<string, readonly number[]>>;
}

const root = packageRoot();
const model = tinyModel('llama4');
const golden: { readonly steps: number; readonly cases: Readonly<Record<string, Case>> } = JSON.parse(
  readFileSync(join(model, 'goldens.json'), 'utf8'),
);
const cases = Object.entries(golden.cases);
const CTX = 768;

const folder = mkdtempSync(join(tmpdir(), 'vlm-llama4-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

interface Settings {
  readonly prefill: number;
  readonly batch?: number;
  readonly device?: Readonly<Record<string, unknown>>;
}

function pictureBytes(name: string): Buffer {
  return readFileSync(join(root, 'test', 'golden', 'images', 'sources', name));
}

function recipe(name: string, { prefill, batch = 1, device }: Settings): string {
  const file = join(folder, `${name}.yaml`);
  const text = {
    version: 1,
    name,
    model: { path: model },
    inputs: { messages: { type: 'messages' } },
    devices: { main: device ?? { kind: 'cpu' } },
    nodes: {
      preprocess: { kind: 'preprocess', inputs: { messages: '$inputs.messages' } },
      encode: {
        kind: 'encode',
        device: 'main',
        inputs: { pixels: '$preprocess.pixels' },
        with: { batch_size: batch },
      },
      decode: {
        kind: 'decode',
        device: 'main',
        inputs: { tokens: '$preprocess.tokens', vision: '$encode.embeddings' },
        with: {
          batch_size: batch,
          prefill_seq_len: prefill,
          ctx_len: CTX,
          max_new_tokens: golden.steps,
          ignore_eos: true,
        },
      },
    },
    outputs: { text: '$decode.text' },
  };
  writeFileSync(file, JSON.stringify(text));
  return file;
}

function conversation({ images, messages }: Case): MessagesValue {
  return {
    kind: 'messages',
    messages,
    images: images.map((name) => ({ kind: 'image', name, bytes: pictureBytes(name) })),
  };
}

const promptIds = (source: Case): number[] =>
  source.ids.flatMap((part) => (typeof part === 'number' ? [part] : Array<number>(part[1]).fill(part[0])));

async function checkTokens(file: string, wanted: readonly (readonly [string, Case])[]): Promise<void> {
  const result = await run(file, { items: wanted.map(([, source]) => ({ messages: conversation(source) })) });
  assert.is(result.error, undefined);
  for (const [i, [name, source]] of wanted.entries()) {
    const item = result.items[i];
    assert.is(item?.error, undefined, name);
    assert.equal(item?.promptIds, promptIds(source), `${name}: prompt`);
    assert.equal(item?.generatedIds, [...source.tokens], `${name}: answer`);
  }
}

test('at least 8 prompts of 64 steps, several tiles, two images, prompts and answers that cross attention chunks', () => {
  const chunk: number = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8')).text_config.attention_chunk_size;
  const lengths = cases.map(([, c]) => promptIds(c).length);
  assert.ok(cases.length >= 8);
  assert.is(golden.steps, 64);
  assert.ok(cases.some(([, c]) => c.images.length === 2));
  assert.ok(cases.some(([, c]) => c.tiles > 10));
  assert.ok(lengths.some((n) => n > 2 * chunk));
  assert.ok(lengths.some((n) => n < chunk && n + golden.steps > chunk));
});

for (const [prefill, batch] of [
  [CTX, 1],
  [CTX, 3],
  [50, 3],
] as const) {
  test(`tokens equal transformers', prefill of at most ${prefill}, ${batch} at a time`, async () => {
    await checkTokens(recipe(`cpu-${prefill}-${batch}`, { prefill, batch }), cases);
  });
}

/** 1e-3 in f32 as the reference's own precision allows: both sum in f32, in different orders. */
const TOLERANCE = 1e-3;

test(`logits of the first and the last step are within ${TOLERANCE}`, async () => {
  const context = await openModel({ path: model }, { describe: describeFile });
  const driver = await loadDriver('cpu');
  const vision = await driver.open({ role: 'vision', path: join(model, 'vision.onnx') }, { kind: 'cpu' });
  const language = await driver.open({ role: 'language', path: join(model, 'language.onnx') }, { kind: 'cpu' });
  await vision.activate();
  await language.activate();
  const { kernels } = loadKernels();
  try {
    for (const [name, source] of cases) {
      const pictures = await Promise.all(source.images.map((n) => decodeImage(pictureBytes(n), { name: n })));
      const { prompt, layouts } = preparePrompt(context, { messages: source.messages, sizes: pictures });
      let rows: Tensor = tensor('float32', [1, 48], new Float32Array(48));
      if (pictures.length > 0) {
        const data = new Float32Array(layouts.reduce((n, layout) => n + tileElements(layout), 0));
        let at = 0;
        for (const [i, layout] of layouts.entries()) {
          const picture = pictures[i];
          assert.ok(picture);
          data.set(imageTiles(picture, layout, context.family.normalization, kernels), at);
          at += tileElements(layout);
        }
        assert.is(
          layouts.reduce((n, layout) => n + layout.tiles, 0),
          source.tiles,
        );
        const feeds = context.family.visionInputs(
          tensor('float32', [source.tiles, 3, 336, 336], data),
          vision.describe(),
        );
        const { outputs } = await vision.run(null, feeds, ['vision_embeds']);
        assert.ok(outputs['vision_embeds']);
        rows = context.family.visionRows(
          outputs['vision_embeds'],
          layouts.map((layout) => ({ name, ...layout })),
        );
      }
      for (const [step, expected] of Object.entries(source.logits)) {
        const ids = [...prompt.ids, ...source.tokens.slice(0, Number(step))];
        const state = language.createState(1, ids.length);
        const whole = (values: number[]) => tensor('int64', [1, values.length], BigInt64Array.from(values, BigInt));
        const feeds = {
          input_ids: whole(ids),
          position_ids: whole(ids.map((_, i) => i)),
          vision_embeds: rows,
          image_idx: tensor('int64', [1, 1], BigInt64Array.of(0n)),
        };
        const { outputs } = await language.run(state, feeds, ['logits']);
        const logits = outputs['logits']?.data as Float32Array;
        assert.is(Math.ceil(logits.length / 4), expected.length);
        const worst = Math.max(...expected.map((v, i) => Math.abs(v - (logits[4 * i] ?? Number.NaN))));
        assert.ok(worst <= TOLERANCE, `${name} step ${step}: ${worst} apart`);
        state.release();
      }
    }
  } finally {
    await vision.close();
    await language.close();
  }
});

if (unbuilt() === null) {
  test('the emulated card gives the tokens of transformers, padded chunks and padded tiles', async () => {
    const device = { kind: 'ai100', ids: [0], emulated: true, io_precision: 'float32', shapes: { tiles: [1, 5, 17] } };
    const file = recipe('card', { prefill: 128, device });
    const env = { VLM_RUN_CACHE: join(folder, 'cache') };
    const compiled = await cli(['compile', file, '--target', 'emulator'], { env });
    assert.is(compiled.code, 0, compiled.err);
    process.env['VLM_RUN_CACHE'] = env.VLM_RUN_CACHE;
    try {
      const names = ['landscape', 'panorama', 'two images', 'text only'];
      await checkTokens(
        file,
        cases.filter(([name]) => names.includes(name)),
      );
    } finally {
      delete process.env['VLM_RUN_CACHE'];
    }
  });
} else {
  skipped('compiler', unbuilt() ?? '');
}

test.run();
