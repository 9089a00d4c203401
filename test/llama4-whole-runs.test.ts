/** A tiny model of Llama 4's architecture, from pictures to token ids and logits, against transformers' own generate. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
import { unbuilt } from './devices/ai100/emulator/programs.js';
import { skipped } from './skipped.js';
import { tinyModel } from './tiny-models.js';
import { type Answered, checkLogits, TOLERANCE } from './whole-run-logits.js';

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

async function checkTokens(file: string, wanted: readonly (readonly [string, Case])[]): Promise<readonly Answered[]> {
  const result = await run(file, { items: wanted.map(([, source]) => ({ messages: conversation(source) })) });
  assert.is(result.error, undefined);
  return wanted.map(([name, source], i) => {
    const item = result.items[i];
    assert.is(item?.error, undefined, name);
    assert.equal(item?.promptIds, promptIds(source), `${name}: prompt`);
    assert.equal(item?.generatedIds, [...source.tokens], `${name}: answer`);
    const tiles = item?.images.reduce((n, image) => n + image.tiles, 0);
    assert.is(tiles, source.tiles, `${name}: tiles`);
    return { name, item: item as ItemRecord, tokens: source.tokens, logits: source.logits };
  });
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
  test(`tokens equal transformers' and logits are within ${TOLERANCE}, prefill of at most ${prefill}, ${batch} at a time`, async () => {
    const answered = await checkTokens(recipe(`cpu-${prefill}-${batch}`, { prefill, batch }), cases);
    await checkLogits(join(model, 'language.onnx'), answered, { prefill, batch, ctxLen: CTX, steps: golden.steps });
  });
}

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
