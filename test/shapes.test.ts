/** The whole way, from pictures and conversations to token ids, against transformers' own run of the shipped model. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ChatMessage, ContentPart } from '../src/contracts/node.js';
import type { CompletionValue, ImageValue, MessagesValue } from '../src/contracts/ports.js';
import { cpuDriver } from '../src/devices/cpu/index.js';
import { generate } from '../src/generation/index.js';
import { run } from '../src/index.js';
import { fileDigest } from '../src/model/digest.js';
import { packageRoot } from '../src/util/package-root.js';
import { recording } from './devices/conformance.js';

type Part = { readonly type: 'image'; readonly path: string } | { readonly type: 'text'; readonly text: string };
interface Case {
  readonly name: string;
  readonly messages: readonly { readonly role: string; readonly content: readonly Part[] }[];
  readonly input_ids: number[];
  readonly generated_ids: number[];
  /** The best two logits of some steps. */
  readonly logits_top2: readonly { readonly step: number; readonly values: readonly [number, number] }[];
}

/** What the project asks of float32 logits against the reference. Of the margin, their difference, it is asked as well. */
const LOGITS_F32 = 1e-3;
interface Golden {
  readonly max_new_tokens: number;
  readonly model: { readonly folder: string; readonly sha256: Readonly<Record<string, string>> };
  readonly cases: readonly Case[];
}

const root = packageRoot();
const golden: Golden = JSON.parse(readFileSync(join(root, 'test', 'golden', 'shapes-internvl.json'), 'utf8'));
const folder = mkdtempSync(join(tmpdir(), 'vlm-shapes-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

function recipe(prefill: number, batch: number): string {
  const file = join(folder, `recipe-${prefill}-${batch}.yaml`);
  const text = {
    version: 1,
    name: 'conversations',
    model: { path: join(root, golden.model.folder) },
    inputs: { messages: { type: 'messages' } },
    devices: { main: { kind: 'cpu' } },
    nodes: {
      preprocess: { kind: 'preprocess', inputs: { messages: '$inputs.messages' } },
      encode: { kind: 'encode', device: 'main', inputs: { pixels: '$preprocess.pixels' } },
      decode: {
        kind: 'decode',
        device: 'main',
        inputs: { tokens: '$preprocess.tokens', vision: '$encode.embeddings' },
        with: {
          batch_size: batch,
          prefill_seq_len: prefill,
          ctx_len: 1024,
          max_new_tokens: golden.max_new_tokens,
          record_margins: true,
        },
      },
    },
    outputs: { text: '$decode.text', tokens: '$preprocess.tokens', vision: '$encode.embeddings' },
  };
  writeFileSync(file, JSON.stringify(text));
  return file;
}

function conversation(source: Case): MessagesValue {
  const images: ImageValue[] = [];
  const messages = source.messages.map(({ role, content }): ChatMessage => {
    const parts = content.map((part): ContentPart => {
      if (part.type === 'text') return part;
      images.push({ kind: 'image', name: part.path, bytes: readFileSync(join(root, part.path)) });
      return { type: 'image', image: images.length - 1 };
    });
    return { role, content: parts };
  });
  return { kind: 'messages', messages, images };
}

test('the goldens belong to the shipped files', async () => {
  for (const [name, digest] of Object.entries(golden.model.sha256)) {
    assert.is(await fileDigest(join(root, golden.model.folder, name)), digest, name);
  }
});

for (const [prefill, batch] of [
  [128, 1],
  [32, 4],
] as const) {
  test(`prompt and answer tokens equal transformers', prefill in chunks of ${prefill}, ${batch} at a time`, async () => {
    const items = golden.cases.map((source) => ({ messages: conversation(source) }));
    const result = await run(recipe(prefill, batch), { items });
    assert.is(result.error, undefined);
    assert.is(result.items.length, golden.cases.length);
    for (const [i, { name, input_ids, generated_ids, logits_top2 }] of golden.cases.entries()) {
      const item = result.items[i];
      assert.is(item?.error, undefined, name);
      assert.equal(item?.promptIds, input_ids, `${name}: prompt`);
      assert.equal(item?.generatedIds, generated_ids, `${name}: answer`);
      const completion = item?.outputs?.['text'];
      assert.ok(completion?.kind === 'completion' && completion.margins !== undefined, `${name}: no margins`);
      const { margins = new Float32Array() } = completion as CompletionValue;
      assert.is(margins.length, generated_ids.length, name);
      assert.ok(logits_top2.length > 0, name);
      for (const { step, values } of logits_top2) {
        const off = Math.abs((margins[step] ?? Number.NaN) - (values[0] - values[1]));
        assert.ok(off <= LOGITS_F32, `${name}: the margin of step ${step} is off by ${off}`);
      }
    }
  });
}

test('logits of the language program equal transformers’, step by step', async () => {
  const items = golden.cases.map((source) => ({ messages: conversation(source) }));
  const result = await run(recipe(128, 1), { items });
  const path = join(root, golden.model.folder, 'language.onnx');
  const session = await cpuDriver.open({ role: 'language', path }, { kind: 'cpu', threads: 1 });
  await session.activate();
  let compared = 0;
  for (const [i, { name, generated_ids, logits_top2 }] of golden.cases.entries()) {
    const { tokens, vision } = result.items[i]?.outputs ?? {};
    assert.ok(tokens?.kind === 'tokens' && vision?.kind === 'embeddings', name);
    if (tokens?.kind !== 'tokens' || vision?.kind !== 'embeddings') continue;
    const seen = recording(session);
    const request = { ids: tokens.ids, imageTokenId: tokens.imageTokenId, vision: vision.tensor };
    await generate(seen.session, [request], { prefillSeqLen: 1024, ctxLen: 1024, maxNewTokens: generated_ids.length });
    assert.is(seen.logits.length, generated_ids.length, name);
    for (const { step, values } of logits_top2) {
      const best = Array.from(seen.logits[step] ?? []).sort((a, b) => b - a);
      for (const [rank, value] of values.entries()) {
        const off = Math.abs((best[rank] ?? Number.NaN) - value);
        assert.ok(off <= LOGITS_F32, `${name}: logit ${rank} of step ${step} is off by ${off}`);
        compared++;
      }
    }
  }
  assert.ok(compared > 100);
  await session.deactivate();
  await session.close();
});

test.run();
