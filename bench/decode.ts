/**
 * Decode steps per second of the generation loop against a bare loop that makes the same ONNX Runtime calls by hand.
 * Rounds alternate, so that both see the same machine; the ratio is the median over the pairs of rounds.
 *
 *   npx tsc -p tsconfig.json && node .build/bench/decode.js [language.onnx] [rounds] [steps]
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { cpuDriver } from '../src/devices/cpu/index.js';
import { generate } from '../src/generation/index.js';
import { packageRoot } from '../src/util/package-root.js';

const CTX = 512;
const PROMPT = Int32Array.from({ length: 32 }, (_, i) => (i * 7) % 40);

function fallback(): string {
  const demo = join(packageRoot(), 'models/shapes-internvl/language.onnx');
  return existsSync(demo) ? demo : join(packageRoot(), 'test/fixtures/programs/language-rank3.onnx');
}

const file = process.argv[2] ?? fallback();
const rounds = Number(process.argv[3] ?? 15);
const steps = Number(process.argv[4] ?? 200);
const ctxLen = file.includes('fixtures') ? 96 : CTX;
const decodeSteps = Math.min(steps, ctxLen - PROMPT.length - 1);

interface Round {
  readonly ids: readonly number[];
  readonly ms: number;
}

/** The loop as one would write it for this model alone. */
async function bareLoop(): Promise<() => Promise<Round>> {
  const session = await InferenceSession.create(file, {
    executionMode: 'sequential',
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    graphOptimizationLevel: 'all',
  });
  return async () => {
    const feeds: Record<string, Tensor> = {};
    const fetches: Record<string, Tensor | null> = { logits: null };
    let vocab = 0;
    for (const input of session.inputMetadata) {
      if (!input.isTensor) continue;
      if (input.name.startsWith('past_')) {
        const [, heads, , dim] = input.shape as number[];
        const dims = [1, heads ?? 0, ctxLen, dim ?? 0];
        const cache = new Tensor('float32', new Float32Array(dims.reduce((n, d) => n * d, 1)), dims);
        feeds[input.name] = cache;
        fetches[`${input.name}_RetainedState`] = cache;
      } else if (input.name === 'vision_embeds') {
        const hidden = Number(input.shape.at(-1));
        feeds.vision_embeds = new Tensor('float32', new Float32Array(hidden), [1, 1, hidden]);
      }
    }
    for (const output of session.outputMetadata) {
      if (output.isTensor && output.name === 'logits') vocab = Number(output.shape.at(-1));
    }
    const int64 = (values: number[]): Tensor =>
      new Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
    feeds.image_idx = int64([0]);
    feeds.input_ids = int64(Array.from(PROMPT));
    feeds.position_ids = int64(Array.from(PROMPT, (_, i) => i));
    const logits = new Float32Array(vocab);
    fetches.logits = new Tensor('float32', logits, [1, 1, vocab]);
    await session.run(feeds, fetches as InferenceSession.OnnxValueMapType);
    const token = new BigInt64Array(1);
    const position = new BigInt64Array(1);
    feeds.input_ids = new Tensor('int64', token, [1, 1]);
    feeds.position_ids = new Tensor('int64', position, [1, 1]);
    const ids: number[] = [best(logits)];
    const began = performance.now();
    for (let i = 0; i < decodeSteps; i++) {
      token[0] = BigInt(ids[i] as number);
      position[0] = BigInt(PROMPT.length + i);
      await session.run(feeds, fetches as InferenceSession.OnnxValueMapType);
      ids.push(best(logits));
    }
    return { ids, ms: performance.now() - began };
  };
}

function best(logits: Float32Array): number {
  let at = 0;
  for (let i = 1; i < logits.length; i++) if ((logits[i] as number) > (logits[at] as number)) at = i;
  return at;
}

async function ourLoop(): Promise<() => Promise<Round>> {
  const session = await cpuDriver.open({ role: 'language', path: file }, { kind: 'cpu', threads: 1 });
  return async () => {
    let began = 0;
    const [result] = await generate(
      session,
      [{ ids: PROMPT, imageTokenId: -1, vision: null }],
      { prefillSeqLen: PROMPT.length, ctxLen, maxNewTokens: decodeSteps + 1 },
      { onPrefilled: () => (began = performance.now()), checkCancelled: () => undefined },
    );
    return { ids: Array.from(result?.ids ?? []), ms: performance.now() - began };
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] as number;
}

const [bare, ours] = [await bareLoop(), await ourLoop()];
const [a, b] = [await bare(), await ours()];
const same = a.ids.join() === b.ids.join();
const times: { bare: number[]; ours: number[] } = { bare: [], ours: [] };
for (let i = 0; i < rounds; i++) {
  // Who goes first changes, so that neither always follows a collection of the other's garbage.
  const order = i % 2 === 0 ? (['bare', 'ours'] as const) : (['ours', 'bare'] as const);
  for (const who of order) times[who].push((await (who === 'bare' ? bare() : ours())).ms);
}
const [bareMs, oursMs] = [median(times.bare), median(times.ours)];
console.log(`${decodeSteps} decode steps, ${rounds} rounds each, one thread: ${file}`);
console.log(
  `bare loop ${((decodeSteps / bareMs) * 1000).toFixed(0)} steps/s, generation loop ${((decodeSteps / oursMs) * 1000).toFixed(0)} steps/s`,
);
const pairs = times.bare.map((ms, i) => (100 * ms) / (times.ours[i] as number));
console.log(`ratio ${median(pairs).toFixed(1)} % (same tokens: ${same})`);
process.exitCode = same ? 0 : 1;
