/**
 * The main job written by hand for one model, one image and one prompt: one thread, no recipe, no plan, no workers, the
 * same ONNX Runtime calls. The yardstick of bench/overhead.ts.
 *
 *   node .build/bench/raw-run.js TOKENS [--model FOLDER] [--tiles N] [--threads 1] [--serve]
 *
 * Prints the text of one item. With --serve: for every line on standard input that many items, one after another, the
 * text of the last and the time of all.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { NodeContext } from '../src/contracts/node.js';
import type { PixelsValue, TokensValue } from '../src/contracts/ports.js';
import { openModel } from '../src/model/context.js';
import { run as preprocess } from '../src/nodes/preprocess/run.js';
import { forbidOrtTelemetry } from '../src/util/ort-telemetry.js';
import { packageRoot } from '../src/util/package-root.js';

// As vlm-run does it: both sides start the same library in the same way.
forbidOrtTelemetry();

const CTX = 1024;
const CHUNK = 128;
const root = packageRoot();
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    serve: { type: 'boolean' },
    model: { type: 'string', default: join(root, 'models/shapes-internvl') },
    tiles: { type: 'string' },
    threads: { type: 'string', default: '1' },
  },
});
const count = Number(positionals[0] ?? 64);
const folder = values.model;
const options: InferenceSession.SessionOptions = {
  executionMode: 'sequential',
  intraOpNumThreads: Number(values.threads),
};

const [model, vision, language] = await Promise.all([
  openModel({ path: folder }),
  InferenceSession.create(join(folder, 'vision.onnx'), options),
  InferenceSession.create(join(folder, 'language.onnx'), options),
]);
const context = {
  node: 'preprocess',
  options: {
    exif_orientation: true,
    max_pixels: 100_000_000,
    ...(values.tiles === undefined ? {} : { max_tiles: Number(values.tiles) }),
  },
  model: async () => model,
  span: () => undefined,
  emitText: () => undefined,
  progress: () => undefined,
  checkCancelled: () => undefined,
} as unknown as NodeContext;
const logitsPort = language.outputMetadata.find((o) => o.name === 'logits');
const vocab = logitsPort?.isTensor ? Number(logitsPort.shape.at(-1)) : 0;
const logits = new Float32Array(vocab);
const int64 = (list: readonly number[]): Tensor =>
  new Tensor('int64', BigInt64Array.from(list, BigInt), [1, list.length]);

const items = async (n: number): Promise<string> => {
  let text = '';
  for (let i = 0; i < n; i++) text = await answer(await readFile(join(root, 'examples/scene.png')));
  return text;
};
if (values.serve === true) {
  for await (const line of createInterface({ input: process.stdin })) {
    const began = performance.now();
    const text = await items(Number(line));
    console.log(JSON.stringify({ text, ms: performance.now() - began }));
  }
} else {
  process.stdout.write(`${await items(1)}\n`);
}
await Promise.all([vision.release(), language.release()]);

async function answer(bytes: Uint8Array): Promise<string> {
  const [item] = await preprocess(
    [
      {
        image: { kind: 'image', bytes, name: 'scene.png' },
        prompt: { kind: 'text', text: 'Describe the image.' },
      },
    ],
    context,
  );
  if (item?.ok !== true) throw new Error('preprocessing failed');
  const pixels = item.outputs.pixels as PixelsValue;
  const { ids } = item.outputs.tokens as TokensValue;
  if (pixels.tensor === null) throw new Error('no pixels');

  const seen = await vision.run({ pixel_values: new Tensor('float32', pixels.tensor.data, [...pixels.tensor.dims]) });
  const feeds: Record<string, Tensor> = { vision_embeds: seen.vision_embeds as Tensor };
  const fetches: Record<string, Tensor | null> = {};
  for (const input of language.inputMetadata) {
    if (!input.isTensor || !input.name.startsWith('past_')) continue;
    const dims = [1, Number(input.shape[1]), CTX, Number(input.shape[3])];
    const cache = new Tensor('float32', new Float32Array(dims.reduce((n, d) => n * d, 1)), dims);
    feeds[input.name] = cache;
    fetches[`${input.name}_RetainedState`] = cache;
  }
  fetches.logits = new Tensor('float32', logits, [1, 1, vocab]);
  const wanted = fetches as InferenceSession.OnnxValueMapType;

  feeds.image_idx = int64([0]);
  for (let start = 0; start < ids.length; start += CHUNK) {
    const chunk = Array.from(ids.subarray(start, start + CHUNK));
    feeds.input_ids = int64(chunk);
    feeds.position_ids = int64(chunk.map((_, i) => start + i));
    fetches.image_idx_output = null;
    const result = await language.run(feeds, wanted);
    feeds.image_idx = result.image_idx_output as Tensor;
  }
  delete fetches.image_idx_output;
  const hidden = seen.vision_embeds?.dims.at(-1) ?? 0;
  feeds.vision_embeds = new Tensor('float32', new Float32Array(hidden), [1, 1, hidden]);
  feeds.image_idx = int64([0]);
  const token = new BigInt64Array(1);
  const position = new BigInt64Array(1);
  feeds.input_ids = new Tensor('int64', token, [1, 1]);
  feeds.position_ids = new Tensor('int64', position, [1, 1]);
  const made: number[] = [best()];
  while (made.length < count) {
    token[0] = BigInt(made.at(-1) ?? 0);
    position[0] = BigInt(ids.length + made.length - 1);
    await language.run(feeds, wanted);
    made.push(best());
  }
  return model.text.decode(made, { skipSpecialTokens: true });
}

function best(): number {
  let at = 0;
  for (let i = 1; i < logits.length; i++) if ((logits[i] as number) > (logits[at] as number)) at = i;
  return at;
}
