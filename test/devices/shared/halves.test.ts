import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cpuDriver } from '../../../src/devices/cpu/index.js';
import { checkHalf, checkLogits } from '../../../src/devices/shared/halves.js';
import { codeOf } from '../../text/helpers.js';
import { fixture, rejects } from '../conformance.js';

/** Ports as QEfficient names them. */
const states = ['past_key.0', 'past_value.0'];
const language = ['input_ids', 'vision_embeds', 'position_ids', 'image_idx', ...states];
const kept = states.map((name) => `${name}_RetainedState`);

const hint = (run: () => void): string => codeOf(run).toData().hint ?? '';

test('the halves of a model pass, each in its own place', () => {
  checkHalf('vision', { inputs: ['pixel_values', 'image_sizes'], outputs: ['vision_embeds'] }, 'v.onnx');
  checkHalf('language', { inputs: language, outputs: ['logits', 'image_idx_output', ...kept] }, 'l.onnx');
  const swapped = () => checkHalf('vision', { inputs: language, outputs: ['logits', ...kept] }, 'l.onnx');
  assert.is(codeOf(swapped).code, 'PROGRAM_INVALID');
  assert.match(hint(swapped), /file/);
});

test('one program for picture and text is told how to become two, whichever half it is named as', () => {
  const inputs = ['input_ids', 'pixel_values', 'position_ids', 'image_idx', ...states];
  const outputs = ['logits', 'pixel_values_RetainedState', 'image_idx_output', ...kept];
  for (const role of ['vision', 'language'] as const) {
    assert.match(
      hint(() => checkHalf(role, { inputs, outputs }, 'model.onnx')),
      /kv_offload=True/,
    );
  }
});

test('a program that picks tokens itself is told to leave that to the host', () => {
  const ports = { inputs: [...language, 'temperatures', 'top_ks'], outputs: ['next_tokens', 'probs', ...kept] };
  assert.match(
    hint(() => checkHalf('language', ports, 'model.onnx')),
    /include_sampler/,
  );
});

test('logits of every position are refused instead of read as those of the last', () => {
  checkLogits([4, 1, 48], 'l.onnx');
  for (const dims of [
    [1, 7, 48],
    [7, 48],
  ]) {
    assert.is(codeOf(() => checkLogits(dims, 'l.onnx')).code, 'PROGRAM_INVALID');
  }
});

test('a device refuses the wrong half when it opens it', async () => {
  await rejects(
    cpuDriver.open({ role: 'language', path: fixture('vision-rank3.onnx') }, { kind: 'cpu' }),
    'PROGRAM_INVALID',
  );
});

test.run();
