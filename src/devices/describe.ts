/** The ports of a program file, whatever made it, without a device and without its weights. */
import type { ProgramDescription, ProgramRole } from '../contracts/device.js';
import { VlmError } from '../contracts/errors.js';

/** null for a file that is not there or cannot be read without its device. Throws PROGRAM_INVALID. */
export async function describeFile(role: ProgramRole, path: string | null): Promise<ProgramDescription | null> {
  if (path === null) return null;
  if (path.endsWith('.onnx')) return (await import('./cpu/program.js')).readProgram({ role, path }).description;
  try {
    return await (await import('./ai100/index.js')).ai100Driver.inspect({ role, path }, { kind: 'ai100' });
  } catch (error) {
    // A compiled program tells its ports through the runtime of its device, which need not be here.
    if (error instanceof VlmError && error.code.startsWith('DEVICE_')) return null;
    throw error;
  }
}
