import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ProgramDescription } from '../../../src/contracts/device.js';
import type { ImageInfo } from '../../../src/contracts/ports.js';
import { type Tensor, tensor } from '../../../src/contracts/tensor.js';
import { family } from '../../../src/families/llama4/family.js';
import { codeOf } from '../../text/helpers.js';
import { modelFiles } from './goldens.js';

const base = family.configure(modelFiles());
const SIDE = 336;

function program(name: string, dims: readonly (number | string)[], counts: readonly number[] = []): ProgramDescription {
  return {
    role: 'vision',
    inputs: [{ name, dtype: 'float32', dims }],
    outputs: [{ name: 'vision_embeds', dtype: 'float32', dims: ['vision_size', 5120] }],
    allowedShapes: counts.length === 0 ? null : counts.map((n) => ({ shapes: { [name]: [n, 3, SIDE, SIDE] } })),
    calls: counts.length === 0 ? 'exact' : 'padded',
    weightBytes: 0,
    stateBytesPerToken: 0,
    emulated: false,
  } as ProgramDescription;
}

const pixels = (tiles: number): Tensor<'float32'> =>
  tensor('float32', [tiles, 3, SIDE, SIDE], new Float32Array(tiles * 3 * SIDE * SIDE).fill(1));
const info = (width: number, height: number): ImageInfo => ({ name: 'x', ...base.layout(width, height, {}) });
const textConfig = (): Record<string, unknown> => modelFiles().config['text_config'] as Record<string, unknown>;

test('traits that planning reads', () => {
  assert.is(base.hiddenSize, 5120);
  assert.is(base.textLayers, 48);
  assert.is(base.maxPositions, 10485760);
  assert.is(base.imageToken, '<|patch|>');
  assert.equal(base.eosTokenIds, modelFiles().generation?.['eos_token_id']);
  assert.equal(base.tiling, { minTiles: 1, maxTiles: 16, useThumbnail: true });
  assert.equal(base.programSymbols?.vision({ batchSize: 1, tiles: 17 }), { max_num_tiles: 17, img_size: SIDE });
  const shape = { batchSize: 1, visionBatch: 1, tiles: 17, prefillSeqLen: 128, ctxLen: 16384 };
  assert.equal(base.programSymbols?.language(shape), {
    max_num_tiles: 17,
    img_size: SIDE,
    vision_size: 17 * 144,
    chunk_length: 128,
    chunk_ctx_len: 8192,
  });
});

test('an image that fits one tile is not shown twice; a larger one gets the whole image as its last tile', () => {
  const one = base.layout(SIDE, SIDE, {});
  assert.equal([one.grid, one.tiles, one.views.length], [[1, 1], 1, 1]);
  const row = base.layout(3360, SIDE, {});
  assert.equal([row.grid, row.tiles], [[10, 1], 11]);
  assert.equal(row.views.at(-1)?.resize, { width: SIDE, height: SIDE, filter: 'bilinear', arithmetic: 'torchvision' });
  assert.is(base.layout(9000, 9000, {}).tiles, 17);
});

test('the text of an image: separators between tiles and behind rows, the whole image last', () => {
  const shape = base.expandImage(info(600, 600)).replace(/(<\|patch\|>){144}/g, 'T');
  assert.is(
    shape,
    '<|image_start|>T<|tile_x_separator|>T<|tile_y_separator|>T<|tile_x_separator|>T<|tile_y_separator|><|image|>T<|image_end|>',
  );
  assert.is(base.expandImage(info(1, 1)).replace(/(<\|patch\|>){144}/g, 'T'), '<|image_start|><|image|>T<|image_end|>');
});

test('tile options are those of the processor’s max_patches, and never take the whole image away', () => {
  const four = family.configure(modelFiles({ preprocessor: { max_patches: 4 } }));
  for (const [width, height] of [
    [1, 1],
    [640, 480],
    [3000, 200],
    [333, 4000],
    [1344, 1344],
  ] as const) {
    assert.equal(base.layout(width, height, { max_tiles: 4 }), four.layout(width, height, {}));
  }
  assert.is(base.layout(9, 9, { min_tiles: 2 }).tiles, 3);
  assert.is(base.layout(9, 9, { min_tiles: 20 }).tiles, 21);
  for (const options of [
    { use_thumbnail: false },
    { min_tiles: 7, max_tiles: 6 },
    { max_tiles: 0 },
    { max_tiles: 1.5 },
    { max_tiles: 5000 },
  ]) {
    assert.is(codeOf(() => base.layout(9, 9, options)).code, 'OPTION_INVALID', JSON.stringify(options));
  }
  for (const [width, height] of [
    [0, 5],
    [5, -1],
    [1.5, 5],
  ] as const) {
    assert.is(codeOf(() => base.layout(width, height, {})).code, 'IMAGE_UNREADABLE');
  }
});

