/**
 * The main job written by hand for one model, one image and one prompt: one thread, no recipe, no plan, no workers, the
 * same ONNX Runtime calls. The yardstick of bench/overhead.ts.
 *
 *   node .build/bench/raw-run.js TOKENS
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
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
const count = Number(process.argv[2] ?? 64);
const root = packageRoot();
const folder = join(root, 'models/shapes-internvl');
const options: InferenceSession.SessionOptions = { executionMode: 'sequential', intraOpNumThreads: 1 };

const [model, vision, language, bytes] = await Promise.all([
  openModel({ path: folder }),
  InferenceSession.create(join(folder, 'vision.onnx'), options),
  InferenceSession.create(join(folder, 'language.onnx'), options),
  readFile(join(root, 'examples/scene.png')),
]);
const context = {
  node: 'preprocess',
  options: { exif_orientation: true, max_pixels: 100_000_000 },
  model: async () => model,
  span: () => undefined,
  emitText: () => undefined,
  progress: () => undefined,
  checkCancelled: () => undefined,
} as unknown as NodeContext;
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
const logitsPort = language.outputMetadata.find((o) => o.name === 'logits');
const vocab = logitsPort?.isTensor ? Number(logitsPort.shape.at(-1)) : 0;
const logits = new Float32Array(vocab);
fetches.logits = new Tensor('float32', logits, [1, 1, vocab]);
const types = fetches as InferenceSession.OnnxValueMapType;
const int64 = (values: readonly number[]): Tensor =>
  new Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);

feeds.image_idx = int64([0]);
for (let start = 0; start < ids.length; start += CHUNK) {
  const chunk = Array.from(ids.subarray(start, start + CHUNK));
  feeds.input_ids = int64(chunk);
  feeds.position_ids = int64(chunk.map((_, i) => start + i));
  fetches.image_idx_output = null;
  const result = await language.run(feeds, types);
  feeds.image_idx = result.image_idx_output as Tensor;
}
delete fetches.image_idx_output;
feeds.vision_embeds = new Tensor('float32', new Float32Array(seen.vision_embeds?.dims.at(-1) ?? 0), [
  1,
  1,
  seen.vision_embeds?.dims.at(-1) ?? 0,
]);
feeds.image_idx = int64([0]);
const token = new BigInt64Array(1);
const position = new BigInt64Array(1);
feeds.input_ids = new Tensor('int64', token, [1, 1]);
feeds.position_ids = new Tensor('int64', position, [1, 1]);
const answer: number[] = [best()];
while (answer.length < count) {
  token[0] = BigInt(answer.at(-1) ?? 0);
  position[0] = BigInt(ids.length + answer.length - 1);
  await language.run(feeds, types);
  answer.push(best());
}
process.stdout.write(`${model.text.decode(answer, { skipSpecialTokens: true })}\n`);
await Promise.all([vision.release(), language.release()]);

function best(): number {
  let at = 0;
  for (let i = 1; i < logits.length; i++) if ((logits[i] as number) > (logits[at] as number)) at = i;
  return at;
}
