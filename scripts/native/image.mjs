// Builds native/image into build/native/vlm_image.node with the plain C++ compiler.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const source = join(root, 'native', 'image');
const output = join(root, 'build', 'native', 'vlm_image.node');
const TIMEOUT_MS = 180_000;

/** Folder of an installed package, wherever npm put it. */
function packageFolder(name) {
  return dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
}

function compilerArguments(target) {
  const files = readdirSync(source).filter((f) => f.endsWith('.cc'));
  const link = process.platform === 'darwin' ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared'];
  return [
    ...['-std=c++17', '-O3', '-fPIC', '-fvisibility=hidden', '-fno-exceptions', '-fno-rtti', '-Wall', '-Wextra'],
    ...['-DNAPI_VERSION=8', '-DNAPI_DISABLE_CPP_EXCEPTIONS', '-DNODE_ADDON_API_DISABLE_DEPRECATED'],
    ...['-isystem', join(packageFolder('node-api-headers'), 'include'), '-isystem', packageFolder('node-addon-api')],
    ...link,
    ...files.sort().map((f) => join(source, f)),
    ...['-o', target],
  ];
}

/** Digest of everything that the binary depends on. */
function fingerprint(compiler, args) {
  const hash = createHash('sha256').update(`${compiler}\0${process.platform}-${process.arch}\0${args.join('\0')}`);
  for (const file of readdirSync(source).sort()) hash.update(`\0${file}\0`).update(readFileSync(join(source, file)));
  return hash.digest('hex');
}

/** Compiles unless the binary is up to date already. Resolves to one line that says what happened; throws on failure. */
export async function build() {
  const compiler = process.env.CXX || 'c++';
  let version;
  try {
    version = (await run(compiler, ['--version'], { timeout: 20_000 })).stdout.split('\n')[0];
  } catch {
    return `image kernels: no C++ compiler (${compiler}); images are resized in TypeScript, with the same pixels`;
  }
  const stamp = `${output}.stamp`;
  const wanted = fingerprint(version, compilerArguments(output));
  if (existsSync(output) && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) {
    return 'image kernels: up to date';
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
      .slice(0, 5)
      .join('\n');
    throw new Error(`the compiler failed; images are resized in TypeScript, with the same pixels\n${reason}`);
  } finally {
    rmSync(draft, { force: true });
  }
  return `image kernels: built in ${((Date.now() - started) / 1000).toFixed(1)} s (${version})`;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  console.error(await build());
}
