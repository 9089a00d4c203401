/** vlm-run selftest --device ai100:N: every assumption about the card runtime, checked one by one. */
import { join } from 'node:path';
import { Command } from 'commander';
import { EXIT, VlmError } from '../../contracts/errors.js';
import type { Report } from '../../devices/ai100/selftest/report.js';
import type { Outcome } from '../../devices/ai100/selftest/types.js';
import { harmless, type Io } from '../io.js';
import { Progress } from '../progress.js';
import { watchSignals } from '../signals.js';

interface SelftestFlags {
  readonly device?: string;
  readonly emulated?: boolean;
  readonly program?: string;
  readonly compiler?: string;
  readonly out: string;
  readonly timeout?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

const WORDS = { passed: 'passed ', failed: 'FAILED ', skipped: 'skipped' } as const;

export function selftestCommand(io: Io): Command {
  return new Command('selftest')
    .description('check, one by one, what vlm-run assumes of a card and its runtime')
    .option('--device <id>', 'ai100:N, the card to check (default with --emulated: ai100:0)')
    .option('--emulated', 'the emulated card, to see what the kit does')
    .option('--program <path>', 'a compiled program to use where there is no compiler')
    .option('--compiler <path>', 'qaic-compile of the Apps SDK (QAIC_COMPILE, else /opt/qti-aic/exec/qaic-compile)')
    .option('--out <folder>', 'where selftest-ai100.json and selftest-ai100.md go', '.')
    .option('--timeout <seconds>', 'how long one check may take (default: 120 on a card, 20 emulated)')
    .option('--quiet', 'no progress')
    .option('--json', 'one JSON document on standard output')
    .addHelpText(
      'after',
      `
Each check runs in a process of its own: one that hangs or crashes fails by name, and the rest goes on. With the
compiler, tiny programs are compiled and run; without it, the checks that need a program are skipped, and a skipped
check is not a passed one. The card must not be in use by others. The report is made to be sent: it holds versions, the
platform and what each call answered.
Exit code 0: nothing failed; 4: something did.

Examples:
  $ vlm-run selftest --device ai100:0 --out report
  $ vlm-run selftest --device ai100:0 --emulated --json`,
    )
    .action((flags: SelftestFlags) => selftest(flags, io));
}

async function selftest(flags: SelftestFlags, io: Io): Promise<void> {
  const device = deviceNumber(flags.device ?? (flags.emulated === true ? 'ai100:0' : ''));
  const silenceMs = timeoutOf(flags.timeout);
  const signals = watchSignals();
  const progress = new Progress(io, { quiet: flags.quiet === true || flags.json === true, streamNode: null });
  try {
    const [{ runKit }, { EMULATED_NOTICE, markdown }, { writeFileAtomic }] = await Promise.all([
      import('../../devices/ai100/selftest/run.js'),
      import('../../devices/ai100/selftest/report.js'),
      import('../../util/atomic-write.js'),
    ]);
    if (flags.emulated === true && flags.json !== true) io.err(`${io.paint.bold(EMULATED_NOTICE)}\n`);
    const report = await runKit({
      device,
      emulated: flags.emulated === true,
      signal: signals.signal,
      ...(flags.program === undefined ? {} : { program: flags.program }),
      ...(flags.compiler === undefined ? {} : { compiler: flags.compiler }),
      ...(silenceMs === undefined ? {} : { silenceMs }),
      onBegin: (name) => progress.handle({ type: 'progress', node: name, done: 0, total: 0, unit: '' }),
      onOutcome: (outcome) => {
        if (flags.json !== true) io.out(row(outcome, io));
      },
    });
    progress.stop();
    const files = [join(flags.out, 'selftest-ai100.json'), join(flags.out, 'selftest-ai100.md')] as const;
    await writeFileAtomic(files[0], `${JSON.stringify(report, null, 2)}\n`);
    await writeFileAtomic(files[1], markdown(report));
    if (flags.json === true) io.out(`${JSON.stringify(report, null, 2)}\n`);
    else summary(report, files, flags, io, EMULATED_NOTICE);
    process.exitCode = report.ok ? EXIT.ok : EXIT.device;
  } finally {
    progress.stop();
    signals.release();
  }
}

function summary(report: Report, files: readonly string[], flags: SelftestFlags, io: Io, notice: string): void {
  const { passed, failed, skipped } = report.counts;
  const head = failed === 0 ? io.paint.green('nothing failed') : io.paint.red(`${failed} failed`);
  io.err(`${head}: ${passed} passed, ${failed} failed, ${skipped} skipped (not known)\n`);
  for (const check of report.checks) {
    if (check.verdict === 'failed')
      io.err(`  ${io.paint.red(check.name)}: assumed that ${harmless(check.assumption)}\n`);
  }
  if (report.emulated && flags.emulated !== true) io.err(`${io.paint.bold(notice)}\n`);
  io.err(`report: ${files.join(', ')}\n`);
}

function row(outcome: Outcome, io: Io): string {
  const { name, verdict, status, ms } = outcome;
  const color = io.outIsTerminal
    ? { passed: io.paint.green, failed: io.paint.red, skipped: io.paint.faint }[verdict]
    : same;
  const seen =
    verdict === 'skipped'
      ? outcome.reason
      : verdict === 'passed'
        ? outcome.received
        : `expected ${outcome.expected}; received ${outcome.received}`;
  const number = status === undefined ? '' : `${status}`;
  return `${color(WORDS[verdict])} ${name.padEnd(28)} ${number.padStart(3)} ${`${ms.toFixed(0)} ms`.padStart(8)}  ${harmless(seen ?? '').replaceAll('\n', ' ')}\n`;
}

function same(text: string): string {
  return text;
}

function deviceNumber(id: string): number {
  const match = /^ai100:(\d{1,4})$/.exec(id);
  if (match !== null) return Number(match[1]);
  throw new VlmError('OPTION_INVALID', {
    what: 'The device to check is not a card',
    expected: 'ai100:N',
    received: id === '' ? 'nothing' : id,
    where: '--device',
    hint: '`vlm-run devices` lists the cards',
  });
}

function timeoutOf(seconds: string | undefined): number | undefined {
  if (seconds === undefined) return undefined;
  const value = Number(seconds);
  if (Number.isFinite(value) && value > 0 && value <= 86_400) return Math.ceil(value * 1000);
  throw new VlmError('OPTION_INVALID', {
    what: 'The time for one check is not a number of seconds',
    expected: 'a number above 0, at most 86400',
    received: seconds,
    where: '--timeout',
  });
}
