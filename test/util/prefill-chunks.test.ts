import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { chunkLengths } from '../../src/util/prefill-chunks.js';

const IMAGE = 9;
const lengths = (most: number, ...ids: number[]): readonly number[] =>
  chunkLengths({ ids: Int32Array.from(ids), imageTokenId: IMAGE }, most);
const words = (count: number): number[] => Array<number>(count).fill(1);

test('calls have the exact length', () => {
  assert.equal(lengths(128, ...words(300)), [128, 128, 44]);
  assert.equal(lengths(128, ...words(128)), [128]);
  assert.equal(lengths(128, 1), [1]);
  assert.equal(lengths(128), []);
  assert.equal(lengths(0, 1, 1), [1, 1], 'a length that no manifest allows ends all the same');
});

test('no call is one image token alone, unless there is nothing left to go with it', () => {
  assert.equal(lengths(1, 1, IMAGE, IMAGE, IMAGE, 1, 1), [1, 2, 2, 1]);
  assert.equal(lengths(2, 1, 1, IMAGE, IMAGE, IMAGE, 1), [2, 2, 2]);
  assert.equal(lengths(4, 1, 1, 1, 1, IMAGE), [4, 1]);
  assert.equal(chunkLengths({ ids: Int32Array.of(IMAGE, IMAGE), imageTokenId: -1 }, 1), [1, 1], 'no image token');
});

test.run();
