// Builds native/ai100 into build/native/vlm_ai100.node with the plain C++ compiler. The card SDK is not needed: its
// library is loaded at run time, and its header is used only where it is found.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const source = join(root, 'native', 'ai100');
const output = join(root, 'build', 'native', 'vlm_ai100.node');
const SDK = process.env.QAIC_SDK_INCLUDE || '/opt/qti-aic/dev/inc';
const TIMEOUT_MS = 180_000;

function packageFolder(name) {
  return dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
}

function compilerArguments(target) {
  const files = readdirSync(source).filter((f) => f.endsWith('.cc'));
  return [
    ...['-std=c++17', '-O2', '-fPIC', '-fvisibility=hidden', '-fno-exceptions', '-fno-rtti', '-Wall', '-Wextra'],
    ...['-DNAPI_VERSION=8', '-DNAPI_DISABLE_CPP_EXCEPTIONS', '-DNODE_ADDON_API_DISABLE_DEPRECATED', '-pthread'],
    ...['-isystem', join(packageFolder('node-api-headers'), 'include'), '-isystem', packageFolder('node-addon-api')],
    ...['-isystem', SDK, '-shared'],
    ...files.sort().map((f) => join(source, f)),
    ...['-ldl', '-o', target],
  ];
}

/** Digest of everything that the binary depends on, the SDK's header among it. */
function fingerprint(compiler, args) {
  const hash = createHash('sha256').update(`${compiler}\0${process.platform}-${process.arch}\0${args.join('\0')}`);
  for (const file of readdirSync(source).sort()) hash.update(`\0${file}\0`).update(readFileSync(join(source, file)));
  const header = join(SDK, 'QAicApi.h');
  if (existsSync(header)) hash.update(readFileSync(header));
  return hash.digest('hex');
}

/** Compiles unless the binary is up to date already. Resolves to one line that says what happened; throws on failure. */
export async function build() {
  if (process.platform !== 'linux') return 'ai100 binding: not built, Cloud AI 100 cards run on Linux only';
  const compiler = process.env.CXX || 'c++';
  let version;
  try {
    version = (await run(compiler, ['--version'], { timeout: 20_000 })).stdout.split('\n')[0];
  } catch {
    return `ai100 binding: not built, no C++ compiler (${compiler}); the cpu device is not affected`;
  }
  const stamp = `${output}.stamp`;
  const wanted = fingerprint(version, compilerArguments(output));
  if (existsSync(output) && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) {
    return 'ai100 binding: up to date';
  }
  mkdirSync(dirname(output), { recursive: true });
  const draft = `${output}.${process.pid}.tmp`;
  const started = Date.now();
  try {
    await run(compiler, compilerArguments(draft), { timeout: TIMEOUT_MS, maxBuffer: 1 << 24 });
    renameSync(draft, output);
    writeFileSync(stamp, wanted);
  } catch (error) {
    const reason = String(error.stderr || error.message)
      .trim()
      .split('\n')
      .slice(0, 12)
      .join('\n');
    throw new Error(`the compiler failed; the ai100 device cannot run\n${reason}`);
  } finally {
    rmSync(draft, { force: true });
  }
  const sdk = existsSync(join(SDK, 'QAicApi.h')) ? 'with the SDK header' : 'without the SDK header';
  return `ai100 binding: built in ${((Date.now() - started) / 1000).toFixed(1)} s, ${sdk} (${version})`;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  console.error(await build());
}
