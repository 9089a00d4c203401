/** vlm-run report STORE...: the results of a sweep as a page, as Markdown or as CSV. */
import { extname, join, resolve } from 'node:path';
import { Command } from 'commander';
import type { ReportFormat, ReportRequest } from '../../compose/report.js';
import { VlmError } from '../../contracts/errors.js';
import type { ReportModel } from '../../report/types.js';
import { harmless, type Io } from '../io.js';

interface ReportFlags {
  readonly out?: string;
  readonly format?: string;
  readonly x?: string;
  readonly y?: string;
  readonly metric?: string;
  readonly json?: boolean;
}

export function reportCommand(io: Io): Command {
  return new Command('report')
    .description('show the results of a sweep: one page, or Markdown or CSV')
    .argument('<stores...>', 'folders of `vlm-run sweep --out`; several are the parts of one sweep')
    .option(
      '--out <file>',
      'where to write; default: report.html in the first folder; md and csv go to standard output',
    )
    .option('--format <format>', 'html, md or csv; default: as the name of --out says, else html')
    .option('--x <axis>', 'axis of the heat map, across; as the sweep names it, or its last word')
    .option('--y <axis>', 'axis of the heat map, down')
    .option('--metric <figure>', 'what the heat map shows at first: ttftMs, decodeTokensPerSecond, latencyMs, …')
    .option('--json', 'one JSON document on standard output')
    .addHelpText(
      'after',
      `
The page is one file that loads nothing from anywhere: it can be mailed, archived and printed.
The same results give the same bytes.

Examples:
  $ vlm-run report results/batch --out batch.html --x batch_size --y max_tiles
  $ vlm-run report results/part1 results/part2 --format md > batch.md`,
    )
    .action((stores: string[], flags: ReportFlags) => report(stores, flags, io));
}

async function report(stores: readonly string[], flags: ReportFlags, io: Io): Promise<void> {
  const [{ makeReport, REPORT_FORMATS }, { writeFileAtomic }] = await Promise.all([
    import('../../compose/report.js'),
    import('../../util/atomic-write.js'),
  ]);
  const format = formatOf(flags, REPORT_FORMATS);
  const view: ReportRequest['view'] = {
    ...(flags.x === undefined ? {} : { x: flags.x }),
    ...(flags.y === undefined ? {} : { y: flags.y }),
    ...(flags.metric === undefined ? {} : { metric: flags.metric }),
  };
  const { model, text } = await makeReport({ stores, format, view });
  const file = flags.out ?? (format === 'html' ? join(stores[0] ?? '.', 'report.html') : null);
  if (file !== null) await writeFileAtomic(resolve(file), text);
  if (flags.json === true) {
    const { counts, problems, view: shown } = model;
    const front = model.points.filter((point) => point.front).map(({ id, name }) => ({ id, name }));
    const told = { ok: true, format, out: file, counts, view: shown, front, problems };
    io.out(`${JSON.stringify(file === null ? { ...told, report: text } : told, null, 2)}\n`);
    return;
  }
  if (file === null) io.out(text);
  tellProblems(model, io);
  if (file !== null) io.err(`wrote ${file}: ${summary(model)}\n`);
}

function formatOf({ format, out }: ReportFlags, known: readonly ReportFormat[]): ReportFormat {
  if (format !== undefined) {
    const found = known.find((one) => one === format);
    if (found !== undefined) return found;
    throw new VlmError('USAGE', {
      what: '--format is not a format of reports',
      expected: known.join(', '),
      received: format,
    });
  }
  const ending = out === undefined ? '' : extname(out).slice(1).toLowerCase();
  return known.find((one) => one === ending) ?? 'html';
}

function tellProblems({ problems }: ReportModel, io: Io): void {
  for (const { where, what } of problems) io.err(`not in the report: ${harmless(`${where}: ${what}`)}\n`);
}

function summary({ counts: { measured, failed, refused, differs, below } }: ReportModel): string {
  const wrong = differs > 0 ? `, ${differs} with tokens unlike the reference` : '';
  const low = below > 0 ? `, ${below} with a score below the reference` : '';
  return `${measured} points measured, ${failed} failed, ${refused} refused${wrong}${low}`;
}
