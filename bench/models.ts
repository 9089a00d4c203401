/**
 * Models of true size with random weights: the cpu device against transformers on torch and against llama.cpp, in f32,
 * with as many threads each. Every round starts a process a side, one after the other, so that loading and peak memory
 * are each side's own. Greedy tokens must be those of torch, or the figures are not of one computation (exit
 * code 1); those of llama.cpp are compared up to the first that differs.
 *
 *   npx tsc -p tsconfig.json && node .build/bench/models.js SIZE --python PYTHON [--dir DIR] [--llama DIR] [--gguf DIR]
 *     [--prompt 512] [--steps 32] [--repeats 2] [--rounds 3] [--threads 2] [--layers N] [--log FILE] [--keep]
 *
 * SIZE: internvl-1b or granite-2b. DIR of --dir holds the models (made when missing; 15 to 30 GB), of --llama an
 * installed node-llama-cpp (installed into a temporary folder when not given; linux x64), of --gguf the `gguf` package.
 * --log appends what each process measured as it ends, one JSON line each: a run cut short keeps what it has.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type { ProgramRole } from '../src/contracts/device.js';
import type { Tensor } from '../src/contracts/tensor.js';
import { cpuDriver } from '../src/devices/cpu/index.js';
import { generate } from '../src/generation/index.js';
import { packageRoot } from '../src/util/package-root.js';

const LLAMA = '3.22.1';
const SIDES = ['vlm-run', 'torch', 'llama.cpp'] as const;
type Side = (typeof SIDES)[number];

interface Run {
  readonly prefillMs: number;
  readonly decodeMs: number;
  readonly tokens: readonly number[];
}

interface Memory {
  readonly VmHWM: number;
  readonly RssAnon: number;
  readonly RssFile: number;
}

interface Result {
  readonly loadMs: number;
  readonly loaded: Memory;
  readonly peak: Memory;
  readonly runs: readonly Run[];
  readonly encodeMs?: readonly number[];
  readonly imageTokens?: readonly number[];
  readonly version: string;
}

interface Made {
  readonly weights: number;
  readonly text: number;
  readonly vocab: number;
  readonly imageToken: number;
  readonly hidden: number;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    side: { type: 'string' },
    python: { type: 'string', default: 'python3' },
    dir: { type: 'string' },
    llama: { type: 'string' },
    gguf: { type: 'string' },
    prompt: { type: 'string', default: '512' },
    steps: { type: 'string', default: '32' },
    repeats: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
    layers: { type: 'string' },
    log: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
});
const size = positionals[0] ?? 'internvl-1b';
const [prompt, steps, repeats, rounds, threads] = [
  values.prompt,
  values.steps,
  values.repeats,
  values.rounds,
  values.threads,
].map(Number) as [number, number, number, number, number];

/** The same formula is in models.py. */
const promptIds = (count: number): number[] => Array.from({ length: count }, (_, i) => (i * 7919 + 13) % 40000);

function memory(): Memory {
  const text = readFileSync('/proc/self/status', 'utf8');
  const of = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0) * 1024;
  return { VmHWM: of('VmHWM'), RssAnon: of('RssAnon'), RssFile: of('RssFile') };
}

async function runOurs(dir: string, made: Made): Promise<Result> {
  const open = (role: ProgramRole) =>
    cpuDriver.open({ role, path: join(dir, 'onnx', `${role}.onnx`) }, { kind: 'cpu', threads });
  const began = performance.now();
  const vision = await open('vision');
  const language = await open('language');
  const loadMs = performance.now() - began;
  const loaded = memory();
  const go = async (ids: readonly number[], rows: Tensor | null, count: number): Promise<Run> => {
    const at = performance.now();
    let prefilled = at;
    const [result] = await generate(
      language,
      [{ ids: Int32Array.from(ids), imageTokenId: rows === null ? -1 : made.imageToken, vision: rows }],
      { prefillSeqLen: ids.length, ctxLen: ids.length + count + 1, maxNewTokens: count + 1, ignoreEos: true },
      { onPrefilled: () => (prefilled = performance.now()) },
    );
    return {
      prefillMs: prefilled - at,
      decodeMs: performance.now() - prefilled,
      tokens: Array.from(result?.ids ?? []),
    };
  };
  const runs: Run[] = [];
  for (let i = 0; i < repeats; i++) runs.push(await go(promptIds(prompt), null, steps));
  const image = size === 'internvl-1b' ? await withImage() : {};
  const { version } = JSON.parse(
    readFileSync(join(packageRoot(), 'node_modules/onnxruntime-node/package.json'), 'utf8'),
  ) as { version: string };
  return { loadMs, loaded, runs, ...image, peak: memory(), version: `onnxruntime-node ${version}` };

  async function withImage(): Promise<Pick<Result, 'encodeMs' | 'imageTokens'>> {
    const pixels: Tensor = {
      dtype: 'float32',
      dims: [1, 3, 448, 448],
      data: Float32Array.from({ length: 3 * 448 * 448 }, (_, i) => Math.sin(i)),
    };
    const encodeMs: number[] = [];
    let rows: Tensor | null = null;
    for (let i = 0; i < 2; i++) {
      const at = performance.now();
      const { outputs } = await vision.run(null, { pixel_values: pixels }, ['vision_embeds']);
      encodeMs.push(performance.now() - at);
      const embeds = outputs.vision_embeds as Tensor<'float32'>;
      rows = { dtype: 'float32', dims: embeds.dims.slice(-2), data: embeds.data.slice() };
    }
    const ids = [1, 2, ...new Array<number>(256).fill(made.imageToken), ...promptIds(32)];
    return { encodeMs, imageTokens: (await go(ids, rows, 16)).tokens };
  }
}

