/**
 * What the runner costs: whole processes, `vlm-run` against bench/raw-run.ts, in turn, and the cold start of `validate`
 * and of a run. Ratios are medians over the pairs.
 *
 *   npx tsc -p tsconfig.json && npm run build && node .build/bench/overhead.js [rounds]
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from '../src/util/package-root.js';

const root = packageRoot();
const rounds = Number(process.argv[2] ?? 9);
const cli = join(root, 'dist/cli/main.js');
const recipe = join(root, 'pipelines/internvl.yaml');

function time(args: readonly string[]): { ms: number; out: string } {
  const began = performance.now();
  const r = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (r.status !== 0) throw new Error(`${args.join(' ')} ended with ${r.status}: ${r.stderr}`);
  return { ms: performance.now() - began, out: r.stdout.trim() };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? 0;
}

console.log('| whole process | vlm-run | by hand | ratio | same text |');
console.log('|---|---|---|---|---|');
for (const tokens of [16, 200, 900]) {
  const ours = [
    cli,
    recipe,
    '--quiet',
    ...['threads=1'].flatMap((s) => ['--set', `devices.main.${s}`]),
    ...['ignore_eos=true', `max_new_tokens=${tokens}`].flatMap((s) => ['--set', `nodes.decode.with.${s}`]),
  ];
  const raw = [join(root, '.build/bench/raw-run.js'), String(tokens)];
  const a: number[] = [];
  const b: number[] = [];
  let same = time(ours).out === time(raw).out;
  for (let i = 0; i < rounds; i++) {
    const first = time(i % 2 === 0 ? ours : raw);
    const second = time(i % 2 === 0 ? raw : ours);
    same &&= first.out === second.out;
    a.push((i % 2 === 0 ? first : second).ms);
    b.push((i % 2 === 0 ? second : first).ms);
  }
  const ratio = median(a.map((ms, i) => ms / (b[i] ?? 1)));
  console.log(
    `| ${tokens} tokens | ${median(a).toFixed(0)} ms | ${median(b).toFixed(0)} ms | ${ratio.toFixed(3)} | ${same} |`,
  );
}

const start = (args: readonly string[]): number => median(Array.from({ length: rounds }, () => time(args).ms));
const bare = start(['-e', '0']);
console.log(`\ncold start, median of ${rounds}: node alone ${bare.toFixed(0)} ms`);
console.log(`validate ${start([cli, 'validate', recipe]).toFixed(0)} ms`);
console.log(`run ${start([cli, recipe, '--quiet']).toFixed(0)} ms`);
