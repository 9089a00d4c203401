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
import type { ItemRecord } from '../src/contracts/record.js';
import { run } from '../src/index.js';
import { cli } from './cli/fakes/spawn.js';
import { unbuilt } from './devices/ai100/emulator/programs.js';
import { pictureBytes } from './families/llava-next/goldens.js';
import { skipped } from './skipped.js';
import { tinyModel } from './tiny-models.js';
import { type Answered, checkLogits, TOLERANCE } from './whole-run-logits.js';

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
    outputs: { text: '$decode.text', tokens: '$preprocess.tokens', vision: '$encode.embeddings' },
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

async function checkTokens(file: string, cases: readonly (readonly [string, Case])[]): Promise<readonly Answered[]> {
  const result = await run(file, { items: cases.map(([, source]) => ({ messages: conversation(source) })) });
  assert.is(result.error, undefined);
  return cases.map(([name, source], i) => {
    const item = result.items[i];
    assert.is(item?.error, undefined, name);
    assert.equal(item?.promptIds, promptIds(source), `${name}: prompt`);
    assert.equal(item?.generatedIds, [...source.tokens], `${name}: answer`);
    return { name, item: item as ItemRecord, tokens: source.tokens, logits: source.logits };
  });
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
  test(`open export: tokens equal transformers' and logits are within ${TOLERANCE}, prefill of at most ${prefill}, ${batch} at a time`, async () => {
    const answered = await checkTokens(recipe(`open-${prefill}-${batch}`, { prefill, batch }), open);
    await checkLogits(join(model, 'language.onnx'), answered, { prefill, batch, ctxLen: 2400, steps: golden.steps });
  });
}

for (const prefill of [2400, 128]) {
  test(`packed export: tokens and logits of transformers on the picture at the exported size, prefill of at most ${prefill}`, async () => {
    const answered = await checkTokens(recipe(`packed-${prefill}`, { prefill, isPacked: true }), packed);
    await checkLogits(PACKED_PROGRAMS.language, answered, { prefill, batch: 1, ctxLen: 2400, steps: golden.steps });
  });
}

test('packed export: a second image is refused by name', async () => {
  const [, two] = open.find(([, c]) => c.images.length === 2) ?? [];
  assert.ok(two);
  const result = await run(recipe('packed-two', { prefill: 2400, isPacked: true }), {
    items: [{ messages: conversation(two) }],
  });
  assert.is(result.items[0]?.error?.code, 'SHAPE_NOT_ALLOWED');
});

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
