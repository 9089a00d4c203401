// The emulator, and the binding's own C++ over it, under ASan and UBSan: open/run/close cycles, stale handles, every
// function failing with every status, deviations, mutated program files. Usage: node scripts/checks/emulator-cycles.mjs [CYCLES [MUTATIONS]]
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const source = fileURLToPath(new URL('../../native/emulator', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'vlm-emulator-'));
const cycles = process.argv[2] ?? '10000';
const mutations = process.argv[3] ?? '10000';
try {
  const text = Buffer.from(
    'name echo\ncompute echo\ncores 16\ndevices 1\nmemory 1000\nbinding 0 in 0 16 0 x\nbinding 1 out 0 16 0 y\nshape 0:4 0:4\n',
  );
  const head = Buffer.alloc(16);
  head.write('VLMEMQPC', 'latin1');
  head.writeUInt32LE(1, 8);
  head.writeUInt32LE(text.length, 12);
  const io = Buffer.from([4, 0, 0, 0, 26, 2, 120, 120]);
  writeFileSync(join(folder, 'programqpc.bin'), Buffer.concat([head, text, io]));
  const flags = ['-std=c++17', '-g', '-O1', '-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-pthread'];
  const binary = join(folder, 'harness');
  const own = readdirSync(source).filter((name) => name.endsWith('.cc'));
  // The binding without its Node-API face.
  const binding = ['half.cc', 'program.cc', 'sdk.cc'].map((name) => join('..', 'ai100', name));
  const sources = [...own, ...binding].map((name) => join(source, name));
  execFileSync(process.env.CXX || 'c++', [...flags, ...sources, '-o', binary]);
  const out = execFileSync(binary, [folder, cycles, mutations], { timeout: 300_000, encoding: 'utf8' });
  process.stdout.write(out);
  if (!out.includes(`${Number(cycles)} cycles`) || !(Number(cycles) > 0)) throw new Error(`not ${cycles} cycles`);
} catch (error) {
  console.error(`${error.stdout ?? ''}${error.stderr ?? error.message}`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
