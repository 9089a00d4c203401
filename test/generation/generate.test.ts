import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ProgramSession } from '../../src/contracts/device.js';
import { VlmError } from '../../src/contracts/errors.js';
import type { TextStream } from '../../src/contracts/node.js';
import { cpuDriver } from '../../src/devices/cpu/index.js';
import { checkRequest, type GenerationOptions, GREEDY, generate } from '../../src/generation/index.js';
import { fixture, type GoldenCase, golden, goldenRequest, rejects } from '../devices/conformance.js';

const test = suite('generation loop');
let session: ProgramSession;
const at = (i: number): GoldenCase => golden.cases[i] as GoldenCase;
const options: GenerationOptions = { prefillSeqLen: 8, ctxLen: golden.ctx, maxNewTokens: 24 };
/** Each token is a letter of its own. */
const letters = (): TextStream => ({ push: (id) => String.fromCharCode(65 + id), flush: () => '' });
const text = { visible: letters, raw: letters };

test.before(async () => {
  session = await cpuDriver.open(
    { role: 'language', path: fixture('language-rank3.onnx') },
    { kind: 'cpu', threads: 1 },
  );
});
test.after(async () => {
  await session.close();
});

test('an end token ends a row and is kept among its ids; ignore_eos goes on', async () => {
  const eos = at(1).tokens[6] as number;
  const [ended] = await generate(session, [goldenRequest(at(1))], { ...options, eosTokenIds: [47, eos], text });
  const first = at(1).tokens.indexOf(eos);
  assert.equal(Array.from(ended?.ids ?? []), at(1).tokens.slice(0, first + 1));
  assert.is(ended?.finish, 'eos');
  assert.is(ended?.text.length, first);
  const [on] = await generate(session, [goldenRequest(at(1))], { ...options, eosTokenIds: [eos], ignoreEos: true });
  assert.equal(Array.from(on?.ids ?? []), at(1).tokens);
  assert.is(on?.finish, 'length');
});

test('stop ids end a row even when end tokens are ignored', async () => {
  const stop = at(2).tokens[2] as number;
  const [r] = await generate(session, [goldenRequest(at(2))], { ...options, ignoreEos: true, stopTokenIds: [stop] });
  assert.is(r?.finish, 'stop');
  assert.is(r?.ids.length, at(2).tokens.indexOf(stop) + 1);
});

test('a stop string over two tokens cuts the text; pieces add up to it', async () => {
  const all = at(2)
    .tokens.map((id) => String.fromCharCode(65 + id))
    .join('');
  const stop = all.slice(9, 11);
  const cut = all.indexOf(stop);
  const pieces: string[] = [];
  const [r] = await generate(
    session,
    [goldenRequest(at(2))],
    { ...options, text, stop: [stop] },
    {
      onText: (_, piece) => pieces.push(piece),
    },
  );
  assert.is(r?.finish, 'stop');
  assert.is(r?.text, all.slice(0, cut));
  assert.is(pieces.join(''), r?.text);
  assert.is(r?.ids.length, cut + 2);
});

test('the context limit ends a row with the last token that needed no slot', async () => {
  for (const ctxLen of [13, 14, 20]) {
    const [r] = await generate(session, [goldenRequest(at(2))], { ...options, ctxLen });
    assert.is(r?.finish, 'context');
    assert.equal(Array.from(r?.ids ?? []), at(2).tokens.slice(0, ctxLen - 13 + 1));
    // The model’s positions end a row in the same way, however long the cache is.
    const [few] = await generate(session, [goldenRequest(at(2))], { ...options, maxPositions: ctxLen });
    assert.equal([few?.finish, few?.ids], ['context', r?.ids]);
  }
});

test('rows of a batch may each end in their own way, and equal their runs alone', async () => {
  const eos = at(1).tokens[4] as number;
  const opts = { ...options, ctxLen: 40, eosTokenIds: [eos], maxNewTokens: 16 };
  const requests = golden.cases.map(goldenRequest);
  const together = await generate(session, requests, opts);
  for (const [i, request] of requests.entries()) {
    const [alone] = await generate(session, [request], opts);
    assert.equal(Array.from(together[i]?.ids ?? []), Array.from(alone?.ids ?? []));
    assert.is(together[i]?.finish, alone?.finish);
  }
  assert.ok(new Set(together.map((r) => r.finish)).size >= 2);
});

test('sampled rows do not depend on their batch, and repeat bit for bit', async () => {
  const sampling = { ...GREEDY, temperature: 1.2, topK: 20, topP: 0.95, minP: 0.01, repetitionPenalty: 1.1, seed: 9 };
  const requests = golden.cases.map(goldenRequest);
  const together = await generate(session, requests, { ...options, sampling });
  const again = await generate(session, [...requests].reverse(), { ...options, sampling });
  for (const [i, request] of requests.entries()) {
    const [alone] = await generate(session, [request], { ...options, sampling });
    assert.equal(Array.from(together[i]?.ids ?? []), Array.from(alone?.ids ?? []));
    assert.equal(Array.from(again[requests.length - 1 - i]?.ids ?? []), Array.from(alone?.ids ?? []));
  }
  const [other] = await generate(session, [requests[2] as never], { ...options, sampling: { ...sampling, seed: 10 } });
  assert.not.equal(Array.from(other?.ids ?? []), Array.from(together[2]?.ids ?? []));
});

