// Builds native/memory into build/native/vlm_memory.node with the plain C++ compiler.
import { join } from 'node:path';
import { addonFlags, asScript, built, COMMON, compile, findCompiler, root } from './shared/toolchain.mjs';

const source = join(root, 'native', 'memory', 'addon.cc');
const OTHERWISE = 'the processor decodes with the memory settings of the system, the same tokens';

/** Resolves to one line that says what happened; throws on failure. */
export async function build() {
  const compiler = await findCompiler();
  if (compiler.version === null) return `memory settings: no C++ compiler (${compiler.command}); ${OTHERWISE}`;
  const link = process.platform === 'darwin' ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared'];
  const args = [...COMMON, '-O2', '-fno-rtti', ...addonFlags(), ...link, source];
  const output = join(built, 'vlm_memory.node');
  const seconds = await compile(compiler, { output, args, files: [source], purpose: OTHERWISE });
  if (seconds === null) return 'memory settings: up to date';
  return `memory settings: built in ${seconds.toFixed(1)} s (${compiler.version})`;
}

await asScript(import.meta.url, build);
