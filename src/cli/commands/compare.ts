/** vlm-run compare A B: whether B's sweep is worse than A's, point by point. */
import { Command } from 'commander';
import { EXIT, VlmError } from '../../contracts/errors.js';
import type { Comparison, Metric, MetricComparison, PointComparison } from '../../sweep/compare.js';
import { harmless, type Io } from '../io.js';

interface CompareFlags {
  readonly metric?: readonly string[];
  readonly threshold: string;
  readonly alpha: string;
  readonly json?: boolean;
}

export function compareCommand(io: Io): Command {
  return new Command('compare')
    .description('compare two sweeps point by point; exit code 5 when the second is worse')
    .argument('<a>', 'folder of `vlm-run sweep --out`: what was')
    .argument('<b>', 'the same of what is now')
    .option(
      '--metric <figure>',
      'what to compare, may be repeated; default: ttftMs, decodeTokensPerSecond, latencyMs',
      more,
    )
    .option('--threshold <percent>', 'a smaller change of the median is none', '5')
    .option('--alpha <share>', 'chance of one false alarm over all tests', '0.05')
    .option('--json', 'one JSON document on standard output')
    .addHelpText(
      'after',
      `
Points match when the values of their axes are equal. A figure is worse when the change is larger than the threshold and
significant: two-sided Mann-Whitney test over the repeats, corrected for the number of tests (Holm). So it is when the
median of all points changed by more than the threshold, and more of them went that way than chance would have (sign test
over 6 points and more, corrected with the others): many points show together what none can alone. A point whose tokens (or score, where the sweep has one) left its reference, or that fails now, is worse whatever its speed.

Exit codes: 0 the same, undecided (no test could have become significant) or better, 5 worse, 2 nothing to compare, 3 a folder holds no results.

Examples:
  $ vlm-run compare results/before results/after
  $ vlm-run compare results/before results/after --metric latencyMs --threshold 10 --json`,
    )
    .action(async (a: string, b: string, flags: CompareFlags) => {
      const { Told } = await import('../recipe-options.js');
      const code = await compare(a, b, flags, io);
      if (code !== EXIT.ok) throw new Told(code);
    });
}

function more(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, ...value.split(',')];
}

async function compare(a: string, b: string, flags: CompareFlags, io: Io): Promise<number> {
  const [{ compareStores }, { METRICS, DEFAULT_METRICS }] = await Promise.all([
    import('../../compose/compare.js'),
    import('../../sweep/compare.js'),
  ]);
  const metrics =
    flags.metric === undefined ? DEFAULT_METRICS : metricsOf(flags.metric, Object.keys(METRICS) as Metric[]);
  const threshold = number('--threshold', flags.threshold, 0, 1000) / 100;
  const alpha = number('--alpha', flags.alpha, 1e-9, 0.5);
  const { comparison, warnings } = await compareStores(a, b, { metrics, threshold, alpha, seed: 1 });
  const code = comparison.verdict === 'worse' ? EXIT.run : EXIT.ok;
  if (flags.json === true) {
    const { verdict: _, ...rest } = comparison;
    const verdict = finding(comparison);
    io.out(
      `${JSON.stringify({ ok: code === EXIT.ok, verdict, a, b, metrics, threshold, alpha, warnings, ...rest }, null, 2)}\n`,
    );
    return code;
  }
  for (const warning of warnings) io.err(`warning: ${harmless(warning)}\n`);
  io.out(tableOf(comparison));
  io.out(overallOf(comparison));
  io.out(restOf(comparison));
  io.out(`\n${sumOf(comparison, threshold, alpha)}\n`);
  return code;
}

function metricsOf(given: readonly string[], known: readonly Metric[]): readonly Metric[] {
  return [...new Set(given)].map((name) => {
    const found = known.find((one) => one === name);
    if (found !== undefined) return found;
    throw new VlmError('USAGE', {
      what: '--metric is not a figure of sweeps',
      expected: known.join(', '),
      received: name,
    });
  });
}

function number(flag: string, text: string, least: number, most: number): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (value >= least && value <= most) return value;
  throw new VlmError('USAGE', {
    what: `${flag} is out of its range`,
    expected: `a number from ${least} to ${most}`,
    received: text,
  });
}

const HEADS = ['point', 'figure', 'A', 'B', 'B / A', '95 % interval', 'p', 'p (Holm)', 'verdict'] as const;

