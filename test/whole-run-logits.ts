/** Logits of whole runs against those of transformers' generate: what the tests of the families' tiny models share. */
import * as assert from 'uvu/assert';
import type { ItemRecord } from '../src/contracts/record.js';
import { cpuDriver } from '../src/devices/cpu/index.js';
import type { GenerationRequest } from '../src/generation/index.js';
import { generate } from '../src/generation/index.js';
import { recording } from './devices/conformance.js';

/** One prompt: what a run on `cpu` gave its decode node, and what transformers made of the same prompt. */
export interface Answered {
  readonly name: string;
  readonly item: ItemRecord;
  readonly tokens: readonly number[];
  /** Every fourth logit, by step. */
  readonly logits: Readonly<Record<string, readonly number[]>>;
}

export interface HowToRun {
  readonly prefill: number;
  readonly batch: number;
  readonly ctxLen: number;
  readonly steps: number;
}

/** 1e-3 in f32 as the reference's own precision allows: both sum in f32, in different orders. */
export const TOLERANCE = 1e-3;

/** The outputs `tokens` and `vision` of a run, which its recipe must have. */
function requestOf({ name, item }: Answered): GenerationRequest {
  const { tokens, vision } = item.outputs ?? {};
  if (tokens?.kind !== 'tokens') throw new Error(`${name}: no tokens`);
  return {
    ids: tokens.ids,
    imageTokenId: tokens.imageTokenId,
    vision: vision?.kind === 'embeddings' ? vision.tensor : null,
  };
}

/**
 * Tokens of every step, and logits of the first and the last, of prompts that go `batch` at a time through the language
 * program, in prefill calls of at most `prefill` tokens.
 */
export async function checkLogits(path: string, cases: readonly Answered[], how: HowToRun): Promise<void> {
  const { prefill, batch, ctxLen, steps } = how;
  const session = await cpuDriver.open({ role: 'language', path }, { kind: 'cpu', threads: 1 });
  await session.activate();
  try {
    for (let start = 0; start < cases.length; start += batch) {
      const group = cases.slice(start, start + batch);
      const seen = recording(session);
      let prefills = 0;
      const results = await generate(
        seen.session,
        group.map(requestOf),
        { prefillSeqLen: prefill, ctxLen, maxNewTokens: steps, ignoreEos: true },
        { onPrefilled: () => (prefills = seen.logits.length) },
      );
      // A processor prefills row by row, and then decodes all rows in one call.
      assert.is(seen.logits.length, prefills + steps - 1);
      let last = -1;
      for (const [row, { name, tokens, logits }] of group.entries()) {
        assert.equal(Array.from(results[row]?.ids ?? []), [...tokens], `${name}: tokens`);
        last += results[row]?.prefillChunks.length ?? 0;
        assert.equal(Object.keys(logits), ['0', String(steps - 1)]);
        for (const [step, expected] of Object.entries(logits)) {
          const calls = step === '0' ? seen.logits[last] : seen.logits[prefills + Number(step) - 1];
          const [at, rows] = step === '0' ? [0, 1] : [row, group.length];
          const vocabulary = (calls?.length ?? 0) / rows;
          const got = calls?.subarray(at * vocabulary, (at + 1) * vocabulary) ?? [];
          assert.is(Math.ceil(got.length / 4), expected.length);
          const worst = Math.max(...expected.map((v, i) => Math.abs(v - (got[4 * i] ?? Number.NaN))));
          assert.ok(worst <= TOLERANCE, `${name}, step ${step}: ${worst} apart`);
        }
      }
      assert.is(last + 1, prefills);
    }
  } finally {
    await session.close();
  }
}
