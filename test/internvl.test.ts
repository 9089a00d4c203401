/** A tiny model of InternVL's architecture in both its layouts, from pictures to token ids and logits, against transformers' own generate. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../src/util/package-root.js';
import { tinyModel } from './tiny-models.js';
import * as whole from './whole-model.js';
import { type Answered, checkLogits, TOLERANCE } from './whole-run-logits.js';

interface Case extends whole.Prompt, Readonly<Record<Layout, whole.Answer & { readonly tiles: number }>> {}
type Layout = 'hf' | 'chat';

const model = tinyModel('internvl');
const golden = whole.readGoldens<Case>(model);
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

const recipe = (layout: Layout, name: string, settings: Settings): string => {
  const all = { ...settings, ctx: CTX, tokens: golden.steps };
  return whole.writeRecipe(join(folder, `${layout}-${name}.yaml`), modelOf(layout), all);
};

const picture = (name: string): Buffer =>
  readFileSync(join(packageRoot(), 'test', 'golden', 'images', 'sources', name));

const checkTokens = (
  layout: Layout,
  file: string,
  wanted: readonly (readonly [string, Case])[],
): Promise<readonly Answered[]> => whole.checkTokens(file, wanted, picture, (source) => source[layout]);

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
    for (const layout of ['hf', 'chat'] as const) {
      const file = recipe(layout, 'card', { prefill: 128, device });
      await whole.onEmulatedCard(file, join(folder, 'cache'), () => checkTokens(layout, file, wanted));
    }
  });
}

test.run();
