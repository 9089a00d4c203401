/** A tiny model of InternVL's architecture in both its layouts, from pictures to token ids and logits, against transformers' own generate. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ChatMessage } from '../src/contracts/node.js';
import type { MessagesValue } from '../src/contracts/ports.js';
import type { ItemRecord } from '../src/contracts/record.js';
import { run } from '../src/index.js';
import { packageRoot } from '../src/util/package-root.js';
import { cli } from './cli/fakes/spawn.js';
import { tinyModel } from './tiny-models.js';
import { type Answered, checkLogits, TOLERANCE } from './whole-run-logits.js';

interface Answer {
  readonly tiles: number;
  readonly ids: readonly (number | readonly [number, number])[];
  readonly tokens: readonly number[];
  /** Every fourth, of the first and the last step. */
  readonly logits: Readonly<Record<string, readonly number[]>>;
}
interface Case extends Readonly<Record<Layout, Answer>> {
  readonly images: readonly string[];
  readonly messages: readonly ChatMessage[];
}
type Layout = 'hf' | 'chat';

const model = tinyModel('internvl');
const golden: { readonly steps: number; readonly cases: Readonly<Record<string, Case>> } = JSON.parse(
  readFileSync(join(model, 'goldens.json'), 'utf8'),
);
const cases = Object.entries(golden.cases);
const isEmulatorBuilt = existsSync(join(packageRoot(), 'build', 'native', 'libvlm_aic_emulator.so'));
/** The longest prompt, the system message in bytes before 14 tiles, has 1088 tokens. */
const CTX = 1200;
const folder = mkdtempSync(join(tmpdir(), 'vlm-internvl-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

interface Settings {
  readonly prefill: number;
  readonly batch?: number;
  readonly device?: Readonly<Record<string, unknown>>;
}

/** OpenGVLab's folder has the same weights; the committed one goes without programs of its own. */
function modelOf(layout: Layout): Readonly<Record<string, unknown>> {
  if (layout === 'hf') return { path: model };
  const path = join(model, 'chat');
  if (existsSync(join(path, 'language.onnx'))) return { path };
  return { path, programs: { vision: join(model, 'vision.onnx'), language: join(model, 'language.onnx') } };
}

const languageOf = (layout: Layout): string => {
  const own = join(model, 'chat', 'language.onnx');
  return layout === 'chat' && existsSync(own) ? own : join(model, 'language.onnx');
};

function recipe(layout: Layout, name: string, { prefill, batch = 1, device }: Settings): string {
  const file = join(folder, `${layout}-${name}.yaml`);
  const decode = { batch_size: batch, prefill_seq_len: prefill, ctx_len: CTX, max_new_tokens: golden.steps };
  const text = {
    version: 1,
    name,
    model: modelOf(layout),
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
        with: { ...decode, ignore_eos: true },
      },
    },
    outputs: { text: '$decode.text', tokens: '$preprocess.tokens', vision: '$encode.embeddings' },
  };
  writeFileSync(file, JSON.stringify(text));
  return file;
}

function conversation({ images, messages }: Case): MessagesValue {
  const sources = join(packageRoot(), 'test', 'golden', 'images', 'sources');
  return {
    kind: 'messages',
    messages,
    images: images.map((name) => ({ kind: 'image', name, bytes: readFileSync(join(sources, name)) })),
  };
}

const promptIds = (source: Answer): number[] =>
  source.ids.flatMap((part) => (typeof part === 'number' ? [part] : Array<number>(part[1]).fill(part[0])));

async function checkTokens(
  layout: Layout,
  file: string,
  wanted: readonly (readonly [string, Case])[],
): Promise<readonly Answered[]> {
  const result = await run(file, { items: wanted.map(([, source]) => ({ messages: conversation(source) })) });
  assert.is(result.error, undefined);
  assert.is(result.items.length, wanted.length);
  return wanted.map(([name, source], i) => {
    const item = result.items[i];
    assert.is(item?.error, undefined, name);
    assert.equal(item?.promptIds, promptIds(source[layout]), `${name}: prompt`);
    assert.equal(item?.generatedIds, [...source[layout].tokens], `${name}: answer`);
    return { name, item: item as ItemRecord, ...source[layout] };
  });
}

test('at least 8 prompts of 64 steps over different shapes, one and two images', () => {
  assert.ok(cases.length >= 8);
  assert.is(golden.steps, 64);
  assert.ok(cases.some(([, c]) => c.images.length === 2));
  assert.is(Math.max(...cases.map(([, c]) => c.hf.tiles)), 14);
});

for (const layout of ['hf', 'chat'] as const) {
  for (const [prefill, batch] of [
    [CTX, 1],
    [50, 3],
  ] as const) {
    test(`${layout}: tokens equal transformers' and logits are within ${TOLERANCE}, prefill of at most ${prefill}, ${batch} at a time`, async () => {
      const answered = await checkTokens(layout, recipe(layout, `cpu-${prefill}-${batch}`, { prefill, batch }), cases);
      const how = { prefill, batch, ctxLen: CTX, steps: golden.steps };
      await checkLogits(languageOf(layout), answered, how);
    });
  }
}

if (isEmulatorBuilt) {
  test('the emulated card gives the tokens of transformers in both layouts, padded chunks and padded tiles', async () => {
    const device = { kind: 'ai100', ids: [0], emulated: true, io_precision: 'float32', shapes: { tiles: [1, 5, 14] } };
    const wanted = cases.filter(([name]) => ['landscape', 'two images', 'text only'].includes(name));
    const env = { VLM_RUN_CACHE: join(folder, 'cache') };
    for (const layout of ['hf', 'chat'] as const) {
      const file = recipe(layout, 'card', { prefill: 128, device });
      const compiled = await cli(['compile', file, '--target', 'emulator'], { env });
      assert.is(compiled.code, 0, compiled.err);
      process.env['VLM_RUN_CACHE'] = env.VLM_RUN_CACHE;
      try {
        await checkTokens(layout, file, wanted);
      } finally {
        delete process.env['VLM_RUN_CACHE'];
      }
    }
  });
}

test.run();
