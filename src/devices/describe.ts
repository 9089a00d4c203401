/** The ports of a program file, whatever made it, without a device and without its weights. */
import type { ProgramDescription, ProgramRole } from '../contracts/device.js';
import { VlmError } from '../contracts/errors.js';

/** null for a file that is not there or cannot be read without its device. Throws PROGRAM_INVALID. */
export async function describeFile(role: ProgramRole, path: string | null): Promise<ProgramDescription | null> {
  if (path === null) return null;
  if (path.endsWith('.onnx')) return (await import('./cpu/program.js')).readProgram({ role, path }).description;
  try {
    const [{ ai100Driver }, { isEmulatedFile, qpcFile }] = await Promise.all([
      import('./ai100/index.js'),
      import('./ai100/description.js'),
    ]);
    const source = { role, path };
    return await ai100Driver.inspect(source, { kind: 'ai100', emulated: isEmulatedFile(qpcFile(source)) });
  } catch (error) {
    // A compiled program tells its ports through the runtime of its device, which need not be here.
    if (error instanceof VlmError && error.code.startsWith('DEVICE_')) return null;
    throw error;
  }
}
