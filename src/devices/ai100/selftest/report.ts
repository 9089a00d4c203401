/** The report: as data, and as a page that can be sent. */
import { readFileSync } from 'node:fs';
import { arch, cpus, platform, release } from 'node:os';
import { basename, join } from 'node:path';
import { packageRoot } from '../../../util/package-root.js';
import type { Compiler } from '../compile/run-compiler.js';
import type { Outcome, Survey, Verdict } from './types.js';

export interface Surroundings {
  readonly device: number;
  readonly emulated: boolean;
  readonly library: string;
  readonly survey: Survey | null;
  readonly compiler: Compiler | null;
  readonly began: Date;
  readonly faults: string;
}

export interface Report {
  readonly format: 'vlm-run selftest ai100';
  readonly version: 1;
  /** Nothing failed. What was skipped is not known. */
  readonly ok: boolean;
  readonly device: string;
  readonly emulated: boolean;
  /** What the emulated card was told to do wrong. */
  readonly emulatedFaults: string | null;
  readonly began: string;
  readonly software: {
    readonly vlmRun: string;
    readonly node: string;
    readonly library: string;
    readonly runtime: string | null;
    readonly compiler: string | null;
    /** Whether the binding was built against the SDK's header. */
    readonly sdkHeader: boolean | null;
  };
  readonly machine: { readonly platform: string; readonly kernel: string; readonly cpu: string };
  readonly card: { readonly cores: number; readonly memoryBytes: number } | null;
  readonly counts: Readonly<Record<Verdict, number>>;
  readonly checks: readonly Outcome[];
}

export function makeReport(checks: readonly Outcome[], around: Surroundings): Report {
  const count = (verdict: Verdict): number => checks.filter((c) => c.verdict === verdict).length;
  const { survey, emulated, faults } = around;
  const own = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { readonly version: string };
  return {
    format: 'vlm-run selftest ai100',
    version: 1,
    ok: count('failed') === 0,
    device: `ai100:${around.device}`,
    emulated,
    emulatedFaults: emulated && faults !== '' ? faults : null,
    began: around.began.toISOString(),
    software: {
      vlmRun: own.version,
      node: process.version,
      library: basename(around.library),
      runtime: survey?.version ?? null,
      compiler: around.compiler?.version ?? null,
      sdkHeader: survey?.sdkHeader ?? null,
    },
    machine: { platform: `${platform()}-${arch()}`, kernel: release(), cpu: cpus()[0]?.model ?? 'unknown' },
    card:
      survey === null || survey.coresTotal < 0 ? null : { cores: survey.coresTotal, memoryBytes: survey.memoryTotal },
    counts: { passed: count('passed'), failed: count('failed'), skipped: count('skipped') },
    checks,
  };
}

export const EMULATED_NOTICE =
  'EMULATED: this ran on the emulated card of vlm-run. It says nothing about a real card, and no time here is a card’s.';

/** One line on the outcome: what was seen. */
export function seen({ verdict, expected, received, reason }: Outcome): string {
  if (verdict === 'skipped') return reason ?? '';
  return verdict === 'passed' ? (received ?? '') : `expected ${expected ?? '?'}; received ${received ?? '?'}`;
}

export function markdown(report: Report): string {
  const { software, machine, card, counts } = report;
  const lines = [
    `# Acceptance kit: ${report.device}${report.emulated ? ' (EMULATED)' : ''}`,
    '',
    ...(report.emulated ? [`**${EMULATED_NOTICE}**`, ''] : []),
    ...(report.emulatedFaults === null ? [] : [`The emulated card was told: \`${cell(report.emulatedFaults)}\``, '']),
    `${counts.failed === 0 ? 'Nothing failed' : `**${counts.failed} failed**`}, ${counts.passed} passed, ${counts.skipped} skipped (not known).`,
    '',
    '| | |',
    '|---|---|',
    ...rows({
      began: report.began,
      'vlm-run': software.vlmRun,
      runtime: `${software.runtime ?? 'unknown'} (${software.library})`,
      compiler: software.compiler ?? 'none',
      'SDK header': software.sdkHeader === null ? 'unknown' : software.sdkHeader ? 'yes' : 'no',
      card: card === null ? 'unknown' : `${card.cores} cores, ${Math.round(card.memoryBytes / 2 ** 20)} MiB`,
      machine: `${machine.platform}, kernel ${machine.kernel}, ${machine.cpu}, Node ${software.node}`,
    }),
    '',
    '| outcome | check | what is assumed | seen | status | ms | source |',
    '|---|---|---|---|---|---|---|',
    ...report.checks.map((c) => {
      const verdict = c.verdict === 'failed' ? '**failed**' : c.verdict;
      const cells = [verdict, c.name, c.assumption, seen(c), c.status ?? '', c.ms, c.source];
      return `| ${cells.map((x) => cell(String(x))).join(' | ')} |`;
    }),
    '',
  ];
  return lines.join('\n');
}

function rows(values: Readonly<Record<string, string>>): string[] {
  return Object.entries(values).map(([name, value]) => `| ${name} | ${cell(value)} |`);
}

/** Text of others must not break the table. */
function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll(/\s+/g, ' ').replaceAll('<', '&lt;');
}
