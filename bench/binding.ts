// What the binding adds to a decode step: a session of the ai100 device with 56 skipped caches against a plain C++ loop
// on the same library. The library is the small runtime of the tests: it computes nothing, and no figure here is that
// of a card. Usage: node .build/bench/binding.js [STEPS]
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { Tensor } from '../src/contracts/tensor.js';
import { ai100Driver } from '../src/devices/ai100/index.js';
import { loadAddon } from '../src/devices/ai100/library.js';
import { packageRoot } from '../src/util/package-root.js';
import { buildRuntime, compiler, folder, lacking, languageProgram } from '../test/devices/ai100/fake.js';

const steps = Number(process.argv[2] ?? 20_000);
const CACHES = 28;
const AIM_US = 15;
let allocations = 0;

async function main(): Promise<void> {
  const missing = lacking();
  if (missing !== null) {
    console.log(`not measured: ${missing}`);
    return;
  }
  const temp = folder();
  try {
    const library = buildRuntime(temp.path);
    const qpc = languageProgram(join(temp.path, 'language.bin'), CACHES);
    const loop = join(temp.path, 'plain_loop');
    const source = join(packageRoot(), 'test/fixtures/ai100/plain_loop.cc');
    execFileSync(compiler, ['-std=c++17', '-O2', source, '-ldl', '-o', loop]);
    const plain: number[] = [];
    const bound: number[] = [];
    for (let round = 0; round < 5; round++) {
      plain.push(
        Number(execFileSync(loop, [library, qpc, String(steps), '2', String(2 * CACHES)], { encoding: 'utf8' })),
      );
      bound.push(await session(library, qpc));
    }
    const [a, b] = [median(plain), median(bound)];
    console.log(`${2 * CACHES} skipped buffers, ${steps} steps, median of 5 rounds`);
    console.log(`plain C++ loop      ${a.toFixed(2)} us a step`);
    console.log(`ai100 session       ${b.toFixed(2)} us a step`);
    console.log(`more                ${(b - a).toFixed(2)} us a step (aim: at most ${AIM_US})`);
    console.log(`native allocations  ${allocations} in ${5 * steps} steps (aim: none)`);
    if (b - a > AIM_US || allocations > 0) process.exitCode = 1;
  } finally {
    temp.remove();
  }
}

async function session(library: string, qpc: string): Promise<number> {
  process.env.QAIC_LIB = library;
  const opened = await ai100Driver.open({ role: 'language', path: qpc }, { kind: 'ai100' });
  await opened.activate();
  const state = opened.createState(1, 32);
  const one = (): Tensor<'int64'> => ({ dtype: 'int64', dims: [1, 1], data: new BigInt64Array(1) });
  const inputs = { input_ids: one(), position_ids: one() };
  const step = async (s: number): Promise<void> => {
    inputs.input_ids.data[0] = BigInt(s);
    inputs.position_ids.data[0] = BigInt(s);
    await opened.run(state, inputs, [], { reduce: { kind: 'argmax' } });
  };
  for (let s = 0; s < 2000; s++) await step(s);
  const addon = loadAddon();
  const allocated = addon.allocations();
  const began = performance.now();
  for (let s = 0; s < steps; s++) await step(s);
  const took = ((performance.now() - began) * 1000) / steps;
  allocations += addon.allocations() - allocated;
  state.release();
  await opened.close();
  return took;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] as number;
}

await main();
