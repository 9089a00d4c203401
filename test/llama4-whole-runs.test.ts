/** A tiny model of Llama 4's architecture, from pictures to token ids and logits, against transformers' own generate. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { unbuilt } from './devices/ai100/emulator/programs.js';
import { pictureBytes } from './families/llama4/goldens.js';
import { skipped } from './skipped.js';
import { tinyModel } from './tiny-models.js';
import * as whole from './whole-model.js';
import { type Answered, checkLogits, TOLERANCE } from './whole-run-logits.js';

interface Case extends whole.Prompt, whole.Answer {
  readonly tiles: number;
}

const model = tinyModel('llama4');
const golden = whole.readGoldens<Case>(model);
const cases = Object.entries(golden.cases);
const CTX = 768;

const folder = mkdtempSync(join(tmpdir(), 'vlm-llama4-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

interface Settings {
  readonly prefill: number;
  readonly batch?: number;
  readonly device?: Readonly<Record<string, unknown>>;
}

const recipe = (name: string, settings: Settings): string => {
  const all = { ...settings, ctx: CTX, tokens: golden.steps };
  return whole.writeRecipe(join(folder, `${name}.yaml`), { path: model }, all);
};

async function checkTokens(file: string, wanted: readonly (readonly [string, Case])[]): Promise<readonly Answered[]> {
  const answered = await whole.checkTokens(file, wanted, pictureBytes, (source) => source);
  for (const [i, { name, item }] of answered.entries()) {
    const tiles = item.images.reduce((n, image) => n + image.tiles, 0);
    assert.is(tiles, wanted[i]?.[1].tiles, `${name}: tiles`);
  }
  return answered;
}

test('at least 8 prompts of 64 steps, several tiles, two images, prompts and answers that cross attention chunks', () => {
  const chunk: number = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8')).text_config.attention_chunk_size;
  const lengths = cases.map(([, c]) => whole.promptIds(c).length);
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
    const names = ['landscape', 'panorama', 'two images', 'text only'];
    const wanted = cases.filter(([name]) => names.includes(name));
    await whole.onEmulatedCard(file, join(folder, 'cache'), () => checkTokens(file, wanted));
  });
} else {
  skipped('compiler', unbuilt() ?? '');
}

test.run();