test('an export for max_num_tiles gets zero tiles behind the image’s own, and its last rows are dropped', () => {
  const fixed = program('pixel_values', [17, 3, SIDE, SIDE]);
  const given = base.visionInputs(pixels(5), fixed)['pixel_values'];
  assert.equal(given?.dims, [17, 3, SIDE, SIDE]);
  const perTile = 3 * SIDE * SIDE;
  assert.is(given?.data[5 * perTile - 1], 1);
  assert.ok(given?.data.subarray(5 * perTile).every((value) => value === 0));
  const compiled = program('pixel_values', ['max_num_tiles', 3, SIDE, SIDE], [17, 1, 5]);
  assert.is(base.visionInputs(pixels(3), compiled)['pixel_values']?.dims[0], 5);
  assert.is(codeOf(() => base.visionInputs(pixels(18), compiled)).code, 'SHAPE_NOT_ALLOWED');
  const prefixed = program('vision/pixel_values', ['max_num_tiles', 3, SIDE, SIDE]);
  assert.is(base.visionInputs(pixels(3), prefixed)['pixel_values']?.dims[0], 3);
  assert.is(codeOf(() => base.visionInputs(pixels(1), program('pixels', [1, 3, SIDE, SIDE]))).code, 'PROGRAM_INVALID');

  const small = family.configure(modelFiles({ config: { text_config: { ...textConfig(), hidden_size: 2 } } }));
  const rows = (dims: readonly number[]): Tensor => {
    const length = dims.reduce((n, d) => n * d, 1);
    return tensor(
      'float32',
      dims,
      Float32Array.from({ length }, (_, i) => i),
    );
  };
  const images = [info(SIDE, SIDE), info(2 * SIDE, SIDE)];
  for (const dims of [
    [17 * 144, 2],
    [17, 144, 2],
    [1, 4 * 144, 2],
    [4 * 144, 2],
  ]) {
    const kept = small.visionRows(rows(dims), images);
    assert.equal(kept.dims, [4 * 144, 2], dims.join());
    assert.is(kept.data.at(-1), 4 * 144 * 2 - 1);
  }
  for (const dims of [[3 * 144, 2], [4 * 144, 3], [4 * 144 * 2]]) {
    assert.is(codeOf(() => small.visionRows(rows(dims), images)).code, 'IMAGE_TOKENS_MISMATCH', dims.join());
  }
});

test('settings that would change pixels or rows are refused by name', () => {
  const refused = [
    { image_processor_type: 'CLIPImageProcessor' },
    { size: { shortest_edge: SIDE } },
    { size: { height: SIDE, width: 300 } },
    { do_resize: false },
    { do_rescale: false },
    { do_normalize: false },
    { do_convert_rgb: false },
    { data_format: 'channels_last' },
    { resample: 9 },
  ];
  for (const preprocessor of refused) {
    const { code } = codeOf(() => family.configure(modelFiles({ preprocessor })));
    assert.is(code, 'PROCESSOR_UNSUPPORTED', JSON.stringify(preprocessor));
  }
  const invalid = [
    { preprocessor: { size: { height: 448, width: 448 } } },
    { preprocessor: { max_patches: 0 } },
    { processor: { patch_size: 28 } },
    { processor: { pixel_shuffle_ratio: 0.25 } },
    { config: { image_token_index: 5 } },
    { config: { text_config: {} } },
  ];
  for (const changes of invalid) {
    assert.is(codeOf(() => family.configure(modelFiles(changes))).code, 'MODEL_INVALID', JSON.stringify(changes));
  }
  const fast = { image_processor_type: 'Llama4ImageProcessorFast', size: null, resample: null };
  assert.is(family.configure(modelFiles({ preprocessor: fast })).layout(5, 5, {}).tileSize.width, SIDE);
});

test.run();
