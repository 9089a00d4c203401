/** Whether the ports of a program are those of one half of a model, and what to do where they are not. */
import type { ProgramRole } from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';

export interface PortNames {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

const NEEDED: Readonly<Record<ProgramRole, PortNames>> = {
  vision: { inputs: ['pixel_values'], outputs: ['vision_embeds'] },
  language: { inputs: ['input_ids', 'position_ids'], outputs: ['logits'] },
};

/** Throws PROGRAM_INVALID. Names are those of the contract, without prefixes. */
export function checkHalf(role: ProgramRole, ports: PortNames, where: string): void {
  const needed = NEEDED[role];
  const isWhole = ports.inputs.includes('pixel_values') && ports.inputs.includes('input_ids');
  const isComplete =
    needed.inputs.every((name) => ports.inputs.includes(name)) &&
    needed.outputs.every((name) => ports.outputs.includes(name));
  if (isComplete && !isWhole) return;
  throw new VlmError('PROGRAM_INVALID', {
    what: `A file is not the ${role} half of a model`,
    expected: `inputs ${needed.inputs.join(', ')} and an output ${needed.outputs.join(', ')}`,
    received: `inputs ${ports.inputs.join(', ')}; outputs ${ports.outputs.join(', ')}`,
    where,
    hint: isWhole ? ONE_PROGRAM : ports.outputs.includes('next_tokens') ? SAMPLER : HALVES,
  });
}

const HALVES = 'give the vision and the language program each their own file';
const ONE_PROGRAM =
  'this is one program for picture and text (QEfficient: kv_offload=False); export the two halves with kv_offload=True';
const SAMPLER =
  'this program picks tokens itself (QEfficient: include_sampler); export it without, the host samples here';

/** One row of logits a sequence. Throws PROGRAM_INVALID for a program that gives one for every position. */
export function checkLogits(dims: readonly number[], where: string): void {
  if (dims.length === 3 && dims[1] === 1) return;
  throw new VlmError('PROGRAM_INVALID', {
    what: 'A language program gives other logits than those of the last position',
    expected: '[batch, 1, vocabulary]',
    received: `[${dims.join(', ')}]`,
    where: `${where}: logits`,
    hint: 'export it so that it keeps the logits of the largest position alone, as QEfficient does',
  });
}
