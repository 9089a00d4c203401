// Builds native/ai100 into build/native/vlm_ai100.node with the plain C++ compiler. The card SDK is not needed: its
// library is loaded at run time, and its header is used only where it is found.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { addonFlags, asScript, built, COMMON, compile, findCompiler, root } from './shared/toolchain.mjs';

const source = join(root, 'native', 'ai100');

/** Resolves to one line that says what happened; throws on failure. `output`: another place of the binary (tests). */
export async function build(output = join(built, 'vlm_ai100.node')) {
  if (process.platform !== 'linux') return 'ai100 binding: not built, Cloud AI 100 cards run on Linux only';
  const compiler = await findCompiler();
  if (compiler.version === null) {
    return `ai100 binding: not built, no C++ compiler (${compiler.command}); the cpu device is not affected`;
  }
  const sdk = process.env.QAIC_SDK_INCLUDE || '/opt/qti-aic/dev/inc';
  const header = join(sdk, 'QAicApi.h');
  const own = readdirSync(source).sort();
  const sources = own.filter((name) => name.endsWith('.cc')).map((name) => join(source, name));
  const args = [...COMMON, '-O2', '-fno-rtti', '-pthread', ...addonFlags(), '-isystem', sdk, '-shared', ...sources];
  const files = [...own.map((name) => join(source, name)), header];
  const purpose = 'the ai100 device cannot run';
  const seconds = await compile(compiler, { output, args: [...args, '-ldl'], files, purpose });
  if (seconds === null) return 'ai100 binding: up to date';
  const against = existsSync(header) ? 'with the SDK header' : 'without the SDK header';
  return `ai100 binding: built in ${seconds.toFixed(1)} s, ${against} (${compiler.version})`;
}

await asScript(import.meta.url, () => build(process.argv[2]));
