/**
 * What the runner costs over a script that makes the same ONNX Runtime calls by hand (bench/raw-run.ts), in three ways,
 * both sides in turn, ratios as medians over the pairs:
 *
 * 1. whole processes with one item: start, recipe, plan, workers, loading, answer;
 * 2. item after item in a process that is warm, one at a time, so that nothing overlaps: what it adds to an item;
 * 3. the same items as a dataset would run them, several under way at once;
 *
 * and the cold start of `validate` and of a run.
 *
 *   npx tsc -p tsconfig.json && npm run build && node .build/bench/overhead.js
 *     [--rounds 9] [--tokens 16,200,900] [--items 40] [--model FOLDER] [--tiles N] [--threads 1] [--starts 21]
 *     [--start]: the cold start alone
 *
 * FOLDER is another model than the demonstration model: bench/overhead_model.py makes one of InternVL-1B's depth.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
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
    items: { type: 'string', default: '40' },
    model: { type: 'string', default: join(root, 'models/shapes-internvl') },
    tiles: { type: 'string' },
    threads: { type: 'string', default: '1' },
    side: { type: 'string' },
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

/** What raw-run.ts prints for several items, and `runWarm` here: the time from the end of the first item to the last. */
interface Warm {
  readonly text: string;
  readonly restMs: number;
}

/** All items through the runner: `inFlight` of them at a time. The first one loads everything and is not counted. */
async function runWarm(tokens: number, count: number, inFlight: number): Promise<Warm> {
  const plan = requirePlan(await compileRecipe(recipe, { set: settings(tokens) }));
  let finished = 0;
  let began = 0;
  let text = '';
  let wake: () => void = () => undefined;
  const items = async function* (): AsyncGenerator<LoadedInputs> {
    for (let at = 0; at < count; at++) {
      // The second item waits for the first in either case.
      while (at - finished >= inFlight || (at > 0 && finished === 0)) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      yield await loadInputs(plan, {});
    }
  };
  const { error } = await composedStream(plan, {
    items: items(),
    lock: false,
    onItem: (record) => {
      if (finished++ === 0) began = performance.now();
      text = record.text ?? '';
      wake();
    },
  });
  if (error !== undefined) throw new Error(error.what);
  return { text, restMs: performance.now() - began };
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

interface Measured {
  readonly ms: number;
  readonly text: string;
}

/** Both sides in turn, each first in every other round. */
function pairs(ours: () => Measured, byHand: () => Measured): string {
  const a: number[] = [];
  const b: number[] = [];
  let same = ours().text === byHand().text;
  for (let i = 0; i < rounds; i++) {
    const first = (i % 2 === 0 ? ours : byHand)();
    const second = (i % 2 === 0 ? byHand : ours)();
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

function raw(tokens: number, items: number): string[] {
  const tiles = values.tiles === undefined ? [] : ['--tiles', values.tiles];
  const more = ['--items', String(items), '--model', values.model, '--threads', values.threads, ...tiles];
  return [byHand, String(tokens), ...more];
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
  const items = Number(values.items);
  head('whole process');
  for (const tokens of counts) {
    const ours = [cli, recipe, '--quiet', ...settings(tokens).flatMap((s) => ['--set', s])];
    const one = (args: readonly string[]) => (): Measured => {
      const { ms, out } = time(args);
      return { ms, text: out };
    };
    console.log(`| ${tokens} tokens ${pairs(one(ours), one(raw(tokens, 1)))}`);
  }
  const self = fileURLToPath(import.meta.url);
  const common = [...['model', 'threads', 'items'].flatMap((k) => [`--${k}`, values[k as 'model']])];
  if (values.tiles !== undefined) common.push('--tiles', values.tiles);
  const perItem = (args: readonly string[]) => (): Measured => {
    const { text, restMs } = JSON.parse(time(args).out) as Warm;
    return { ms: restMs / (items - 1), text };
  };
  for (const side of ['one', 'many'] as const) {
    console.log('');
    head(side === 'one' ? 'an item, one at a time' : 'an item, as a dataset');
    for (const tokens of counts) {
      const ours = [self, '--side', side, '--tokens', String(tokens), ...common];
      console.log(`| ${tokens} tokens ${pairs(perItem(ours), perItem(raw(tokens, items)))}`);
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
else if (values.side === undefined) await main();
else {
  const inFlight = values.side === 'one' ? 1 : Number.POSITIVE_INFINITY;
  console.log(JSON.stringify(await runWarm(Number(values.tokens), Number(values.items), inFlight)));
}
