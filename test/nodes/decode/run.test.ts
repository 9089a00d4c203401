import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ProgramSession } from '../../../src/contracts/device.js';
import { VlmError } from '../../../src/contracts/errors.js';
import type { ItemResult, NodeInputs } from '../../../src/contracts/node.js';
import type { CompletionValue } from '../../../src/contracts/ports.js';
import { cpuDriver } from '../../../src/devices/cpu/index.js';
import { manifest } from '../../../src/nodes/decode/manifest.js';
import { decodeOptions } from '../../../src/nodes/decode/options.js';
import { run } from '../../../src/nodes/decode/run.js';
import { fixture, floats, type GoldenCase, golden, rejects } from '../../devices/conformance.js';
import { deviceContext } from '../device-context.js';

const test = suite('decode');
const base = { prefill_seq_len: 8, ctx_len: golden.ctx, max_new_tokens: 12 };
let session: ProgramSession;
test.before(async () => {
  session = await cpuDriver.open(
    { role: 'language', path: fixture('language-rank2.onnx') },
    { kind: 'cpu', threads: 1 },
  );
});
test.after(() => session.close());

function item(c: GoldenCase, over: Partial<{ ids: Int32Array; vision: null }> = {}): NodeInputs {
  const vision = over.vision === null || c.vision === null ? null : floats(c.vision);
  return {
    tokens: {
      kind: 'tokens',
      ids: over.ids ?? Int32Array.from(c.ids),
      text: '',
      imageTokenId: golden.imageToken,
      visionTokens: c.vision?.dims[0] ?? 0,
    },
    vision: { kind: 'embeddings', tensor: vision },
  };
}
const items = golden.cases.map((c) => item(c));
const letters = (ids: readonly number[]): string => ids.map((id) => String.fromCharCode(65 + id)).join('');

function completion(result: ItemResult | undefined): CompletionValue {
  if (result?.ok !== true) throw new VlmError('INTERNAL', { what: 'The item failed' });
  return result.outputs.text as CompletionValue;
}

test('every item gets the tokens of the reference, for every batch size', async () => {
  for (const batch_size of [1, 3, 4]) {
    const { context, seen } = deviceContext(session, { ...base, batch_size });
    const results = await run(items, context);
    for (const [i, c] of golden.cases.entries()) {
      const value = completion(results[i]);
      assert.equal(Array.from(value.ids), c.tokens.slice(0, 12));
      assert.is(value.text, letters(c.tokens.slice(0, 12)));
      assert.is(value.finish, 'length');
      assert.is(value.promptTokens, c.ids.length);
      assert.is(
        value.prefillChunks.reduce((n, x) => n + x, 0),
        c.ids.length,
      );
      assert.ok(value.prefillMs > 0 && value.decodeMs > 0);
      assert.ok(Math.abs(value.firstTokenAt - Date.now()) < 60_000);
      const streamed = seen.text.filter(([index]) => index === i).map(([, piece]) => piece);
      assert.is(streamed.join(''), value.text);
      assert.ok(streamed.length > 1);
    }
    const groups = Math.ceil(4 / batch_size);
    assert.equal(
      seen.spans.map((s) => s.stage),
      Array.from({ length: 2 * groups }, (_, i) => (i % 2 === 0 ? 'prefill' : 'decode')),
    );
    for (const [i, span] of seen.spans.entries())
      assert.ok(i === 0 || span.start >= (seen.spans[i - 1]?.end ?? 0) - 0.01);
  }
});

test('a prompt that is too long and one without its embeddings fail alone', async () => {
  const [a, , c, d] = golden.cases as readonly [GoldenCase, GoldenCase, GoldenCase, GoldenCase];
  const { context } = deviceContext(session, { ...base, batch_size: 4 });
  const long = item(a, { ids: new Int32Array(golden.ctx + 1).fill(3) });
  const results = await run([item(a), long, item(c, { vision: null }), item(d)], context);
  assert.equal(
    results.map((r) => (r.ok ? 'ok' : r.error.code)),
    ['ok', 'PROMPT_TOO_LONG', 'IMAGE_TOKENS_MISMATCH', 'ok'],
  );
  assert.equal(Array.from(completion(results[3]).ids), d.tokens.slice(0, 12));
});

test('a recipe without a vision input decodes text prompts', async () => {
  const { context } = deviceContext(session, base);
  const { tokens } = items[1] as { tokens: never };
  const [result] = await run([{ tokens }], context);
  assert.equal(Array.from(completion(result).ids), golden.cases[1]?.tokens.slice(0, 12));
});

test('margins, stop strings and end tokens reach the completion', async () => {
  const c = golden.cases[2] as GoldenCase;
  const all = letters(c.tokens);
  const stop = all.slice(5, 7);
  const { context } = deviceContext(session, { ...base, stop: [stop], record_margins: true });
  const value = completion((await run([item(c)], context))[0]);
  assert.is(value.finish, 'stop');
  assert.is(value.text, all.slice(0, all.indexOf(stop)));
  assert.is(value.rawText, value.text);
  assert.is(value.margins?.length, value.ids.length);
  const eos = deviceContext(session, { ...base, stop_token_ids: [c.tokens[3]] });
  const ended = completion((await run([item(c)], eos.context))[0]);
  assert.is(ended.finish, 'stop');
  assert.is(ended.text, all.slice(0, 3));
});

test('cancelling throws at the next step, and the program can be used again', async () => {
  let calls = 0;
  const { context, seen } = deviceContext(session, base, () => {
    if (++calls > 5) throw new VlmError('CANCELLED', { what: 'cancelled' });
  });
  await rejects(run([items[3] as NodeInputs], context), 'CANCELLED');
  assert.equal(
    seen.spans.map((s) => s.stage),
    ['prefill', 'decode'],
  );
  const again = deviceContext(session, base);
  assert.is(completion((await run([items[3] as NodeInputs], again.context))[0]).ids.length, 12);
});

test('defaults are those of the manifest; unusable options are refused by name', async () => {
  const defaults = Object.fromEntries(Object.entries(manifest.options).map(([k, o]) => [k, o.default]));
  assert.equal(decodeOptions({}), decodeOptions(defaults));
  const error = await rejects(() => decodeOptions({ top_k: 'many' }), 'OPTION_INVALID');
  assert.match(error.details.expected ?? '', 'top_k');
  await rejects(() => decodeOptions({ stop: 'x' }), 'OPTION_INVALID');
});

test.run();
