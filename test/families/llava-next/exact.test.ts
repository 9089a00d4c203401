import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { tensor } from '../../../src/contracts/tensor.js';
import { family } from '../../../src/families/llava-next/family.js';
import { anyresLayout } from '../../../src/families/llava-next/geometry.js';
import { openRows } from '../../../src/families/llava-next/programs.js';
import { decodeImage } from '../../../src/image/decode.js';
import { loadKernels } from '../../../src/image/native.js';
import { imageTiles } from '../../../src/image/tiles.js';
import { openModel } from '../../../src/model/context.js';
import { conversation } from '../../../src/prompt/plan.js';
import { preparePrompt } from '../../../src/prompt/prepare.js';
import { sha256 } from '../../image/goldens.js';
import { goldens, MODEL, modelFiles, pictureBytes } from './goldens.js';

const { kernels } = loadKernels();
const cases = Object.entries(goldens.images);

for (const backend of ['torchvision', 'pil'] as const) {
  test(`pixels of ${cases.length} pictures equal the ${backend} processor bit for bit`, async () => {
    assert.ok(cases.length >= 12);
    const type = backend === 'pil' ? 'LlavaNextImageProcessorPil' : 'LlavaNextImageProcessor';
    const model = family.configure(modelFiles({ preprocessor: { image_processor_type: type } }));
    for (const [name, golden] of cases) {
      const picture = await decodeImage(pictureBytes(name), { name });
      const layout = model.layout(picture.width, picture.height, {});
      assert.equal([layout.height, layout.width], golden.imageSize, name);
      assert.equal([layout.tiles, 3, layout.tileSize.height, layout.tileSize.width], golden.dims, name);
      assert.is(
        sha256(imageTiles(picture, layout, model.normalization, kernels)),
        golden[backend],
        `${name} ${backend}`,
      );
    }
  });
}

test('pictures for an export of one size are brought to it first, as its own examples do', async () => {
  const base = family.configure(modelFiles());
  const model = base.forProgram?.(null, 'padded') ?? base;
  assert.equal(model.exportedImage, { width: 1610, height: 1109, tiles: 10 });
  for (const [name, golden] of cases) {
    const picture = await decodeImage(pictureBytes(name), { name });
    const layout = model.layout(picture.width, picture.height, {});
    assert.equal([layout.width, layout.height, layout.tiles], [picture.width, picture.height, 10], name);
    assert.is(layout.visionTokens, 5239);
    assert.is(sha256(imageTiles(picture, layout, model.normalization, kernels)), golden.packed, name);
  }
});

test('canvas and number of rows equal the reference for every size', () => {
  const model = family.configure(modelFiles());
  assert.ok(goldens.grids.sizes.length > 2000);
  const lines = goldens.grids.sizes.map(([width, height]) => {
    const layout = model.layout(width, height, {});
    return `${layout.grid[0] * 384}x${layout.grid[1] * 384}:${layout.visionTokens}`;
  });
  assert.is(sha256(Buffer.from(lines.join(';'))), goldens.grids.sha256);
});

test('rows are packed in the order of the reference model, newlines included', () => {
  const model = family.configure(modelFiles());
  const patches = 27;
  for (const { size, tiles, rows, sha256: digest } of goldens.grids.packed) {
    const [width, height] = size;
    const layout = model.layout(width, height, {});
    assert.is(layout.tiles, tiles);
    const numbered = new Float32Array(tiles * (patches * patches + 1)).fill(-1);
    for (let tile = 0; tile < tiles; tile++) {
      for (let i = 0; i < patches * patches; i++)
        numbered[tile * (patches * patches + 1) + i] = tile * patches * patches + i;
    }
    const embeds = tensor('float32', [tiles, patches * patches + 1, 1], numbered);
    const packed = openRows(embeds, [{ name: '', ...layout }], patches, 1);
    assert.equal(packed.dims, [rows, 1], `${width}x${height}`);
    assert.is(sha256(packed.data as Float32Array), digest, `${width}x${height}`);
  }
});

test(`prompts of ${goldens.prompts.length} conversations equal the reference, token for token`, async () => {
  const model = await openModel({ path: MODEL });
  assert.ok(goldens.prompts.length >= 14);
  for (const { name, messages, sizes, rendered, ids } of goldens.prompts) {
    const { prompt } = preparePrompt(model, { messages, sizes: sizes.map(([width, height]) => ({ width, height })) });
    const expected = ids.flatMap((run) => (typeof run === 'number' ? [run] : Array<number>(run[1]).fill(run[0])));
    assert.is(prompt.text.replace(/(<image>)+/g, '<image>'), rendered.replace(/(<image>)+/g, '<image>'), name);
    assert.ok(prompt.ids.join() === expected.join(), `${name}: token ids differ`);
  }
});

test('a plain prompt is the conversation of its images and then its words', async () => {
  const model = await openModel({ path: MODEL });
  const sizes = [
    { width: 300, height: 200 },
    { width: 100, height: 400 },
  ];
  const plain = preparePrompt(model, { prompt: 'Compare them.', sizes });
  assert.equal(
    plain.prompt.ids,
    preparePrompt(model, { messages: conversation('Compare them.', 2), sizes }).prompt.ids,
  );
});

test('the shape that is squeezed to nothing keeps its newlines', () => {
  const anyres = {
    tileSize: 4,
    patches: 2,
    pinpoints: [[4, 4]],
    filter: 'bicubic',
    arithmetic: 'pillow',
  } as const;
  const layout = anyresLayout(1, 1000, anyres, {});
  assert.is(layout.visionTokens, 4 + 2);
});

test.run();
