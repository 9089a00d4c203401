/**
 * A tiny model of Granite Vision's architecture, from pictures to token ids and logits, against transformers' own generate:
 * the open export that packs on the host, and the packed one of a single image size.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { run } from '../src/index.js';
import { unbuilt } from './devices/ai100/emulator/programs.js';
import { pictureBytes } from './families/llava-next/goldens.js';
import { skipped } from './skipped.js';
import { tinyModel } from './tiny-models.js';
import * as whole from './whole-model.js';
import { type Answered, checkLogits, TOLERANCE } from './whole-run-logits.js';

interface Case extends whole.Prompt, whole.Answer {
  readonly packed: boolean;
}

const model = tinyModel('llava-next');
const golden = whole.readGoldens<Case>(model);
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
}

function recipe(name: string, { isPacked = false, programs = PACKED_PROGRAMS, ...settings }: Settings): string {
  const files = { path: model, ...(isPacked ? { programs } : {}) };
  const own = { ...settings, ...(isPacked ? { visionBatch: 1 } : {}), ctx: 2400, tokens: golden.steps };
  return whole.writeRecipe(join(folder, `${name}.yaml`), files, own);
}

const checkTokens = (file: string, cases: readonly (readonly [string, Case])[]): Promise<readonly Answered[]> =>
  whole.checkTokens(file, cases, pictureBytes, (source) => source);

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
    items: [{ messages: whole.conversation(two, pictureBytes) }],
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
      await whole.onEmulatedCard(file, join(folder, 'cache'), () => checkTokens(file, cases));
    }
  });
} else {
  skipped('compiler', unbuilt() ?? '');
}

test.run();
