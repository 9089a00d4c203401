import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../../src/contracts/errors.js';
import { internvlLayout, type TilingOptions } from '../../../src/families/internvl/geometry.js';
import { golden, sha256 } from '../../image/goldens.js';

const test = suite('internvl geometry');
const base: TilingOptions = {
  tileSize: 448,
  minTiles: 1,
  maxTiles: 12,
  useThumbnail: true,
  filter: 'bicubic',
  imageTokens: 256,
  variant: 'opengvlab',
};

/** The sizes of tools/reference/images.py, in its order. */
function sizes(): [number, number][] {
  const list: [number, number][] = [];
  for (let w = 1; w <= 40; w++) for (let h = 1; h <= 40; h++) list.push([w, h]);
  for (let w = 1; w <= 20; w++) for (let h = 1; h <= 20; h++) list.push([w * 100, h * 100]);
  const others = [
    [1920, 1080],
    [4032, 3024],
    [448, 448],
    [449, 448],
    [896, 448],
    [10000, 37],
    [37, 10000],
    [896, 1008],
    [1008, 896],
    [897, 1008],
    [1008, 897],
  ] as const;
  return [...list, ...others.map(([w, h]): [number, number] => [w, h])];
}

test('grids equal both references, ties included', () => {
  type Range = { min: number; max: number; opengvlab: string; hf: string };
  const { ranges, tileSize } = golden<{ ranges: Range[]; tileSize: number }>('grids.json');
  assert.ok(ranges.length >= 30);
  for (const { min, max, ...digests } of ranges) {
    for (const variant of ['opengvlab', 'hf'] as const) {
      const options = { ...base, tileSize, minTiles: min, maxTiles: max, variant };
      const text = sizes().map(([w, h]) => internvlLayout(w, h, options).grid.join('x'));
      assert.is(sha256(Buffer.from(text.join(';'))), digests[variant], `${variant} ${min}..${max}`);
    }
  }
});

test('a wide picture: tiles row by row, then the thumbnail', () => {
  const layout = internvlLayout(1200, 800, base);
  assert.equal(layout.grid, [3, 2]);
  assert.is(layout.tiles, 7);
  assert.is(layout.visionTokens, 7 * 256);
  assert.equal(layout.tileSize, { width: 448, height: 448 });
  const [grid, thumbnail] = layout.views;
  assert.equal(grid?.resize, { width: 1344, height: 896, filter: 'bicubic' });
  assert.equal(
    grid?.crops.map((c) => [c.x, c.y]),
    [
      [0, 0],
      [448, 0],
      [896, 0],
      [0, 448],
      [448, 448],
      [896, 448],
    ],
  );
  assert.equal(thumbnail, {
    resize: { width: 448, height: 448, filter: 'bicubic' },
    crops: [{ x: 0, y: 0, width: 448, height: 448 }],
  });
});

test('one tile has no thumbnail, and the thumbnail can be left out', () => {
  assert.is(internvlLayout(448, 448, base).tiles, 1);
  assert.is(internvlLayout(448, 448, base).views.length, 1);
  assert.is(internvlLayout(1200, 800, { ...base, useThumbnail: false }).tiles, 6);
  assert.is(internvlLayout(5000, 10, { ...base, maxTiles: 1 }).tiles, 1);
});

test('tiles need not be square', () => {
  const layout = internvlLayout(100, 50, { ...base, tileSize: { width: 20, height: 10 }, maxTiles: 2, variant: 'hf' });
  assert.equal(layout.grid, [2, 1]);
  assert.equal(layout.views[0]?.resize, { width: 40, height: 10, filter: 'bicubic' });
});

test('impossible ranges and sizes are refused', () => {
  const code = (work: () => unknown, expected: string) =>
    assert.throws(work, (e: unknown) => e instanceof VlmError && e.code === expected);
  code(() => internvlLayout(10, 10, { ...base, minTiles: 5, maxTiles: 4 }), 'OPTION_INVALID');
  code(() => internvlLayout(10, 10, { ...base, minTiles: 0 }), 'OPTION_INVALID');
  code(() => internvlLayout(10, 10, { ...base, maxTiles: 1e9 }), 'OPTION_INVALID');
  code(() => internvlLayout(0, 10, base), 'INTERNAL');
  code(() => internvlLayout(10.5, 10, base), 'INTERNAL');
});

test.run();
