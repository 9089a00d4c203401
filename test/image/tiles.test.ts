import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../src/contracts/errors.js';
import type { ImageLayout, Normalization, ResampleFilter } from '../../src/contracts/family.js';
import { internvlLayout, type TilingOptions } from '../../src/families/internvl/geometry.js';
import { decodeImage } from '../../src/image/decode.js';
import { loadKernels } from '../../src/image/native.js';
import { type RgbImage, resize, typescriptKernels } from '../../src/image/resample.js';
import { imageTiles, normalizationTable, renderView, tileElements, writeTiles } from '../../src/image/tiles.js';
import { golden, type ImageGoldens, lcgImage, sha256, sourceBytes } from './goldens.js';

const test = suite('tiles');
const { images, mean, std } = golden<ImageGoldens>('images.json');
const { kernels } = loadKernels();
const rescale = 1 / 255;
const norms: Record<'opengvlab' | 'pil' | 'fused', Normalization> = {
  opengvlab: { rescale, mean, std, arithmetic: 'divide-then-normalize' },
  pil: { rescale, mean, std },
  fused: { rescale, mean, std, arithmetic: 'fused' },
};

function layoutOf(
  image: RgbImage,
  golden: { size: number; min: number; max: number },
  variant: 'opengvlab' | 'hf',
  extra: Partial<TilingOptions> = {},
): ImageLayout {
  return internvlLayout(image.width, image.height, {
    tileSize: golden.size,
    minTiles: golden.min,
    maxTiles: golden.max,
    useThumbnail: true,
    filter: 'bicubic',
    imageTokens: 16,
    variant,
    ...extra,
  });
}

test('resized pictures equal Pillow for every filter', async () => {
  for (const [name, expected] of Object.entries(images)) {
    const image = await decodeImage(sourceBytes(name), { name });
    for (const [key, digest] of Object.entries(expected.resized)) {
      const [filter, size] = key.split(':') as [ResampleFilter, string];
      const [w = 0, h = 0] = size.split('x').map(Number);
      assert.is(sha256(resize(image, w, h, filter, kernels).data), digest, `${name} ${key}`);
    }
  }
});

test('tiles equal the published InternVL code and the pil backend of transformers, bit for bit', async () => {
  let compared = 0;
  for (const [name, expected] of Object.entries(images)) {
    const image = await decodeImage(sourceBytes(name), { name });
    for (const g of expected.tiles) {
      for (const [variant, which] of [
        ['opengvlab', 'opengvlab'],
        ['hf', 'pil'],
      ] as const) {
        const layout = layoutOf(image, g, variant);
        assert.equal(layout.grid, g[which].grid, `${name} ${g.size} ${which}`);
        assert.is(layout.tiles, g.tiles, name);
        assert.is(
          sha256(imageTiles(image, layout, norms[which], kernels)),
          g[which].sha256,
          `${name} ${g.size} ${which}`,
        );
        compared++;
      }
    }
  }
  assert.ok(compared >= 180);
});

test('the TypeScript path gives the same tiles', async () => {
  for (const name of ['landscape.jpg', 'px1.png', 'rgba.png', 'panorama.jpg']) {
    const image = await decodeImage(sourceBytes(name), { name });
    const g = images[name]?.tiles[0];
    assert.ok(g);
    const tiles = imageTiles(image, layoutOf(image, g, 'opengvlab'), norms.opengvlab, typescriptKernels);
    assert.is(sha256(tiles), g.opengvlab.sha256, name);
  }
});

test("the torchvision backend's uint8 and float32 values are reproduced bit for bit on request", async () => {
  const bytes = Float32Array.from({ length: 768 }, (_, i) => i % 256);
  const table = normalizationTable(norms.fused);
  let compared = 0;
  for (const [name, expected] of Object.entries(images)) {
    const image = await decodeImage(sourceBytes(name), { name });
    for (const g of expected.torchvision) {
      const layout = layoutOf(image, g, 'hf', { filter: g.filter, arithmetic: 'torchvision' });
      assert.is(layout.tiles, g.tiles, name);
      const out = new Float32Array(tileElements(layout));
      writeTiles(image, layout, bytes, kernels, out);
      assert.is(sha256(Uint8Array.from(out)), g.uint8, `${name} ${g.size} ${g.filter}: uint8`);
      writeTiles(image, layout, table, kernels, out);
      assert.is(sha256(out), g.float32, `${name} ${g.size} ${g.filter}: float32`);
      compared++;
    }
  }
  assert.ok(compared >= 140);
});

