import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ProgramDescription } from '../../../src/contracts/device.js';
import type { FamilyModel } from '../../../src/contracts/family.js';
import type { ImageInfo } from '../../../src/contracts/ports.js';
import { tensor } from '../../../src/contracts/tensor.js';
import { family } from '../../../src/families/llava-next/family.js';
import { codeOf } from '../../text/helpers.js';
import { modelFiles } from './goldens.js';

function program(
  dims: readonly (number | string)[],
  rows: readonly (number | string)[] = ['n', 'r', 2048],
  extra: string[] = [],
): ProgramDescription {
  return {
    role: 'vision',
    inputs: [
      { name: 'pixel_values', dtype: 'float32', dims },
      ...extra.map((name) => ({ name, dtype: 'int64', dims: ['a', 'b'] }) as const),
    ],
    outputs: [{ name: 'vision_embeds', dtype: 'float32', dims: rows }],
    allowedShapes: null,
    calls: 'exact',
    weightBytes: 0,
    stateBytesPerToken: 0,
    emulated: false,
  };
}

const OPEN = program(['tiles', 3, 384, 384]);
const PACKED = program(['batch_size', 'num_patches', 3, 'img_size', 'img_size']);
const base = family.configure(modelFiles());
const as = (description: ProgramDescription | null, calls: 'exact' | 'padded' = 'exact'): FamilyModel =>
  base.forProgram?.(description, calls) ?? base;
const info = (layout: ReturnType<FamilyModel['layout']>): ImageInfo => ({ name: 'x', ...layout });

test('the kind of an export is read from the rank of its pixels; without one it is what the device usually has', () => {
  assert.is(as(OPEN).exportedImage, undefined);
  assert.is(as(OPEN, 'padded').exportedImage, undefined);
  assert.equal(as(PACKED).exportedImage, { width: 1610, height: 1109, tiles: 10 });
  assert.is(as(null).exportedImage, undefined);
  assert.equal(as(null, 'padded').exportedImage, { width: 1610, height: 1109, tiles: 10 });
  assert.equal(as(PACKED).forProgram?.(OPEN, 'exact').exportedImage, undefined);
});

test('traits that planning reads', () => {
  assert.equal(base.tiling, { minTiles: 1, maxTiles: 10, useThumbnail: true, isWholeAlways: true });
  assert.is(base.hiddenSize, 2048);
  assert.is(base.textLayers, 40);
  assert.equal(base.programSymbols?.vision({ batchSize: 1, tiles: 11 }), { num_patches: 11, img_size: 384 });
  assert.is(
    as(PACKED).programSymbols?.language({ batchSize: 1, visionBatch: 1, tiles: 1, prefillSeqLen: 1, ctxLen: 1 })[
      'vision_size'
    ],
    5239,
  );
  const rows = base.programSymbols?.language({ batchSize: 1, visionBatch: 1, tiles: 11, prefillSeqLen: 1, ctxLen: 1 })[
    'vision_size'
  ];
  const most = Math.max(...[1, 2, 5, 10].map((n) => base.layout(n * 384, 3840, {}).visionTokens));
  assert.ok(rows !== undefined && rows >= most);
});

test('tile options choose among the grids of the model, and never take the whole image away', () => {
  assert.is(base.layout(2000, 2000, {}).tiles, 10);
  assert.is(base.layout(2000, 2000, { max_tiles: 4 }).tiles, 5);
  assert.is(base.layout(100, 100, { min_tiles: 9 }).tiles, 10);
  for (const options of [{ use_thumbnail: false }, { min_tiles: 11 }, { min_tiles: 7, max_tiles: 6 }]) {
    assert.is(codeOf(() => base.layout(9, 9, options)).code, 'OPTION_INVALID');
  }
  const error = codeOf(() => as(PACKED).layout(9, 9, { max_tiles: 4 }));
  assert.is(error.code, 'OPTION_INVALID');
  assert.match(error.message, 'always takes 10 tiles');
});

test('tile options give what the processor gives with only those grids in its configuration', () => {
  const all = modelFiles().config['image_grid_pinpoints'] as [number, number][];
  const tiles = ([height, width]: [number, number]): number => (height * width) / 384 ** 2;
  for (const [min_tiles, max_tiles] of [
    [1, 4],
    [3, 6],
    [9, 10],
  ] as const) {
    const image_grid_pinpoints = all.filter((point) => tiles(point) >= min_tiles && tiles(point) <= max_tiles);
    const fewer = family.configure(
      modelFiles({ config: { image_grid_pinpoints }, preprocessor: { image_grid_pinpoints } }),
    );
    for (const [width, height] of [
      [1, 1],
      [640, 480],
      [3000, 200],
      [333, 4000],
      [1610, 1109],
    ] as const) {
      assert.equal(base.layout(width, height, { min_tiles, max_tiles }), fewer.layout(width, height, {}));
    }
  }
});

