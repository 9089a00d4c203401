// Builds native/emulator: the emulated card (a shared library) and its control addon, with the plain C++ compiler.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const source = join(root, 'native', 'emulator');
const folder = join(root, 'build', 'native');
const TIMEOUT_MS = 180_000;

function packageFolder(name) {
  return dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
}

const COMMON = ['-std=c++17', '-O2', '-fPIC', '-fvisibility=hidden', '-fno-exceptions', '-Wall', '-Wextra', '-pthread'];

/** All of the card but the program that drives it from C++. */
function sources() {
  return readdirSync(source)
    .filter((name) => name.endsWith('.cc') && !name.startsWith('harness'))
    .sort()
    .map((name) => join(source, name));
}

function parts() {
  return [
    {
      output: join(folder, 'libvlm_aic_emulator.so'),
      args: [...COMMON, '-shared', ...sources()],
    },
    {
      output: join(folder, 'vlm_aic_emulator.node'),
      args: [
        ...[...COMMON, '-DNAPI_VERSION=8', '-DNAPI_DISABLE_CPP_EXCEPTIONS', '-DNODE_ADDON_API_DISABLE_DEPRECATED'],
        ...[
          '-isystem',
          join(packageFolder('node-api-headers'), 'include'),
          '-isystem',
          packageFolder('node-addon-api'),
        ],
        ...['-shared', join(source, 'addon', 'control.cc'), '-ldl'],
      ],
    },
  ];
}

function fingerprint(compiler, args) {
  const hash = createHash('sha256').update(`${compiler}\0${process.platform}-${process.arch}\0${args.join('\0')}`);
  const own = readdirSync(source).filter((name) => /\.(cc|h)$/.test(name));
  const files = [...own.sort(), join('addon', 'control.cc'), join('..', 'ai100', 'qaic_abi.h')];
  for (const file of files) hash.update(`\0${file}\0`).update(readFileSync(join(source, file)));
  return hash.digest('hex');
}

async function compile(compiler, version, { output, args }) {
  const stamp = `${output}.stamp`;
  const wanted = fingerprint(version, args);
  if (existsSync(output) && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return false;
  const draft = `${output}.${process.pid}.tmp`;
  try {
    await run(compiler, [...args, '-o', draft], { timeout: TIMEOUT_MS, maxBuffer: 1 << 24 });
    renameSync(draft, output);
    writeFileSync(stamp, wanted);
    return true;
  } catch (error) {
    const reason = String(error.stderr || error.message)
      .trim()
      .split('\n')
      .slice(0, 12)
      .join('\n');
    throw new Error(`the compiler failed; there is no emulated card\n${reason}`);
  } finally {
    rmSync(draft, { force: true });
  }
}

/** Compiles what is not up to date. Resolves to one line that says what happened; throws on failure. */
export async function build() {
  if (process.platform !== 'linux') return 'card emulator: not built, it runs on Linux only';
  const compiler = process.env.CXX || 'c++';
  let version;
  try {
    version = (await run(compiler, ['--version'], { timeout: 20_000 })).stdout.split('\n')[0];
  } catch {
    return `card emulator: not built, no C++ compiler (${compiler}); the cpu device is not affected`;
  }
  mkdirSync(folder, { recursive: true });
  let built = 0;
  for (const part of parts()) if (await compile(compiler, version, part)) built++;
  return built === 0 ? 'card emulator: up to date' : `card emulator: built (${version})`;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  console.error(await build());
}
