import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ProgramDescription } from '../../../../src/contracts/device.js';
import { VlmError } from '../../../../src/contracts/errors.js';
import { type CardProgram, loadCards } from '../../../../src/devices/ai100/planner/cards.js';
import { chooseTiles, tilesOf, wastePercent } from '../../../../src/devices/ai100/planner/tiles.js';
import { visionInputs } from '../../../../src/families/internvl/programs.js';

const test = suite('cards and tiles');

const program = (name: string, ids: readonly number[], cores: number): CardProgram => ({
  name,
  ids,
  cores,
  bytes: 10,
  cardBytes: 100,
  cardBytesKnown: true,
});

test('programs share a card when their cores add up to 16 at most', () => {
  const modes = (...programs: CardProgram[]) => loadCards(programs).map((c) => [c.card, c.cores, c.mode]);
  assert.equal(modes(program('v', [0], 8), program('l', [0], 8)), [[0, 16, 'shared']]);
  assert.equal(modes(program('v', [0], 8), program('l', [0], 9)), [[0, 17, 'swapped']]);
  assert.equal(modes(program('v', [1], 16), program('l', [0], 16)), [
    [0, 16, 'alone'],
    [1, 16, 'alone'],
  ]);
  assert.equal(modes(program('v', [0], 16), program('l', [0, 1], 16)), [
    [0, 32, 'swapped'],
    [1, 16, 'alone'],
  ]);
  assert.equal(loadCards([]), []);
});

test('memory of a card is that of its programs, unknown when one is', () => {
  const unknown = { ...program('l', [0], 8), bytes: null };
  assert.is(loadCards([program('v', [0], 8), program('l', [0], 8)])[0]?.bytes, 20);
  assert.is(loadCards([program('v', [0], 8), unknown])[0]?.bytes, null);
});

test('the planned tile count is the one that the family pads its pixels to', () => {
  for (const counts of [[1], [5, 1], [3, 7, 13]]) {
    for (const [rank, axis] of [
      [4, 'tiles'],
      [5, 'tiles'],
      // As a card describes its ports: at their largest.
      [4, Math.max(...counts)],
      [5, Math.max(...counts)],
    ] as const) {
      const sets = counts.map((n) => ({
        name: `Vision_${n}`,
        symbols: {},
        shapes: { pixel_values: rank === 4 ? [n, 3, 2, 2] : [1, n, 3, 2, 2] },
      }));
      const description: ProgramDescription = {
        role: 'vision',
        inputs: [
          {
            name: 'pixel_values',
            dtype: 'float32',
            dims: rank === 4 ? [axis, 3, 2, 2] : [1, axis, 3, 2, 2],
          },
        ],
        outputs: [],
        allowedShapes: sets,
        calls: 'padded',
        weightBytes: 0,
        stateBytesPerToken: 0,
        emulated: true,
      };
      for (let tiles = 1; tiles <= 14; tiles++) {
        const pixels = { dtype: 'float32', dims: [tiles, 3, 2, 2], data: new Float32Array(tiles * 12) } as const;
        const real = attempt(() => visionInputs(pixels, description).pixel_values?.dims.at(-4));
        assert.is(
          attempt(() => tilesOf(chooseTiles(description, tiles))),
          real,
        );
      }
    }
  }
});

function attempt<T>(work: () => T): T | string {
  try {
    return work();
  } catch (error) {
    assert.instance(error, VlmError);
    return (error as VlmError).code;
  }
}

test('waste in per cent, to a tenth', () => {
  assert.is(wastePercent(107, 128), 16.4);
  assert.is(wastePercent(5, 5), 0);
  assert.is(wastePercent(0, 0), 0);
});

test.run();