test("Pillow's arithmetic stays as near to the torchvision backend as the pil backend is", async () => {
  for (const name of ['square.png', 'landscape.jpg', 'grey-alpha.png', 'panorama.jpg', 'rgb-16bit.png']) {
    const image = await decodeImage(sourceBytes(name), { name });
    const bytes = Float32Array.from({ length: 768 }, (_, i) => i % 256);
    for (const g of images[name]?.torchvision ?? []) {
      const tiles = (arithmetic: 'pillow' | 'torchvision') => {
        const layout = layoutOf(image, g, 'hf', { filter: g.filter, arithmetic });
        const out = new Float32Array(tileElements(layout));
        writeTiles(image, layout, bytes, kernels, out);
        return out;
      };
      const [a, b] = [tiles('pillow'), tiles('torchvision')];
      const apart: Record<string, number> = {};
      a.forEach((v, i) => {
        const level = Math.abs(v - (b[i] ?? 0));
        if (level > 0) apart[level] = (apart[level] ?? 0) + 1;
      });
      assert.equal(apart, g.fromPil, `${name} ${g.size} ${g.filter}`);
    }
  }
});

test('several images share one tensor', () => {
  const a = lcgImage(30, 20, 1);
  const b = lcgImage(20, 40, 2);
  const table = normalizationTable(norms.pil);
  const g = { size: 8, min: 1, max: 4 };
  const [la, lb] = [layoutOf(a, g, 'hf'), layoutOf(b, g, 'hf')];
  const both = new Float32Array(tileElements(la) + tileElements(lb));
  const middle = writeTiles(a, la, table, kernels, both);
  assert.is(middle, tileElements(la));
  assert.is(writeTiles(b, lb, table, kernels, both, middle), both.length);
  assert.is(sha256(both.slice(middle)), sha256(imageTiles(b, lb, norms.pil, kernels)));
});

test('a padded view places the picture on its ground', () => {
  const image = lcgImage(4, 2, 3);
  const view = {
    resize: { width: 4, height: 2, filter: 'bicubic' as const },
    pad: { width: 6, height: 5, left: 1, top: 2, fill: [1, 2, 3] as const },
    crops: [],
  };
  const canvas = renderView(image, view, kernels);
  assert.equal([canvas.width, canvas.height], [6, 5]);
  assert.equal([...canvas.data.slice(0, 3)], [1, 2, 3]);
  assert.equal([...canvas.data.slice((2 * 6 + 1) * 3, (2 * 6 + 5) * 3)], [...image.data.slice(0, 12)]);
  assert.equal([...canvas.data.slice(-3)], [1, 2, 3]);
});

test('wrong layouts and short tensors are refused', () => {
  const image = lcgImage(30, 20, 1);
  const layout = layoutOf(image, { size: 8, min: 1, max: 4 }, 'hf');
  const table = normalizationTable(norms.pil);
  const code = (work: () => unknown, expected: string) =>
    assert.throws(work, (e: unknown) => e instanceof VlmError && e.code === expected);
  const enough = new Float32Array(tileElements(layout));
  code(() => writeTiles(lcgImage(31, 20, 1), layout, table, kernels, enough), 'INTERNAL');
  code(() => writeTiles(image, layout, table, kernels, enough, 1), 'TENSOR_INVALID');
  const [view] = layout.views;
  assert.ok(view);
  const outside = { ...layout, views: [{ ...view, crops: [{ x: 9, y: 0, width: 8, height: 8 }] }] };
  code(() => writeTiles(image, outside, table, kernels, enough), 'INTERNAL');
});

test.run();