/** What is used of node-llama-cpp, which is no dependency of this project. */
interface LlamaModule {
  getLlama(options: object): Promise<{
    loadModel(options: object): Promise<{
      createContext(options: object): Promise<{ getSequence(): LlamaSequence; dispose(): Promise<void> }>;
    }>;
  }>;
}

interface LlamaSequence {
  clearHistory(): Promise<void>;
  evaluateWithoutGeneratingNewTokens(tokens: readonly number[]): Promise<void>;
  evaluate(tokens: readonly number[], options: object): AsyncIterable<number>;
}

async function runLlama(dir: string, installed: string): Promise<Result> {
  const entry = join(resolve(installed), 'node_modules/node-llama-cpp/dist/index.js');
  const { getLlama } = (await import(pathToFileURL(entry).href)) as LlamaModule;
  const began = performance.now();
  const llama = await getLlama({ gpu: false, build: 'never', skipDownload: true, maxThreads: threads });
  const model = await llama.loadModel({ modelPath: join(dir, 'text.gguf') });
  const context = await model.createContext({
    contextSize: prompt + steps + 32,
    batchSize: prompt,
    threads: { ideal: threads, min: threads },
    experimentalKvCacheKeyType: 'F32',
    experimentalKvCacheValueType: 'F32',
  });
  const loadMs = performance.now() - began;
  const loaded = memory();
  const sequence = context.getSequence();
  const ids = promptIds(prompt);
  const runs: Run[] = [];
  for (let i = 0; i < repeats; i++) {
    await sequence.clearHistory();
    const at = performance.now();
    await sequence.evaluateWithoutGeneratingNewTokens(ids.slice(0, -1));
    const prefilled = performance.now();
    const tokens: number[] = [];
    for await (const token of sequence.evaluate(ids.slice(-1), { temperature: 0, yieldEogTokens: true })) {
      tokens.push(token);
      if (tokens.length > steps) break;
    }
    // Its first step takes the last token of the prompt: one step more than the others make.
    const decodeMs = ((performance.now() - prefilled) * steps) / (steps + 1);
    runs.push({ prefillMs: ((prefilled - at) * prompt) / (prompt - 1), decodeMs, tokens });
  }
  const result = { loadMs, loaded, runs, peak: memory(), version: `node-llama-cpp ${LLAMA}` };
  await context.dispose();
  return result;
}

function call(command: string, args: readonly string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 26 });
}

const lastLine = <T>(text: string): T => JSON.parse(text.trim().split('\n').at(-1) ?? '') as T;

function spawnSide(side: Side, dir: string, llama: string): Result {
  const common = ['prompt', 'steps', 'repeats', 'threads'].flatMap((k) => [
    `--${k}`,
    String({ prompt, steps, repeats, threads }[k as 'prompt']),
  ]);
  if (side === 'torch') {
    const script = join(packageRoot(), 'bench/models.py');
    return lastLine(call(values.python, [script, 'run', size, dir, ...common]));
  }
  const self = fileURLToPath(import.meta.url);
  return lastLine(call(process.execPath, [self, size, '--side', side, '--dir', dir, '--llama', llama, ...common]));
}

function makeModels(dir: string): Made {
  const facts = join(dir, 'made.json');
  if (!existsSync(facts)) {
    mkdirSync(dir, { recursive: true });
    const args = [join(packageRoot(), 'bench/models.py'), 'make', size, dir];
    if (values.layers !== undefined) args.push('--layers', values.layers);
    if (values.gguf !== undefined) args.push('--gguf', values.gguf);
    writeFileSync(facts, JSON.stringify(lastLine(call(values.python, args))));
  }
  return JSON.parse(readFileSync(facts, 'utf8')) as Made;
}

function installLlama(folder: string): string {
  writeFileSync(join(folder, 'package.json'), '{"private":true}');
  const packages = [`node-llama-cpp@${LLAMA}`, `@node-llama-cpp/linux-x64@${LLAMA}`];
  execFileSync('npm', ['install', '--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund', ...packages], {
    cwd: folder,
    stdio: 'inherit',
  });
  return folder;
}

const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[list.length >> 1] ?? 0;

function prefixLength(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((id, i) => id !== b[i]);
  return at < 0 ? Math.min(a.length, b.length) : at;
}

