// Builds native/emulator: the emulated card (a shared library) and its control addon, with the plain C++ compiler.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { addonFlags, asScript, built, COMMON, compile, findCompiler, root } from './shared/toolchain.mjs';

const source = join(root, 'native', 'emulator');
const control = join(source, 'addon', 'control.cc');

function parts() {
  const own = readdirSync(source).filter((name) => /\.(cc|h)$/.test(name));
  const files = [...own.sort().map((name) => join(source, name)), control, join(root, 'native', 'ai100', 'qaic_abi.h')];
  // All of the card but the program that drives it from C++.
  const card = own.filter((name) => name.endsWith('.cc') && !name.startsWith('harness')).map((n) => join(source, n));
  const flags = [...COMMON, '-O2', '-pthread'];
  const purpose = 'there is no emulated card';
  return [
    { output: join(built, 'libvlm_aic_emulator.so'), args: [...flags, '-shared', ...card], files, purpose },
    {
      output: join(built, 'vlm_aic_emulator.node'),
      args: [...flags, ...addonFlags(), '-shared', control, '-ldl'],
      files,
      purpose,
    },
  ];
}

/** Resolves to one line that says what happened; throws on failure. */
export async function build() {
  if (process.platform !== 'linux') return 'card emulator: not built, it runs on Linux only';
  const compiler = await findCompiler();
  if (compiler.version === null) {
    return `card emulator: not built, no C++ compiler (${compiler.command}); the cpu device is not affected`;
  }
  let made = 0;
  for (const part of parts()) if ((await compile(compiler, part)) !== null) made++;
  return made === 0 ? 'card emulator: up to date' : `card emulator: built (${compiler.version})`;
}

await asScript(import.meta.url, build);
