/** How InternVL's tensors meet the two programs, whatever ranks and fixed sizes an export chose. */
import type { ProgramDescription } from '../../contracts/device.js';
import type { Tensor } from '../../contracts/tensor.js';
import { tileInputs } from '../shared/vision-inputs.js';

export { leadingRows as visionRows } from '../shared/vision-rows.js';

export function visionInputs(pixels: Tensor<'float32'>, program: ProgramDescription): Readonly<Record<string, Tensor>> {
  return tileInputs(pixels, program, 'InternVL');
}
