/**
 * What the runner costs over a script that makes the same ONNX Runtime calls by hand (bench/raw-run.ts), in three ways,
 * both sides in turn, ratios as medians over the pairs:
 *
 * 1. whole processes with one item: start, recipe, plan, workers, loading, answer;
 * 2. one item in two processes that are both warm and wait for one another, so that the machine's moods meet both: what
 *    the runner adds to an item;
 * 3. several items at once, as a dataset has them, against the same items one after another;
 *
 * and the cold start of `validate` and of a run.
 *
 *   npx tsc -p tsconfig.json && npm run build && node .build/bench/overhead.js
 *     [--rounds 9] [--pairs 20] [--tokens 16,200,900] [--items 4] [--model FOLDER] [--tiles N] [--threads 1] [--starts 21]
 *     [--start]: the cold start alone
 *
 * FOLDER is another model than the demonstration model: bench/overhead_model.py makes one of InternVL-1B's depth.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { rolldown } from 'rolldown';
import { compileRecipe, requirePlan } from '../src/compose/recipes.js';
import { composedStream } from '../src/compose/run.js';
import { type LoadedInputs, loadInputs } from '../src/runner/inputs/load.js';
import { packageRoot } from '../src/util/package-root.js';

const root = packageRoot();
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '9' },
    tokens: { type: 'string', default: '16,200,900' },
    items: { type: 'string', default: '4' },
    pairs: { type: 'string', default: '20' },
    model: { type: 'string', default: join(root, 'models/shapes-internvl') },
    tiles: { type: 'string' },
    threads: { type: 'string', default: '1' },
    serve: { type: 'boolean' },
    starts: { type: 'string', default: '21' },
    start: { type: 'boolean' },
  },
});
const rounds = Number(values.rounds);
const starts = Number(values.starts);
const cli = join(root, 'dist/cli/main.js');
const recipe = join(root, 'pipelines/internvl.yaml');
const byHand = join(root, '.build/bench/bundled/raw-run.js');

function settings(tokens: number): string[] {
  return [
    `model={path: ${JSON.stringify(values.model)}}`,
    `devices.main.threads=${values.threads}`,
    'nodes.decode.with.ignore_eos=true',
    `nodes.decode.with.max_new_tokens=${tokens}`,
    ...(values.tiles === undefined ? [] : [`nodes.preprocess.with.max_tiles=${values.tiles}`]),
  ];
}

interface Measured {
  readonly ms: number;
  readonly text: string;
}

/** The runner, warm: for every line on standard input that many items at once; tells how long they took, as raw-run.ts does. */
async function serve(tokens: number): Promise<void> {
  const plan = requirePlan(await compileRecipe(recipe, { set: settings(tokens) }));
  let left = 0;
  let began = 0;
  const items = async function* (): AsyncGenerator<LoadedInputs> {
    for await (const line of createInterface({ input: process.stdin })) {
      left = Number(line);
      began = performance.now();
      for (let i = Number(line); i > 0; i--) yield await loadInputs(plan, {});
    }
  };
  const { error } = await composedStream(plan, {
    items: items(),
    lock: false,
    onItem: ({ text }) => {
      left--;
      if (left === 0) console.log(JSON.stringify({ text: text ?? '', ms: performance.now() - began }));
    },
  });
  if (error !== undefined) throw new Error(error.what);
}

/** A process that waits for work. */
class Live {
  readonly #child;
  readonly #answers: AsyncIterator<string>;

