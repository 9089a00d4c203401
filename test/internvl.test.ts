/** A tiny model of InternVL's architecture in both its layouts, from pictures to token ids and logits, against transformers' own generate. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ChatMessage } from '../src/contracts/node.js';
import type { MessagesValue } from '../src/contracts/ports.js';
import { cpuDriver } from '../src/devices/cpu/index.js';
import { generate } from '../src/generation/index.js';
import { run } from '../src/index.js';
import { packageRoot } from '../src/util/package-root.js';
import { cli } from './cli/fakes/spawn.js';
import { recording } from './devices/conformance.js';
import { tinyModel } from './tiny-models.js';

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
/** 1e-3 in f32 as the reference's own precision allows: both sum in f32, in different orders. */
const TOLERANCE = 1e-3;

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

async function answers(file: string, wanted: readonly (readonly [string, Case])[]) {
  const result = await run(file, { items: wanted.map(([, source]) => ({ messages: conversation(source) })) });
  assert.is(result.error, undefined);
  assert.is(result.items.length, wanted.length);
  return wanted.map(([name, source], i) => {
    const item = result.items[i];
    assert.is(item?.error, undefined, name);
    assert.ok(item);
    return { name, source, item };
  });
}

async function checkTokens(layout: Layout, file: string, wanted: readonly (readonly [string, Case])[]): Promise<void> {
  for (const { name, source, item } of await answers(file, wanted)) {
    assert.equal(item.promptIds, promptIds(source[layout]), `${name}: prompt`);
    assert.equal(item.generatedIds, [...source[layout].tokens], `${name}: answer`);
  }
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
    test(`${layout}: tokens equal transformers', prefill of at most ${prefill}, ${batch} at a time`, async () => {
      await checkTokens(layout, recipe(layout, `cpu-${prefill}-${batch}`, { prefill, batch }), cases);
    });
  }

  test(`${layout}: logits of the first and the last step are within ${TOLERANCE}, and tokens equal, unchunked and 3 at a time`, async () => {
    const path = join(model, 'language.onnx');
    const session = await cpuDriver.open({ role: 'language', path }, { kind: 'cpu', threads: 1 });
    await session.activate();
    try {
      for (const { name, source, item } of await answers(recipe(layout, 'logits', { prefill: CTX, batch: 3 }), cases)) {
        assert.equal(item.generatedIds, [...source[layout].tokens], `${name}: answer`);
        const { tokens, vision } = item.outputs ?? {};
        assert.ok(tokens?.kind === 'tokens', name);
        if (tokens?.kind !== 'tokens') continue;
        const seen = recording(session);
        const rows = vision?.kind === 'embeddings' ? vision.tensor : null;
        const request = { ids: tokens.ids, imageTokenId: tokens.imageTokenId, vision: rows };
        const options = { prefillSeqLen: CTX, ctxLen: CTX, maxNewTokens: golden.steps };
        await generate(seen.session, [request], options);
        const { logits } = source[layout];
        assert.equal(Object.keys(logits), ['0', String(golden.steps - 1)]);
        for (const [step, expected] of Object.entries(logits)) {
          const got = seen.logits[Number(step)] ?? new Float32Array();
          assert.is(Math.ceil(got.length / 4), expected.length);
          const worst = Math.max(...expected.map((v, i) => Math.abs(v - (got[4 * i] ?? Number.NaN))));
          assert.ok(worst <= TOLERANCE, `${name} step ${step}: ${worst} apart`);
        }
      }
    } finally {
      await session.close();
    }
  });
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
