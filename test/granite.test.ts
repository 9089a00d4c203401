/**
 * A tiny model of Granite Vision's architecture, from pictures to token ids and logits, against transformers' own generate:
 * the open export that packs on the host, and the packed one of a single image size.
 */
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
import { cli } from './cli/fakes/spawn.js';
import { unbuilt } from './devices/ai100/emulator/programs.js';
import { pictureBytes } from './families/llava-next/goldens.js';
import { skipped } from './skipped.js';
import { tinyModel } from './tiny-models.js';

interface Case {
  readonly images: readonly string[];
  readonly messages: readonly ChatMessage[];
  readonly packed: boolean;
  readonly ids: readonly (number | readonly [number, number])[];
  readonly tokens: readonly number[];
  readonly logits: Readonly<Record<string, readonly number[]>>;
}

const model = tinyModel('llava-next');
const golden: { readonly steps: number; readonly cases: Readonly<Record<string, Case>> } = JSON.parse(
  readFileSync(join(model, 'goldens.json'), 'utf8'),
);
const open = Object.entries(golden.cases).filter(([, c]) => !c.packed);
const packed = Object.entries(golden.cases).filter(([, c]) => c.packed);
const PACKED_PROGRAMS = { vision: join(model, 'packed.onnx'), language: join(model, 'language.onnx') };
/** Where tools/reference/llava_next_qefficient.py wrote programs of QEfficient's own making; not part of the repository. */
const foreign = process.env['VLM_TEST_QEFFICIENT_PROGRAMS'];

const folder = mkdtempSync(join(tmpdir(), 'vlm-granite-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

interface Settings {
  readonly prefill: number;
  readonly batch?: number;
  readonly isPacked?: boolean;
  readonly programs?: { readonly vision: string; readonly language: string };
  readonly device?: Readonly<Record<string, unknown>>;
  readonly ctx?: number;
  readonly tokens?: number;
}

function recipe(
  name: string,
  { prefill, batch = 1, isPacked = false, device, ctx = 2400, tokens, ...rest }: Settings,
): string {
  const file = join(folder, `${name}.yaml`);
  const text = {
    version: 1,
    name,
    model: { path: model, ...(isPacked ? { programs: rest.programs ?? PACKED_PROGRAMS } : {}) },
    inputs: { messages: { type: 'messages' } },
    devices: { main: device ?? { kind: 'cpu' } },
    nodes: {
      preprocess: { kind: 'preprocess', inputs: { messages: '$inputs.messages' } },
      encode: {
        kind: 'encode',
        device: 'main',
        inputs: { pixels: '$preprocess.pixels' },
        with: { batch_size: isPacked ? 1 : batch },
      },
      decode: {
        kind: 'decode',
        device: 'main',
        inputs: { tokens: '$preprocess.tokens', vision: '$encode.embeddings' },
        with: {
          batch_size: batch,
          prefill_seq_len: prefill,
          ctx_len: ctx,
          max_new_tokens: tokens ?? golden.steps,
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

async function checkTokens(file: string, cases: readonly (readonly [string, Case])[]): Promise<void> {
  const result = await run(file, { items: cases.map(([, source]) => ({ messages: conversation(source) })) });
  assert.is(result.error, undefined);
  for (const [i, [name, source]] of cases.entries()) {
    const item = result.items[i];
    assert.is(item?.error, undefined, name);
    assert.equal(item?.promptIds, promptIds(source), `${name}: prompt`);
    assert.equal(item?.generatedIds, [...source.tokens], `${name}: answer`);
  }
}

test('at least 8 prompts over different shapes, one and two images, of 64 steps', () => {
  assert.ok(open.length >= 8);
  assert.is(golden.steps, 64);
  assert.ok(open.some(([, c]) => c.images.length === 2));
});

for (const [prefill, batch] of [
  [2400, 1],
  [2400, 3],
  [100, 3],
] as const) {
  test(`open export: tokens equal transformers', prefill of at most ${prefill}, ${batch} at a time`, async () => {
    await checkTokens(recipe(`open-${prefill}-${batch}`, { prefill, batch }), open);
  });
}

test('packed export: tokens equal transformers on the picture at the exported size, whole and in chunks', async () => {
  await checkTokens(recipe('packed', { prefill: 2400, isPacked: true }), packed);
  await checkTokens(recipe('packed-chunks', { prefill: 128, isPacked: true }), packed);
});

test('packed export: a second image is refused by name', async () => {
  const [, two] = open.find(([, c]) => c.images.length === 2) ?? [];
  assert.ok(two);
  const result = await run(recipe('packed-two', { prefill: 2400, isPacked: true }), {
    items: [{ messages: conversation(two) }],
  });
  assert.is(result.items[0]?.error?.code, 'SHAPE_NOT_ALLOWED');
});

/** 1e-3 in f32 as the reference's own precision allows: both sum in f32, in different orders. */
const TOLERANCE = 1e-3;

for (const isPacked of [false, true]) {
  test(`${isPacked ? 'packed' : 'open'} export: logits of the first and the last step are within ${TOLERANCE}`, async () => {
    const programs = isPacked ? PACKED_PROGRAMS : undefined;
    const context = await openModel({ path: model, ...(programs ? { programs } : {}) }, { describe: describeFile });
    const driver = await loadDriver('cpu');
    const vision = await driver.open(
      { role: 'vision', path: join(model, isPacked ? 'packed.onnx' : 'vision.onnx') },
      { kind: 'cpu' },
    );
    const language = await driver.open({ role: 'language', path: join(model, 'language.onnx') }, { kind: 'cpu' });
    await vision.activate();
    await language.activate();
    const { kernels } = loadKernels();
    try {
      for (const [name, source] of isPacked ? packed : open) {
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
          const tiles = layouts.reduce((n, layout) => n + layout.tiles, 0);
          const feeds = context.family.visionInputs(tensor('float32', [tiles, 3, 384, 384], data), vision.describe());
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
            vision_embeds: { ...rows, dims: [1, ...rows.dims] } as Tensor,
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
}

if (foreign !== undefined) {
  test('programs of QEfficient’s own export give the same tokens, whole and in chunks, two at a time', async () => {
    const programs = { vision: join(foreign, 'vision.onnx'), language: join(foreign, 'language.onnx') };
    await checkTokens(recipe('foreign', { prefill: 2400, isPacked: true, programs }), packed);
    await checkTokens(recipe('foreign-chunks', { prefill: 128, batch: 2, isPacked: true, programs }), packed);
  });
}

if (unbuilt() === null) {
  test('the emulated card takes both kinds and gives the tokens of transformers', async () => {
    const device = { kind: 'ai100', ids: [0], emulated: true, io_precision: 'float32' };
    for (const [isPacked, cases] of [
      [true, packed.slice(0, 1)],
      [false, open.filter(([name]) => name === 'landscape' || name === 'two images')],
    ] as const) {
      const shapes = isPacked ? {} : { shapes: { tiles: [2, 5, 11] } };
      const file = recipe(`card-${isPacked}`, { prefill: 256, isPacked, device: { ...device, ...shapes } });
      const env = { VLM_RUN_CACHE: join(folder, 'cache') };
      const compiled = await cli(['compile', file, '--target', 'emulator'], { env });
      assert.is(compiled.code, 0, compiled.err);
      process.env['VLM_RUN_CACHE'] = env.VLM_RUN_CACHE;
      try {
        await checkTokens(file, cases);
      } finally {
        delete process.env['VLM_RUN_CACHE'];
      }
    }
  });
} else {
  skipped('compiler', unbuilt() ?? '');
}

test.run();
