/** The kit's graphs. Their results can be worked out by hand, exactly in float16 too. */
import type { ProgramRole } from '../../../contracts/device.js';
import type { Specialization } from '../compile/specializations.js';
import type { Graph, Value } from './onnx.js';

export interface Model {
  readonly role: ProgramRole;
  readonly graph: Graph;
  readonly specializations: readonly Specialization[];
}

const float = (name: string, dims: Value['dims']): Value => ({ name, type: 'float', dims });
const int64 = (name: string, dims: Value['dims']): Value => ({ name, type: 'int64', dims });

/**
 * Two inputs that come back as they are, one of which the compiler is told to take as float16. The names are those of a
 * vision program, so that the compiler driver treats it as one.
 */
export const ECHO: Model = {
  role: 'vision',
  graph: {
    name: 'selftest_echo',
    inputs: [float('pixel_values', ['num_patches', 3]), float('plain', ['num_patches', 5])],
    outputs: [float('vision_embeds', ['num_patches', 3]), float('plain_out', ['num_patches', 5])],
    constants: [{ name: 'one', type: 'float', dims: [1], values: [1] }],
    nodes: [
      { op: 'Mul', inputs: ['pixel_values', 'one'], output: 'vision_embeds' },
      { op: 'Mul', inputs: ['plain', 'one'], output: 'plain_out' },
    ],
  },
  specializations: [
    { name: 'Four', symbols: { num_patches: 4 } },
    { name: 'Two', symbols: { num_patches: 2 } },
  ],
};

export const CTX_LEN = 8;
export const HEAD_DIM = 4;
export const SEQ_LEN = 4;
export const ROWS = 4;
export const WIDTH = 2;
export const LOGITS = 3;

/**
 * A language program that shows what it keeps: each id is written into the cache at its position (a position of -1
 * nowhere), `logits` is [sum over the cache, sum over the vision rows, sum over the ids of this call].
 */
export const LANGUAGE: Model = {
  role: 'language',
  graph: {
    name: 'selftest_language',
    inputs: [
      int64('input_ids', ['batch_size', 'seq_len']),
      int64('position_ids', ['batch_size', 'seq_len']),
      float('vision_embeds', [1, 'vision_size', WIDTH]),
      int64('image_idx', [1, 1]),
      float('past_key.0', ['batch_size', 1, 'ctx_len', HEAD_DIM]),
    ],
    outputs: [
      float('logits', ['batch_size', 1, LOGITS]),
      float('vision_embeds_RetainedState', [1, 'vision_size', WIDTH]),
      int64('image_idx_output', [1, 1]),
      float('past_key.0_RetainedState', ['batch_size', 1, 'ctx_len', HEAD_DIM]),
    ],
    constants: [
      { name: 'one', type: 'float', dims: [1], values: [1] },
      { name: 'zero', type: 'float', dims: [1], values: [0] },
      { name: 'one_index', type: 'int64', dims: [1], values: [1] },
      { name: 'slots', type: 'float', dims: [CTX_LEN], values: Array.from({ length: CTX_LEN }, (_, i) => i) },
      { name: 'axis_1', type: 'int64', dims: [1], values: [1] },
      { name: 'axes_1_2', type: 'int64', dims: [2], values: [1, 2] },
      { name: 'axes_1_3', type: 'int64', dims: [2], values: [1, 3] },
      { name: 'axis_2', type: 'int64', dims: [1], values: [2] },
      { name: 'axes_2_3', type: 'int64', dims: [2], values: [2, 3] },
    ],
    nodes: [
      { op: 'Cast', inputs: ['input_ids'], output: 'ids', attributes: { to: 1 } },
      { op: 'Cast', inputs: ['position_ids'], output: 'positions', attributes: { to: 1 } },
      { op: 'Unsqueeze', inputs: ['positions', 'axes_1_3'], output: 'positions_4' },
      // [batch, 1, seq, ctx]: which token goes to which slot.
      { op: 'Equal', inputs: ['positions_4', 'slots'], output: 'same' },
      { op: 'Cast', inputs: ['same'], output: 'hits', attributes: { to: 1 } },
      { op: 'Unsqueeze', inputs: ['ids', 'axes_1_2'], output: 'ids_4' },
      { op: 'MatMul', inputs: ['ids_4', 'hits'], output: 'put_row' },
      { op: 'Transpose', inputs: ['put_row'], output: 'put', attributes: { perm: [0, 1, 3, 2] } },
      { op: 'ReduceSum', inputs: ['hits', 'axis_2'], output: 'hit_row', attributes: { keepdims: 1 } },
      { op: 'Transpose', inputs: ['hit_row'], output: 'hit', attributes: { perm: [0, 1, 3, 2] } },
      { op: 'Sub', inputs: ['one', 'hit'], output: 'free' },
      { op: 'Mul', inputs: ['past_key.0', 'free'], output: 'kept' },
      { op: 'Add', inputs: ['kept', 'put'], output: 'past_key.0_RetainedState' },
      {
        op: 'ReduceSum',
        inputs: ['past_key.0_RetainedState', 'axes_2_3'],
        output: 'cache_2',
        attributes: { keepdims: 0 },
      },
      { op: 'Unsqueeze', inputs: ['cache_2', 'axis_2'], output: 'cache_sum' },
      { op: 'Mul', inputs: ['cache_sum', 'zero'], output: 'nothing' },
      { op: 'ReduceSum', inputs: ['vision_embeds', 'axes_1_2'], output: 'rows_1', attributes: { keepdims: 1 } },
      { op: 'Add', inputs: ['rows_1', 'nothing'], output: 'rows_sum' },
      { op: 'ReduceSum', inputs: ['ids', 'axis_1'], output: 'ids_1', attributes: { keepdims: 1 } },
      { op: 'Unsqueeze', inputs: ['ids_1', 'axis_2'], output: 'ids_sum' },
      {
        op: 'Concat',
        inputs: ['cache_sum', 'rows_sum', 'ids_sum'],
        output: 'logits',
        attributes: { axis: 2 },
      },
      { op: 'Mul', inputs: ['vision_embeds', 'one'], output: 'vision_embeds_RetainedState' },
      { op: 'Add', inputs: ['image_idx', 'one_index'], output: 'image_idx_output' },
    ],
  },
  specializations: [
    {
      name: 'Prefill',
      symbols: { batch_size: 1, seq_len: SEQ_LEN, ctx_len: CTX_LEN, vision_size: ROWS },
    },
    { name: 'Decode', symbols: { batch_size: 1, seq_len: 1, ctx_len: CTX_LEN, vision_size: ROWS } },
  ],
};