  constructor(args: readonly string[]) {
    this.#child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Time of an item, of `items` that are asked for together. */
  async ask(items: number): Promise<Measured> {
    this.#child.stdin.write(`${items}\n`);
    const { value } = await this.#answers.next();
    const { text, ms } = JSON.parse(String(value)) as Measured;
    return { text, ms: ms / items };
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    await once(this.#child, 'close');
  }
}

function time(args: readonly string[]): { ms: number; out: string } {
  const began = performance.now();
  const r = spawnSync(process.execPath, args, { encoding: 'utf8', maxBuffer: 1 << 26 });
  if (r.status !== 0) throw new Error(`${args.join(' ')} ended with ${r.status}: ${r.stderr}`);
  return { ms: performance.now() - began, out: r.stdout.trim() };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? 0;
}

type Side = () => Measured | Promise<Measured>;

/** Both sides in turn, each first in every other round. The first round warms up and is not counted. */
async function pairs(rounds: number, ours: Side, byHand: Side): Promise<string> {
  const a: number[] = [];
  const b: number[] = [];
  let same = (await ours()).text === (await byHand()).text;
  for (let i = 0; i < rounds; i++) {
    const first = await (i % 2 === 0 ? ours : byHand)();
    const second = await (i % 2 === 0 ? byHand : ours)();
    same &&= first.text === second.text;
    a.push((i % 2 === 0 ? first : second).ms);
    b.push((i % 2 === 0 ? second : first).ms);
  }
  const ratios = a.map((ms, i) => ms / (b[i] ?? 1)).sort((x, y) => x - y);
  const spread = `${ratios[0]?.toFixed(3)} … ${ratios.at(-1)?.toFixed(3)}`;
  return `| ${median(a).toFixed(1)} ms | ${median(b).toFixed(1)} ms | ${median(ratios).toFixed(3)} (${spread}) | ${same} |`;
}

function head(title: string): void {
  console.log(`| ${title} | vlm-run | by hand | ratio (all pairs) | same text |`);
  console.log('|---|---|---|---|---|');
}

function raw(tokens: number, more: readonly string[]): string[] {
  const tiles = values.tiles === undefined ? [] : ['--tiles', values.tiles];
  return [byHand, String(tokens), '--model', values.model, '--threads', values.threads, ...tiles, ...more];
}

/** The script made into one file as dist/ is, so that neither side opens more files than the other. */
async function bundleByHand(): Promise<void> {
  const bundle = await rolldown({
    input: join(root, '.build/bench/raw-run.js'),
    platform: 'node',
    external: /^[^./]/,
  });
  await bundle.write({ file: byHand, format: 'esm', codeSplitting: false });
  await bundle.close();
}

async function main(): Promise<void> {
  await bundleByHand();
  const counts = values.tokens.split(',').map(Number);
  head('whole process');
  for (const tokens of counts) {
    const ours = [cli, recipe, '--quiet', ...settings(tokens).flatMap((s) => ['--set', s])];
    const one = (args: readonly string[]) => (): Measured => {
      const { ms, out } = time(args);
      return { ms, text: out };
    };
    console.log(`| ${tokens} tokens ${await pairs(rounds, one(ours), one(raw(tokens, [])))}`);
  }
  const self = fileURLToPath(import.meta.url);
  const common = ['--model', values.model, '--threads', values.threads];
  if (values.tiles !== undefined) common.push('--tiles', values.tiles);
  for (const together of [1, Number(values.items)]) {
    console.log('');
    head(together === 1 ? 'an item' : `an item, of ${together} at once`);
    for (const tokens of counts) {
      const ours = new Live([self, '--serve', '--tokens', String(tokens), ...common]);
      const theirs = new Live(raw(tokens, ['--serve']));
      const sides = [ours, theirs].map((side) => () => side.ask(together)) as [Side, Side];
      await pairs(1, ...sides);
      const turns = together === 1 ? Number(values.pairs) : rounds;
      console.log(`| ${tokens} tokens ${await pairs(turns, ...sides)}`);
      await Promise.all([ours.end(), theirs.end()]);
    }
  }
  coldStart();
}

/** Whole processes in turn: Node alone, `validate`, and a run. */
function coldStart(): void {
  const commands: readonly (readonly [string, readonly string[]])[] = [
    ['node -e 0', ['-e', '0']],
    ['vlm-run validate', [cli, 'validate', recipe]],
    ['vlm-run', [cli, recipe, '--quiet']],
  ];
  const times = commands.map(([, args]) => [time(args).ms].slice(1));
  for (let i = 0; i < starts; i++) {
    for (const [at, [, args]] of commands.entries()) times[at]?.push(time(args).ms);
  }
  console.log(`\n| cold start, Node ${process.versions.node}, in turn | median of ${starts} | least | most |`);
  console.log('|---|---|---|---|');
  for (const [at, [name]] of commands.entries()) {
    const list = times[at] ?? [];
    const [least, most] = [Math.min(...list), Math.max(...list)];
    console.log(`| \`${name}\` | ${median(list).toFixed(0)} ms | ${least.toFixed(0)} ms | ${most.toFixed(0)} ms |`);
  }
}

if (values.start === true) coldStart();
else if (values.serve === true) await serve(Number(values.tokens));
else await main();
