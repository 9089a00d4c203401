// The demonstration model on the emulated card: the tokens of transformers, and of cpu where the goldens end.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { DeviceConfig, DeviceDriver, ProgramSession } from '../../../src/contracts/device.js';
import type { ChatMessage, ContentPart } from '../../../src/contracts/node.js';
import type { ImageValue, MessagesValue } from '../../../src/contracts/ports.js';
import type { Tensor } from '../../../src/contracts/tensor.js';
import { loadControl } from '../../../src/devices/ai100/emulator/addon.js';
import { writeEmulatedQpc } from '../../../src/devices/ai100/emulator/qpc.js';
import { ai100Driver } from '../../../src/devices/ai100/index.js';
import { cpuDriver } from '../../../src/devices/cpu/index.js';
import { generate } from '../../../src/generation/index.js';
import type { GenerationRequest, GenerationResult } from '../../../src/generation/types.js';
import { run } from '../../../src/index.js';
import { packageRoot } from '../../../src/util/package-root.js';
import { skipped } from '../../skipped.js';
import { rejects } from '../conformance.js';
import { suiteOf } from '../suite.js';
import { emulated, type Shapes, unbuilt } from './emulator/programs.js';

type Part = { readonly type: 'image'; readonly path: string } | { readonly type: 'text'; readonly text: string };
interface Case {
  readonly name: string;
  readonly messages: readonly { readonly role: string; readonly content: readonly Part[] }[];
  readonly input_ids: number[];
  readonly image_tokens: number;
  readonly generated_ids: number[];
  readonly logits_top2: readonly { readonly step: number; readonly values: readonly [number, number] }[];
}
interface Golden {
  readonly max_new_tokens: number;
  readonly cases: readonly Case[];
}