test('margins of the reference are recorded on request', async () => {
  const [r] = await generate(session, [goldenRequest(at(3))], { ...options, recordMargins: true });
  assert.is(r?.margins?.length, 24);
  for (const [i, m] of at(3).margins.entries()) assert.ok(Math.abs((r?.margins?.[i] ?? 9) - m) < 1e-3);
  const [none] = await generate(session, [goldenRequest(at(3))], options);
  assert.is(none?.margins, undefined);
});

test('times of calls, chunks and the first token are told; cancelling ends at the next call', async () => {
  let clock = 0;
  const tokens: number[] = [];
  const [r] = await generate(
    session,
    [goldenRequest(at(3))],
    { ...options, maxNewTokens: 3 },
    {
      now: () => clock++,
      onToken: (_, id) => tokens.push(id),
    },
  );
  assert.equal(r?.prefillChunks, [8, 8, 8, 4]);
  // Each call is one tick of this clock; the first token follows the fourth prefill call.
  assert.is(r?.prefillMs, 4);
  assert.is(r?.decodeMs, 2);
  assert.is(r?.firstTokenAt, 8);
  assert.equal(tokens, at(3).tokens.slice(0, 3));
  let calls = 0;
  const checkCancelled = (): void => {
    if (++calls > 6) throw new VlmError('CANCELLED', { what: 'cancelled' });
  };
  await rejects(generate(session, [goldenRequest(at(3))], options, { checkCancelled }), 'CANCELLED');
  assert.is(calls, 7);
  const [after] = await generate(session, [goldenRequest(at(3))], options);
  assert.equal(Array.from(after?.ids ?? []), at(3).tokens);
});

test('cancelling between the calls of a prefill ends it there', async () => {
  let prefilled = 0;
  for (const allowed of [0, 1, 3]) {
    let calls = 0;
    const checkCancelled = (): void => {
      if (calls++ === allowed) throw new VlmError('CANCELLED', { what: 'cancelled' });
    };
    const hooks = { checkCancelled, onPrefilled: () => prefilled++ };
    await rejects(generate(session, [goldenRequest(at(3))], options, hooks), 'CANCELLED');
    assert.is(calls, allowed + 1);
  }
  assert.is(prefilled, 0);
});

test('a row that has filled its cache stays inside it while another row goes on', async () => {
  const long = at(3);
  const short = at(1);
  const ctxLen = goldenRequest(long).ids.length + 2;
  const [full, other] = await generate(session, [goldenRequest(long), goldenRequest(short)], { ...options, ctxLen });
  assert.is(full?.finish, 'context');
  assert.equal(Array.from(full?.ids ?? []), long.tokens.slice(0, 3));
  assert.is(other?.finish, 'length');
  assert.equal(Array.from(other?.ids ?? []), short.tokens);
});

test('prompts that cannot run are told before any call', async () => {
  const program = session.describe();
  const good = goldenRequest(at(2));
  assert.is(checkRequest(good, program, { ctxLen: golden.ctx }), null);
  assert.is(
    checkRequest({ ...good, ids: new Int32Array(0), vision: null }, program, { ctxLen: 8 })?.code,
    'PROMPT_TOO_LONG',
  );
  assert.is(checkRequest(good, program, { ctxLen: 12 })?.code, 'PROMPT_TOO_LONG');
  const few = { ctxLen: golden.ctx, maxPositions: good.ids.length - 1 };
  assert.is(checkRequest(good, program, few)?.code, 'PROMPT_TOO_LONG');
  assert.is(checkRequest({ ...good, vision: null }, program, { ctxLen: golden.ctx })?.code, 'IMAGE_TOKENS_MISMATCH');
  assert.is(
    checkRequest({ ...good, ids: Int32Array.of(1) }, program, { ctxLen: golden.ctx })?.code,
    'IMAGE_TOKENS_MISMATCH',
  );
  const narrow = { dtype: 'float32', dims: [4, 3], data: new Float32Array(12) } as const;
  assert.is(checkRequest({ ...good, vision: narrow }, program, { ctxLen: golden.ctx })?.code, 'TENSOR_INVALID');
  const fixed = await cpuDriver.inspect({ role: 'language', path: fixture('language-half.onnx') }, { kind: 'cpu' });
  const many = { dtype: 'float32', dims: [13, 16], data: new Float32Array(208) } as const;
  const long = { ...good, ids: new Int32Array(13).fill(golden.imageToken), vision: many };
  assert.is(checkRequest(long, fixed, { ctxLen: golden.ctx })?.code, 'SHAPE_NOT_ALLOWED');
  assert.equal(await generate(session, [], options), []);
});

test.run();
