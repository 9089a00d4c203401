/** Echo programs of one core: no ONNX Runtime, so that a case takes milliseconds. */
import { type EmulatedQpc, writeEmulatedQpc } from '../../../../src/devices/ai100/emulator/qpc.js';

const WIDTHS: Readonly<Record<number, number>> = { 0: 4, 7: 8 };

function program(
  role: 'vision' | 'language',
  ports: readonly (readonly [name: string, direction: 'in' | 'out', type: number, dims: readonly number[]])[],
): EmulatedQpc {
  return {
    role,
    name: role,
    compute: 'echo',
    cores: 1,
    devices: 1,
    memoryBytes: 1000,
    sets: [ports.map(([, , type, dims]) => ({ type, dims: [...dims] }))],
    bindings: ports.map(([name, direction, dtype, dims], index) => ({
      name,
      index,
      direction,
      dtype,
      dims,
      size: dims.reduce((n, d) => n * d, WIDTHS[dtype] ?? 4),
      partial: name.startsWith('past_'),
      quantScale: 0,
      quantOffset: 0,
    })),
  };
}

/** vision_embeds is pixel_values; logits are the two words of the id. */
export async function writeEchoPrograms(vision: string, language: string): Promise<void> {
  const pixels = program('vision', [
    ['pixel_values', 'in', 0, [2, 4]],
    ['vision_embeds', 'out', 0, [2, 4]],
  ]);
  const ids = program('language', [
    ['input_ids', 'in', 7, [1, 1]],
    ['position_ids', 'in', 7, [1, 1]],
    ['past_key.0', 'in', 0, [1, 1, 32, 8]],
    ['logits', 'out', 0, [1, 1, 2]],
    ['past_key.0_RetainedState', 'out', 0, [1, 1, 32, 8]],
  ]);
  await writeEmulatedQpc(vision, pixels);
  await writeEmulatedQpc(language, ids);
}