const top = packageRoot();
const model = join(top, 'models', 'shapes-internvl');
const golden: Golden = JSON.parse(readFileSync(join(top, 'test', 'golden', 'shapes-internvl.json'), 'utf8'));
const folder = mkdtempSync(join(tmpdir(), 'vlm-demonstration-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
const test = suiteOf('demonstration model on the emulated card');
const missing = unbuilt();

async function compiled(name: string, shapes: Shapes): Promise<{ vision: string; language: string }> {
  const made = { vision: join(folder, `${name}-vision`), language: join(folder, `${name}-language`) };
  await writeEmulatedQpc(made.vision, emulated('vision', join(model, 'vision.onnx'), shapes));
  await writeEmulatedQpc(made.language, emulated('language', join(model, 'language.onnx'), shapes));
  return made;
}

function recipe(name: string, programs: { vision: string; language: string }, batch: number, prefill: number): string {
  const main = { kind: 'ai100', emulated: true, programs, num_cores: 5 };
  const vision = '$encode.embeddings';
  const shapes = { batch_size: batch, prefill_seq_len: prefill, ctx_len: 1024, max_new_tokens: golden.max_new_tokens };
  const file = join(folder, `${name}.yaml`);
  const text = {
    version: 1,
    name: 'conversations',
    model: { path: model },
    inputs: { messages: { type: 'messages' } },
    devices: { main },
    nodes: {
      preprocess: { kind: 'preprocess', inputs: { messages: '$inputs.messages' } },
      encode: { kind: 'encode', device: 'main', inputs: { pixels: '$preprocess.pixels' }, with: { batch_size: batch } },
      decode: { kind: 'decode', device: 'main', inputs: { tokens: '$preprocess.tokens', vision }, with: shapes },
    },
    outputs: { text: '$decode.text' },
  };
  writeFileSync(file, JSON.stringify(text));
  return file;
}

function conversation(source: Case): MessagesValue {
  const images: ImageValue[] = [];
  const messages = source.messages.map(({ role, content }): ChatMessage => {
    const parts = content.map((part): ContentPart => {
      if (part.type === 'text') return part;
      images.push({ kind: 'image', name: part.path, bytes: readFileSync(join(top, part.path)) });
      return { type: 'image', image: images.length - 1 };
    });
    return { role, content: parts };
  });
  return { kind: 'messages', messages, images };
}

const SHAPES: Shapes = {
  batches: [1, 4],
  seqLens: [32],
  ctxLen: 1024,
  visionRows: Math.max(...golden.cases.map((c) => c.image_tokens)),
  tiles: [1, 5, 6],
  rowsPerTile: 16,
};

/**
 * With float16 boundaries as well: rounding moves the logits of this model by less than any margin of these answers. Where
 * that changes, the margin is in the message.
 */
function sameAnswer(given: readonly number[], source: Case): void {
  const at = source.generated_ids.findIndex((id, i) => id !== given[i]);
  const [best, second] = source.logits_top2.find((t) => t.step === at)?.values ?? [Number.NaN, 0];
  const margin = `the reference prefers it by ${(best - second).toPrecision(3)}`;
  assert.equal(given, source.generated_ids, `${source.name}, step ${at}: ${margin}`);
}

if (missing === null) {
  for (const [name, batch, half] of [
    ['float32, one at a time', 1, false],
    ['float32, four at a time', 4, false],
    ['float16 boundaries, four at a time', 4, true],
  ] as const) {
    test(`answers of transformers, images spread over chunks of 32: ${name}`, async () => {
      const file = name.replaceAll(/\W+/g, '-');
      const programs = await compiled(file, { ...SHAPES, half });
      const items = golden.cases.map((source) => ({ messages: conversation(source) }));
      const result = await run(recipe(file, programs, batch, 32), { items });
      assert.is(result.error, undefined, result.error?.what);
      assert.is(result.items.length, golden.cases.length);
      for (const [i, source] of golden.cases.entries()) {
        const item = result.items[i];
        assert.is(item?.error, undefined, `${source.name}: ${item?.error?.what}`);
        assert.equal(item?.promptIds, source.input_ids, source.name);
        sameAnswer(item?.generatedIds ?? [], source);
      }
      const emulators = result.ledger.lanes.filter((lane) => lane.emulated === true);
      assert.is(emulators.length, 2);
    });
  }
}

/** The emulated card of this process: its faults count calls from here on. */
function faults(text: string): void {
  assert.ok(loadControl().faults(text), loadControl().problem());
}

if (missing === null) {
  test('a device error in the middle costs the item under way; the others are answered', async () => {
    const programs = await compiled('faulty', SHAPES);
    const items = golden.cases.slice(0, 6).map((source) => ({ messages: conversation(source) }));
    faults('qaicExecObjWaitForCompletion 60 status 300');
    const result = await run(recipe('faulty', programs, 1, 32), { items });
    faults('');
    const failed = result.items.filter((item) => item.error !== undefined);
    assert.is(failed.length, 1);
    assert.is(failed[0]?.error?.code, 'DEVICE_FAILED');
    assert.match(failed[0]?.error?.received ?? '', 'made anew; the state that it kept is lost');
    for (const [i, source] of golden.cases.slice(0, 6).entries()) {
      const item = result.items[i];
      if (item?.error === undefined) sameAnswer(item?.generatedIds ?? [], source);
    }
  });

  test('a card that goes away leaves what was finished', async () => {
    const programs = await compiled('gone', SHAPES);
    const items = golden.cases.slice(0, 6).map((source) => ({ messages: conversation(source) }));
    faults('qaicExecObjWaitForCompletion 60 vanish');
    const result = await run(recipe('gone', programs, 1, 32), { items });
    faults('');
    const good = result.items.filter((item) => item.error === undefined);
    assert.ok(good.length > 0 && good.length < 6, `${good.length} items finished`);
    for (const [i, source] of golden.cases.slice(0, 6).entries()) {
      const item = result.items[i];
      if (item?.error === undefined) sameAnswer(item?.generatedIds ?? [], source);
      else assert.ok(['DEVICE_FAILED', 'DEVICE_UNAVAILABLE'].includes(item.error.code), item.error.code);
    }
  });
}

const requests = async (vision: ProgramSession): Promise<GenerationRequest[]> => {
  const made: GenerationRequest[] = [];
  for (const source of [0, 1, 5, 9].map((i) => golden.cases[i] as Case)) {
    const tiles = source.image_tokens / 16;
    const data = Float32Array.from({ length: tiles * 3 * 112 * 112 }, (_, i) => Math.sin(i * 0.37 + tiles));
    let rows: Tensor | null = null;
    if (tiles > 0) {
      const pixels: Tensor = { dtype: 'float32', dims: [tiles, 3, 112, 112], data };
      const { outputs } = await vision.run(null, { pixel_values: pixels }, ['vision_embeds']);
      rows = {
        dtype: 'float32',
        dims: [tiles * 16, 128],
        data: Float32Array.from(outputs['vision_embeds']?.data as Float32Array),
      };
    }
    made.push({ ids: Int32Array.from(source.input_ids), imageTokenId: 632, vision: rows });
  }
  return made;
};

async function opened(
  driver: DeviceDriver,
  config: DeviceConfig,
  role: 'vision' | 'language',
  path: string,
): Promise<ProgramSession> {
  const session = await driver.open({ role, path }, config);
  await session.activate();
  return session;
}

/** 220 tokens each, past the end of the answer: the cache fills far beyond the prompt. */
async function long(
  session: ProgramSession,
  prompts: readonly GenerationRequest[],
  ctxLen: number,
): Promise<readonly GenerationResult[]> {
  return generate(session, prompts, {
    prefillSeqLen: 32,
    ctxLen,
    maxNewTokens: 220,
    ignoreEos: true,
    recordMargins: true,
  });
}

if (missing === null) {
  test('long answers in one batch and alone: tokens of cpu', async () => {
    const cpu = { kind: 'cpu', threads: 1 };
    const vision = await opened(cpuDriver, cpu, 'vision', join(model, 'vision.onnx'));
    const prompts = await requests(vision);
    await vision.close();
    const reference = await opened(cpuDriver, cpu, 'language', join(model, 'language.onnx'));
    const expected: GenerationResult[] = [];
    for (const prompt of prompts) expected.push(...(await long(reference, [prompt], 1024)));
    await reference.close();
    const { language } = await compiled('long', SHAPES);
    const session = await opened(ai100Driver, { kind: 'ai100', emulated: true }, 'language', language);
    const together = await long(session, prompts, 1024);
    const alone = await long(session, prompts.slice(0, 1), 1024);
    for (const [i, result] of [...together, ...alone].entries()) {
      assert.is(result.ids.length, 220);
      assert.equal(Array.from(result.ids), Array.from(expected[i % prompts.length]?.ids ?? []), `prompt ${i}`);
    }
    await session.close();
  });

  test('sets that differ only in the length of the cache are refused: no call says which is meant', async () => {
    const { language } = await compiled('twins', { ...SHAPES, ctxLen: [256, 1024] });
    const session = await opened(ai100Driver, { kind: 'ai100', emulated: true }, 'language', language);
    const error = await rejects(() => session.createState(1, 1024), 'SHAPE_NOT_ALLOWED');
    assert.match(error.details.received ?? '', 'ctx_len 1024 and 256');
    await session.close();
  });
} else {
  skipped('compiler', missing);
}

test.run();
