/**
 * How well encoding an image and decoding the one before it overlap: a whole run (recipe, runner, workers, sessions)
 * over two emulated cards, whose programs compute nothing and take the time that the latency model says. The bound is
 * that of two machines in a row: the first image's stage that nothing can hide, and then the slower stage of each.
 *
 *   npm run build:native && npx tsc -p tsconfig.json && node .build/bench/overlap.js [images] [rounds] [scale of all times]
 *
 * Every figure is emulated: it says what the host adds, and nothing of a card.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VlmError } from '../src/contracts/errors.js';
import { elementCount } from '../src/contracts/tensor.js';
import { writeEmulatedQpc } from '../src/devices/ai100/emulator/qpc.js';
import { run } from '../src/index.js';
import { packageRoot } from '../src/util/package-root.js';
import { emulated, type Shapes, unbuilt } from '../test/devices/ai100/emulator/programs.js';

const images = Number(process.argv[2] ?? 12);
const rounds = Number(process.argv[3] ?? 3);
const AIM = 0.97;
/** Fixed time of a call and time of a byte: with these an image encodes about as long as its answer is decoded. */
const scale = Number(process.argv[4] ?? 1);
const FIXED_US = Math.round(40_000 * scale);
const BYTE_NS = Math.round(2500 * scale);
const TOKENS = 8;

const root = packageRoot();
const model = join(root, 'models/shapes-internvl');
const SHAPES: Shapes = { batches: [1], seqLens: [32], ctxLen: 256, visionRows: 16, tiles: [1], rowsPerTile: 16 };

interface Measured {
  readonly wallMs: number;
  readonly boundMs: number;
  readonly encodeMs: number;
  readonly decodeMs: number;
}

async function main(): Promise<void> {
  const missing = unbuilt();
  if (missing !== null) {
    console.log(`not measured: ${missing}`);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'vlm-overlap-'));
  try {
    process.env.VLM_AICEMU_DEVICES = '2';
    process.env.VLM_AICEMU_LATENCY = `${FIXED_US}:${BYTE_NS}`;
    const recipe = await prepare(folder);
    const all: Measured[] = [];
    for (let round = 0; round < rounds; round++) all.push(await measure(recipe));
    all.sort((a, b) => a.boundMs / a.wallMs - b.boundMs / b.wallMs);
    const middle = all[all.length >> 1] as Measured;
    console.log(`emulated: ${images} images, ${TOKENS} tokens each, median of ${rounds} runs`);
    console.log(
      `encode ${middle.encodeMs.toFixed(1)} ms, prefill and decode ${middle.decodeMs.toFixed(1)} ms an image`,
    );
    console.log(`one after another   ${(images * (middle.encodeMs + middle.decodeMs)).toFixed(0)} ms`);
    console.log(`bound               ${middle.boundMs.toFixed(0)} ms`);
    console.log(`run                 ${middle.wallMs.toFixed(0)} ms`);
    const shares = all.map((m) => ((100 * m.boundMs) / m.wallMs).toFixed(1));
    console.log(
      `of the bound        ${((100 * middle.boundMs) / middle.wallMs).toFixed(1)} % (all: ${shares.join(', ')}; aim: ${100 * AIM} %)`,
    );
    if (middle.boundMs / middle.wallMs < AIM) process.exitCode = 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Programs that echo, and a recipe that gives each of them a card of its own. */
async function prepare(folder: string): Promise<string> {
  for (const role of ['vision', 'language'] as const) {
    const { onnx, ...program } = emulated(role, join(model, `${role}.onnx`), SHAPES);
    await writeEmulatedQpc(join(folder, role), { ...program, compute: 'echo', cores: 16 });
  }
  const device = (id: number, role: string) => ({
    kind: 'ai100',
    emulated: true,
    ids: [id],
    programs: { [role]: role },
  });
  const options = { prefill_seq_len: 32, ctx_len: 256, max_new_tokens: TOKENS, ignore_eos: true };
  const recipe = {
    version: 1,
    name: 'overlap',
    model: { path: model },
    inputs: { image: { type: 'image' }, prompt: { type: 'text' } },
    devices: { first: device(0, 'vision'), second: device(1, 'language') },
    nodes: {
      preprocess: {
        kind: 'preprocess',
        inputs: { image: '$inputs.image', prompt: '$inputs.prompt' },
        with: { max_tiles: 1 },
      },
      encode: { kind: 'encode', device: 'first', inputs: { pixels: '$preprocess.pixels' } },
      decode: {
        kind: 'decode',
        device: 'second',
        inputs: { tokens: '$preprocess.tokens', vision: '$encode.embeddings' },
        with: options,
      },
    },
    outputs: { text: '$decode.text' },
  };
  const file = join(folder, 'overlap.yaml');
  writeFileSync(file, JSON.stringify(recipe));
  return file;
}

/** Milliseconds of a call by the latency model, over the buffers that it passes. */
function modelled(role: 'vision' | 'language', seq: number, vision: boolean): number {
  const { bindings, sets } = emulated(role, join(model, `${role}.onnx`), SHAPES);
  const ids = bindings.findIndex((b) => b.name === 'input_ids');
  const set = sets.find((s) => role === 'vision' || s[ids]?.dims[1] === seq) ?? [];
  const passed = bindings.filter((b) => {
    if (/^past_|RetainedState$/.test(b.name)) return false;
    return role === 'vision' || b.name !== 'vision_embeds' || vision;
  });
  const width = (type: number): number => (type === 7 ? 8 : 4);
  const bytes = passed.reduce((n, b) => n + elementCount(set[b.index]?.dims ?? []) * width(b.dtype), 0);
  return (FIXED_US + (bytes * BYTE_NS) / 1000) / 1000;
}

async function measure(recipe: string): Promise<Measured> {
  const image = join(root, 'examples/scene.png');
  const items = Array.from({ length: images }, () => ({ image, prompt: 'Describe the image.' }));
  const { ledger, error, items: records } = await run(recipe, { items });
  if (error !== undefined) throw new VlmError(error.code, error);
  const spans = (stages: readonly string[]) =>
    ledger.lanes.flatMap((lane) => (lane.emulated === true ? lane.spans.filter((s) => stages.includes(s.stage)) : []));
  const begun = Math.min(...spans(['encode']).map((s) => s.startMs));
  const ended = Math.max(...spans(['prefill', 'decode']).map((s) => s.endMs));
  const prompt = records[0]?.promptIds?.length ?? 0;
  const encodeMs = modelled('vision', 0, true);
  const chunks = Math.ceil(prompt / 32);
  const decodeMs = chunks * modelled('language', 32, true) + (TOKENS - 1) * modelled('language', 1, false);
  const boundMs = images * Math.max(encodeMs, decodeMs) + Math.min(encodeMs, decodeMs);
  return { wallMs: ended - begun, boundMs, encodeMs, decodeMs };
}

await main();