/** The first run of a process pays for what is touched for the first time: it is left out when there are more. */
function figures(results: readonly Result[]) {
  const runs = results.flatMap((r) => (r.runs.length > 1 ? r.runs.slice(1) : r.runs));
  return {
    load: median(results.map((r) => r.loadMs)),
    prefill: (prompt * 1000) / median(runs.map((r) => r.prefillMs)),
    decode: (steps * 1000) / median(runs.map((r) => r.decodeMs)),
    encode: median(results.flatMap((r) => r.encodeMs?.slice(1) ?? [])),
    peak: median(results.map((r) => r.peak.VmHWM)),
    anon: median(results.map((r) => r.peak.RssAnon)),
  };
}

function report(made: Made, all: ReadonlyMap<Side, readonly Result[]>): boolean {
  const gb = (bytes: number): string => (bytes / 1e9).toFixed(2);
  console.log(`${size}: weights ${gb(made.weights)} GB, of the text model ${gb(made.text)} GB`);
  console.log(`prompt ${prompt}, ${steps} steps, ${threads} threads, ${rounds} rounds of ${repeats} runs\n`);
  console.log(
    '| side | load | prefill tok/s | decode tok/s | one tile | peak memory | of its weights | not from files |',
  );
  console.log('|---|---|---|---|---|---|---|---|');
  for (const [side, results] of all) {
    const f = figures(results);
    const weights = side === 'llama.cpp' ? made.text : made.weights;
    const tile = f.encode === 0 ? '' : `${f.encode.toFixed(0)} ms`;
    console.log(
      `| ${side} | ${(f.load / 1000).toFixed(1)} s | ${f.prefill.toFixed(1)} | ${f.decode.toFixed(2)} | ${tile} | ${gb(f.peak)} GB | ${(f.peak / weights).toFixed(2)} × | ${gb(f.anon)} GB |`,
    );
  }
  const [ours, torch, llama] = SIDES.map((s) => figures(all.get(s) ?? [])) as [F, F, F];
  const decode = ours.decode / Math.max(torch.decode, llama.decode);
  console.log(`\ndecode ${decode.toFixed(2)} × the better of the two (aim 1.0)`);
  console.log(`prefill ${(ours.prefill / torch.prefill).toFixed(2)} × torch (aim 1.0)`);
  console.log(`peak memory ${(ours.peak / made.weights).toFixed(2)} × the weights (aim at most 1.15)`);
  // The references sum in another order: between near ties of random weights llama.cpp, whose attention is not f32
  // throughout, may choose otherwise, and all that follows is then another text. torch must agree to the end.
  const tokens = (side: Side): readonly (readonly number[])[] =>
    (all.get(side) ?? []).flatMap((r) => r.runs.map((x) => x.tokens));
  const own = tokens('vlm-run');
  const agreeing = (side: Side): number => Math.min(...tokens(side).flatMap((t) => own.map((o) => prefixLength(o, t))));
  const same = agreeing('vlm-run') === steps + 1 && agreeing('torch') === steps + 1;
  const images = [...all.values()].flatMap((r) => r.flatMap((x) => (x.imageTokens ? [x.imageTokens.join()] : [])));
  const sameImage = images.every((t) => t === images[0]);
  console.log(
    `same ${steps + 1} tokens on all sides: ${same}; with an image: ${images.length === 0 ? '-' : sameImage}`,
  );
  for (const [side, results] of all) {
    const later = results.flatMap((r) => r.runs.slice(1));
    const list = (of: (r: Run) => number): string => later.map((r) => of(r).toFixed(2)).join(' ');
    console.log(
      `${side}, ${results[0]?.version}: prefill ${list((r) => (prompt * 1000) / r.prefillMs)}; decode ${list((r) => (steps * 1000) / r.decodeMs)}; load ${results.map((r) => (r.loadMs / 1000).toFixed(1)).join(' ')} s`,
    );
  }
  return same && sameImage;
}
type F = ReturnType<typeof figures>;

async function main(): Promise<void> {
  const work = values.side === undefined ? mkdtempSync(join(tmpdir(), 'bench-models-')) : '';
  const dir = resolve(values.dir ?? join(work, size));
  try {
    const made = makeModels(dir);
    if (values.side !== undefined) {
      const result = values.side === 'vlm-run' ? await runOurs(dir, made) : await runLlama(dir, values.llama ?? '');
      console.log(JSON.stringify(result));
      return;
    }
    const llama = values.llama ?? installLlama(work);
    const all = new Map<Side, Result[]>(SIDES.map((s) => [s, []]));
    for (let round = 0; round < rounds; round++) {
      for (const side of SIDES) {
        const result = spawnSide(side, dir, llama);
        all.get(side)?.push(result);
        if (values.log !== undefined) appendFileSync(values.log, `${JSON.stringify({ size, round, side, result })}\n`);
        process.stderr.write(`round ${round + 1} of ${rounds}: ${side}\n`);
      }
    }
    process.exitCode = report(made, all) ? 0 : 1;
  } finally {
    if (work !== '' && !values.keep) rmSync(work, { recursive: true, force: true });
  }
}

await main();
