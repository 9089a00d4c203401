// Builds native/image into build/native/vlm_image.node with the plain C++ compiler.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { addonFlags, asScript, built, COMMON, compile, findCompiler, root } from './shared/toolchain.mjs';

const source = join(root, 'native', 'image');
const OTHERWISE = 'images are resized in TypeScript, with the same pixels';

/** Resolves to one line that says what happened; throws on failure. */
export async function build() {
  const compiler = await findCompiler();
  if (compiler.version === null) return `image kernels: no C++ compiler (${compiler.command}); ${OTHERWISE}`;
  const files = readdirSync(source)
    .sort()
    .map((name) => join(source, name));
  const link = process.platform === 'darwin' ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared'];
  const sources = files.filter((file) => file.endsWith('.cc'));
  const args = [...COMMON, '-O3', '-fno-rtti', ...addonFlags(), ...link, ...sources];
  const output = join(built, 'vlm_image.node');
  const seconds = await compile(compiler, { output, args, files, purpose: OTHERWISE });
  if (seconds === null) return 'image kernels: up to date';
  return `image kernels: built in ${seconds.toFixed(1)} s (${compiler.version})`;
}

await asScript(import.meta.url, build);
