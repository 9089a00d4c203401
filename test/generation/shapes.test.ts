import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ProgramDescription, ShapeSet } from '../../src/contracts/device.js';
import { chooseBatch, chooseDecodeShape, choosePrefillShape } from '../../src/generation/shapes.js';
import { codeOf } from '../text/helpers.js';

/** A program whose first layer looks back within a chunk of 96 positions. */
function chunked(seqLens: readonly number[], ctxLen: number): ProgramDescription {
  const set = (seq: number): ShapeSet => ({
    name: seq === 1 ? 'Decode' : 'Prefill',
    symbols: { batch_size: 1, seq_len: seq, ctx_len: ctxLen },
    shapes: { input_ids: [1, seq], 'past_key.0': [1, 2, 96, 8], 'past_key.1': [1, 2, ctxLen, 8] },
  });
  return {
    role: 'language',
    inputs: [],
    outputs: [],
    allowedShapes: seqLens.map(set),
    calls: 'padded',
    weightBytes: 0,
    stateBytesPerToken: 0,
    emulated: false,
  };
}

test('caches of two lengths: the longest is the context that a program was compiled for', () => {
  const program = chunked([32, 1], 768);
  assert.is(chooseBatch(program, 1, 768), 1);
  assert.is(choosePrefillShape(program, 1, 768, 128, 0, 20).name, 'Prefill');
  assert.is(chooseDecodeShape(program, 1, 768, 500).name, 'Decode');
  assert.is(codeOf(() => chooseBatch(program, 1, 96)).code, 'SHAPE_NOT_ALLOWED');
});

test.run();