test('one image is packed by its export: a second one is refused with the way out', () => {
  const packed = as(PACKED);
  const pixels = (tiles: number) => tensor('float32', [tiles, 3, 384, 384], new Float32Array(tiles * 3 * 384 * 384));
  assert.equal(packed.visionInputs(pixels(10), PACKED)['pixel_values']?.dims, [1, 10, 3, 384, 384]);
  const error = codeOf(() => packed.visionInputs(pixels(20), PACKED));
  assert.is(error.code, 'SHAPE_NOT_ALLOWED');
  assert.match(error.message, 'vlm_export');
  assert.is(codeOf(() => packed.visionInputs(pixels(10), OPEN)).code, 'PROGRAM_INVALID');
  assert.is(codeOf(() => base.visionInputs(pixels(10), PACKED)).code, 'PROGRAM_INVALID');
  const sizes = packed.visionInputs(pixels(10), program(PACKED.inputs[0]?.dims ?? [], undefined, ['image_sizes']));
  assert.equal([...(sizes['image_sizes']?.data ?? [])], [1109n, 1610n]);
});

test('a packed program of another size is PROGRAM_INVALID', () => {
  assert.is(codeOf(() => as(program([1, 10, 3, 384, 384], [1, 2000, 2048]))).code, 'PROGRAM_INVALID');
  assert.ok(as(program([1, 10, 3, 384, 384], [1, 5239, 2048])).exportedImage);
});

test('rows of another number or width are IMAGE_TOKENS_MISMATCH', () => {
  const small = family.configure(modelFiles({ config: { text_config: { ...textConfig(), hidden_size: 2 } } }));
  const layout = small.layout(384, 384, {});
  const rows = (dims: readonly number[]) => tensor('float32', dims, new Float32Array(dims.reduce((n, d) => n * d, 1)));
  assert.equal(small.visionRows(rows([2, 730, 2]), [info(layout)]).dims, [layout.visionTokens, 2]);
  for (const dims of [
    [2, 729, 2],
    [1, 730, 2],
    [2, 730, 3],
    [1460, 2],
  ]) {
    assert.is(codeOf(() => small.visionRows(rows(dims), [info(layout)])).code, 'IMAGE_TOKENS_MISMATCH', dims.join());
  }
  const packed = small.forProgram?.(PACKED, 'exact') ?? small;
  const whole = packed.layout(5, 5, {});
  assert.equal(packed.visionRows(rows([1, 5239, 2]), [info(whole)]).dims, [5239, 2]);
  assert.is(codeOf(() => packed.visionRows(rows([1, 5240, 2]), [info(whole)])).code, 'IMAGE_TOKENS_MISMATCH');
});

function textConfig(): Record<string, unknown> {
  return modelFiles().config['text_config'] as Record<string, unknown>;
}

test('settings that would change pixels or rows are refused by name', () => {
  const square = { height: 336, width: 336 };
  const refused = [
    { image_processor_type: 'CLIPImageProcessor' },
    { size: { shortest_edge: 384, longest_edge: 500 } },
    { size: { height: 384, width: 300 } },
    { crop_size: square },
    { do_resize: false },
    { image_grid_pinpoints: [[384, 400]] },
    { image_grid_pinpoints: [] },
    { resample: 9 },
  ];
  for (const preprocessor of refused) {
    assert.is(
      codeOf(() => family.configure(modelFiles({ preprocessor }))).code,
      'PROCESSOR_UNSUPPORTED',
      JSON.stringify(preprocessor),
    );
  }
  const invalid = [
    { preprocessor: { size: square, crop_size: square, image_grid_pinpoints: [[336, 336]] } },
    { preprocessor: { image_grid_pinpoints: [[384, 384]] } },
    { processor: { vision_feature_select_strategy: 'default' } },
    { processor: { num_additional_image_tokens: 1 } },
    { processor: { patch_size: 16 } },
  ];
  for (const changes of invalid) {
    assert.is(codeOf(() => family.configure(modelFiles(changes))).code, 'MODEL_INVALID', JSON.stringify(changes));
  }
  family.configure(
    modelFiles({ processor: { vision_feature_select_strategy: 'default', num_additional_image_tokens: 1 } }),
  );
  family.configure(modelFiles({ preprocessor: { size: { shortest_edge: 384 }, crop_size: 384 } }));
});

test.run();
