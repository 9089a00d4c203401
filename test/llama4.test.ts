/** Both programs of a tiny Llama 4 on the cpu device, from pixels to token ids, against transformers' own generate. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Tensor, tensor } from '../src/contracts/tensor.js';
import { loadDriver } from '../src/devices/drivers.js';
import { packageRoot } from '../src/util/package-root.js';

interface Case {
  readonly tiles: number;
  readonly ids: readonly (number | readonly [number, number])[];
  readonly tokens: readonly number[];
  /** Every fourth of the last step. */
  readonly logits: readonly number[];
}

const model = join(packageRoot(), 'test', 'golden', 'llama4-tiny');
const golden: { readonly steps: number; readonly cases: readonly Case[] } = JSON.parse(
  readFileSync(join(model, 'programs.json'), 'utf8'),
);
const HIDDEN = 48;
const TOKENS_PER_TILE = 36;
/** 1e-3 in f32 as the reference's own precision allows: both sum in f32, in different orders. */
const TOLERANCE = 1e-3;

const promptIds = (source: Case): number[] =>
  source.ids.flatMap((part) => (typeof part === 'number' ? [part] : Array<number>(part[1]).fill(part[0])));

/** The pixels that tools/reference/llama4_tiny.py gave the model: exact in f32. */
function pixelsOf(number: number, tiles: number): Tensor {
  const data = Float32Array.from(
    { length: tiles * 3 * 336 * 336 },
    (_, i) => (((31 * i + 17 * number) % 257) - 128) / 128,
  );
  return tensor('float32', [tiles, 3, 336, 336], data);
}

async function rowsOf(): Promise<readonly Tensor[]> {
  const driver = await loadDriver('cpu');
  const vision = await driver.open({ role: 'vision', path: join(model, 'vision.onnx') }, { kind: 'cpu' });
  await vision.activate();
  try {
    const all: Tensor[] = [];
    for (const [number, source] of golden.cases.entries()) {
      const feeds = { pixel_values: pixelsOf(number, source.tiles) };
      const { outputs } = await vision.run(null, feeds, ['vision_embeds']);
      assert.ok(outputs['vision_embeds']);
      all.push(outputs['vision_embeds']);
    }
    return all;
  } finally {
    await vision.close();
  }
}

/** Rows of one length: [batch][length] as one tensor. */
function whole(rows: readonly (readonly number[])[]): Tensor {
  return tensor('int64', [rows.length, rows[0]?.length ?? 0], BigInt64Array.from(rows.flat(), BigInt));
}

function best(row: Float32Array): number {
  let at = 0;
  for (let i = 1; i < row.length; i++) if ((row[i] ?? 0) > (row[at] ?? 0)) at = i;
  return at;
}

/** Greedy answers of `copies` equal rows, so that one vision_embeds serves them all; the prompt in chunks of `chunk`. */
async function checkAnswer(source: Case, rows: Tensor, chunk: number, copies: number): Promise<void> {
  const driver = await loadDriver('cpu');
  const language = await driver.open({ role: 'language', path: join(model, 'language.onnx') }, { kind: 'cpu' });
  await language.activate();
  const ids = promptIds(source);
  const state = language.createState(copies, ids.length + golden.steps);
  const every = (part: readonly number[]): Tensor => whole(Array.from({ length: copies }, () => part));
  let logits = new Float32Array(0);
  let imageIndex: Tensor = whole([[0]]);
  const step = async (part: readonly number[], from: number): Promise<void> => {
    const feeds = {
      input_ids: every(part),
      position_ids: every(part.map((_, i) => from + i)),
      vision_embeds: rows,
      image_idx: imageIndex,
    };
    const { outputs } = await language.run(state, feeds, ['logits', 'image_idx_output']);
    assert.ok(outputs['logits'] && outputs['image_idx_output']);
    logits = outputs['logits'].data as Float32Array<ArrayBuffer>;
    imageIndex = outputs['image_idx_output'];
  };
  try {
    for (let at = 0; at < ids.length; at += chunk) await step(ids.slice(at, at + chunk), at);
    assert.is(Number(imageIndex.data[0]), source.tiles * TOKENS_PER_TILE);
    const width = logits.length / copies;
    for (const [i, token] of source.tokens.entries()) {
      for (let row = 0; row < copies; row++) {
        assert.is(best(logits.subarray(row * width, (row + 1) * width)), token, `row ${row}, step ${i}`);
      }
      if (i + 1 < source.tokens.length) await step([token], ids.length + i);
    }
    const worst = Math.max(...source.logits.map((v, i) => Math.abs(v - (logits[4 * i] ?? Number.NaN))));
    assert.ok(worst <= TOLERANCE, `${worst} apart`);
  } finally {
    state.release();
    await language.close();
  }
}

test('the vision program gives rank 2: the rows of each tile, one tile behind the other', async () => {
  const rows = await rowsOf();
  assert.equal(
    rows.map((r) => r.dims),
    golden.cases.map((c) => [c.tiles * TOKENS_PER_TILE, HIDDEN]),
  );
});

test('64 greedy tokens and the last logits are those of generate: whole, in chunks, three rows at once', async () => {
  const rows = await rowsOf();
  assert.is(golden.steps, 64);
  for (const [number, source] of golden.cases.entries()) {
    const own = rows[number];
    assert.ok(own);
    assert.is(source.tokens.length, golden.steps);
    for (const [chunk, copies] of [
      [1 << 20, 1],
      [19, 1],
      [50, 3],
    ] as const) {
      await checkAnswer(source, own, chunk, copies);
    }
  }
});

test.run();