/** Markdown that also lines up in a terminal. */
function tableOf({ points }: Comparison): string {
  const rows = points.flatMap((point) => {
    // A bar in a value would be a cell of its own.
    const name = harmless(point.name).replaceAll('|', '\\|');
    const lines = point.metrics.map((metric, i) => [i === 0 ? name : '', ...cells(metric)]);
    const parity = parityText(point);
    if (parity === null) return lines;
    const [was, is] = point.scores ?? [];
    const scores =
      was === undefined || is === undefined ? ['tokens', '', ''] : ['score', was.toFixed(4), is.toFixed(4)];
    return [...lines, [lines.length === 0 ? name : '', ...scores, '', '', '', '', parity]];
  });
  const widths = HEADS.map((head, i) => Math.max(head.length, ...rows.map((row) => (row[i] ?? '').length)));
  const line = (row: readonly string[]): string =>
    `| ${widths.map((width, i) => (i < 2 || i === 8 ? (row[i] ?? '').padEnd(width) : (row[i] ?? '').padStart(width))).join(' | ')} |\n`;
  const rule = `|${widths.map((width, i) => (i < 2 || i === 8 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|\n`;
  return line(HEADS) + rule + rows.map(line).join('');
}

function cells({ metric, a, b, ratio, ci, p, pHolm, verdict }: MetricComparison): string[] {
  return [
    metric,
    a.toPrecision(4),
    b.toPrecision(4),
    ratio.toFixed(3),
    `${ci[0].toFixed(3)} to ${ci[1].toFixed(3)}`,
    pText(p),
    pText(pHolm),
    verdict === 'same' ? 'same' : verdict.toUpperCase(),
  ];
}

function pText(p: number): string {
  return p < 0.0001 ? '< 0.0001' : p.toFixed(4);
}

function parityText({ parity, tokens, scores }: PointComparison): string | null {
  if (scores !== null) {
    if (parity === 'lost') return 'WORSE: below';
    return parity === 'regained' ? 'good again' : parity === 'differs' ? 'below, as before' : null;
  }
  if (parity === 'lost') return 'WORSE: no longer those of the reference';
  if (parity === 'regained') return 'those of the reference again';
  if (parity === 'differs') return 'not those of the reference, as before';
  return tokens === 'changed' ? 'changed since A' : null;
}

function overallOf({ overall }: Comparison): string {
  if (overall.length === 0) return '';
  const lines = overall.map(({ metric, ratio, up, down, pHolm, verdict }) => {
    const word = verdict === 'same' ? 'same' : verdict.toUpperCase();
    return `- ${metric}: B / A ${ratio.toFixed(3)} in the middle, ${up} points up, ${down} down, p (Holm) ${pText(pHolm)}: ${word}\n`;
  });
  return `\nall points together:\n${lines.join('')}`;
}

function restOf({ broken, mended, onlyA, onlyB }: Comparison): string {
  const lists = [
    ['WORSE, measured in A and not in B', broken.map(({ name, error }) => `${name}: ${error}`)],
    ['measured in B, not in A', mended.map(({ name }) => name)],
    ['only in A', onlyA.map(({ name }) => name)],
    ['only in B', onlyB.map(({ name }) => name)],
  ] as const;
  return lists
    .filter(([, names]) => names.length > 0)
    .map(([head, names]) => `\n${head}:\n${names.map((name) => `- ${harmless(name)}\n`).join('')}`)
    .join('');
}

/** What no difference could have changed is no finding. */
function finding({ verdict, tests, hopeless }: Comparison): Comparison['verdict'] | 'undecided' {
  return verdict === 'same' && tests > 0 && hopeless === tests ? 'undecided' : verdict;
}

function sumOf(comparison: Comparison, threshold: number, alpha: number): string {
  const { points, overall, broken, tests } = comparison;
  const count = (wanted: string): number => points.filter((point) => point.verdict === wanted).length;
  const worse = count('worse') + broken.length;
  const found = finding(comparison);
  const word = found === 'undecided' ? 'undecided, too few repeats' : found;
  const together = overall.filter((one) => one.verdict !== 'same').map((one) => `, ${one.metric} ${one.verdict}`);
  const all = together.length === 0 ? '' : `; all together${together.join('').slice(1)}`;
  return `${word}: ${worse} points worse, ${count('better')} better, ${count('same')} the same${all} (${tests} tests, threshold ${+(threshold * 100).toFixed(6)} %, alpha ${alpha})`;
}
