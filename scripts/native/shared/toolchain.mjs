// What the builders of the native parts have in common: the plain C++ compiler, the headers of Node-API from npm, and
// binaries that are made under another name and carry a stamp of everything they were made of.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const TIMEOUT_MS = 180_000;
/** Lines of the compiler that are shown when it fails: the first error is in them. */
const SHOWN = 12;

export const root = fileURLToPath(new URL('../../..', import.meta.url));
export const built = join(root, 'build', 'native');

/** Flags of all parts: nothing is exported by accident. */
export const COMMON = ['-std=c++17', '-fPIC', '-fvisibility=hidden', '-fno-exceptions', '-Wall', '-Wextra'];

/** Folder of an installed package, wherever npm put it. */
function packageFolder(name) {
  return dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
}

/** Flags of an addon of Node.js. */
export function addonFlags() {
  return [
    ...['-DNAPI_VERSION=8', '-DNAPI_DISABLE_CPP_EXCEPTIONS', '-DNODE_ADDON_API_DISABLE_DEPRECATED'],
    ...['-isystem', join(packageFolder('node-api-headers'), 'include'), '-isystem', packageFolder('node-addon-api')],
  ];
}

/** { command, version } of the C++ compiler (CXX, else c++), or { command, version: null } without one. */
export async function findCompiler() {
  const command = process.env.CXX || 'c++';
  try {
    return { command, version: (await run(command, ['--version'], { timeout: 20_000 })).stdout.split('\n')[0] };
  } catch {
    return { command, version: null };
  }
}

/** Digest of everything that the binary depends on. */
function fingerprint(compiler, args, files) {
  const hash = createHash('sha256');
  hash.update(`${compiler.command} ${compiler.version}\0${process.platform}-${process.arch}\0${args.join('\0')}`);
  for (const file of files) hash.update(`\0${file}\0`).update(existsSync(file) ? readFileSync(file) : '');
  return hash.digest('hex');
}

/**
 * Compiles unless `output` is up to date with `args` (all but -o) and `files` (sources and headers). Resolves to the
 * seconds that it took, or null; throws with `purpose` and the compiler's first words.
 */
export async function compile(compiler, { output, args, files, purpose }) {
  const stamp = `${output}.stamp`;
  const wanted = fingerprint(compiler, args, files);
  if (existsSync(output) && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return null;
  mkdirSync(dirname(output), { recursive: true });
  const draft = `${output}.${process.pid}.tmp`;
  const started = Date.now();
  try {
    await run(compiler.command, [...args, '-o', draft], { timeout: TIMEOUT_MS, maxBuffer: 1 << 24 });
    renameSync(draft, output);
    writeFileSync(stamp, wanted);
  } catch (error) {
    const words = String(error.stderr || error.message)
      .trim()
      .split('\n')
      .slice(0, SHOWN)
      .join('\n');
    throw new Error(`the compiler failed; ${purpose}\n${words}`);
  } finally {
    rmSync(draft, { force: true });
  }
  return (Date.now() - started) / 1000;
}

/** Builds when the module is the script that was started. */
export async function asScript(url, build) {
  if (process.argv[1] !== undefined && url === pathToFileURL(process.argv[1]).href) console.error(await build());
}
