/** vlm-run FILE --dataset …: one result line an item, progress with rate and time left, a summary. */
import { resolve } from 'node:path';
import { VlmError } from '../contracts/errors.js';
import type { Ledger } from '../contracts/record.js';
import type { DatasetFlags } from './dataset-options.js';
import { DatasetProgress } from './dataset-progress.js';
import type { Io } from './io.js';
import { compileAndTell, recipeArguments, recipeOptions } from './recipe-options.js';
import type { SignalWatch } from './signals.js';
import { ledgerLines } from './summary.js';

const MB = 1024 * 1024;
const MEMORY_MB = 256;

/** Prints rows (or keeps them in --out), progress and summary. Returns the exit code. */
export async function runDatasetCommand(
  file: string,
  flags: DatasetFlags,
  io: Io,
  signals: SignalWatch,
): Promise<number> {
  refuse(flags);
  const limit = flags.limit === undefined ? undefined : wholeNumber('--limit', flags.limit);
  const quietMs = wholeNumber('--item-timeout', flags.itemTimeout ?? '600') * 1000;
  const [{ plan, compilation }, { runDataset, embeddingFolder }, { parseInputs }] = await Promise.all([
    compileAndTell(file, flags, io),
    import('../compose/dataset.js'),
    import('./input-options.js'),
  ]);
  const out = flags.out === undefined ? undefined : resolve(flags.out);
  const progress = new DatasetProgress(io, flags.quiet === true || (flags.json === true && !io.errIsTerminal));
  const stop = new AbortController();
  if (signals.interrupted) stop.abort();
  signals.onFirst(() => {
    stop.abort();
    if (flags.quiet !== true) progress.note('stopping after the current calls; press Ctrl-C again to stop at once');
  });
  io.onReaderGone(() => {
    if (out === undefined) stop.abort();
  });
  const started = performance.now();
  const notices = new Set<string>();
  try {
    const result = await runDataset({
      plan,
      sources: flags.dataset ?? [],
      ...(flags.datasetInput === undefined ? {} : { imageInput: flags.datasetInput }),
      given: parseInputs(plan, flags.input ?? []),
      recipe: recipeOptions(flags),
      recipeArguments: recipeArguments(flags),
      ...(out === undefined ? {} : { out }),
      resume: flags.resume === true,
      retryFailed: flags.retryFailed === true,
      ...(limit === undefined ? {} : { limit }),
      embeddings: embeddingSettings(flags, embeddingFolder),
      quietMs,
      signal: stop.signal,
      onRow: (row) => {
        if (out === undefined) io.out(`${JSON.stringify(row)}\n`);
        progress.row(row);
      },
      onNotice: (message) => {
        notices.add(message);
        progress.note(message);
      },
      onTotal: (total) => progress.total(total),
      onChild: (kill) => signals.onKill(kill),
    });
    progress.stop();
    const { done, failed, hits, misses, codes } = progress.counts;
    const wallMs = performance.now() - started;
    const ledger = mergeLedgers(result.ledgers);
    const ok = failed === 0 && !result.cancelled;
    if (flags.json === true) {
      const { crashes, skipped, cancelled, file: results } = result;
      const counts = { done, failed, skipped, crashes, hits, misses, codes };
      const itemsPerSecond = (done / wallMs) * 1000;
      const said = { warnings: compilation.diagnostics, notices: [...notices] };
      const told = { ok, cancelled, ...counts, wallMs, itemsPerSecond, results, ...said, ledger };
      io.out(`${JSON.stringify(told, null, 2)}\n`);
    } else if (flags.quiet !== true) {
      io.err(`${progress.summary(wallMs, result.skipped, result.cancelled, out !== undefined)}\n`);
      if (ledger !== null) io.err(`${ledgerLines(ledger, io.paint).join('\n')}\n`);
      if (result.file !== null) io.err(`wrote ${result.file}\n`);
    }
    if (result.cancelled) return io.readerGone && !signals.interrupted ? 0 : 130;
    return failed === 0 ? 0 : 5;
  } finally {
    progress.stop();
  }
}

function refuse(flags: DatasetFlags): void {
  const because = (received: string, what: string, hint: string): VlmError =>
    new VlmError('USAGE', { what, received, hint });
  if (flags.json === true && flags.out === undefined) {
    throw because('--json without --out', 'Result lines are JSON already', 'leave --json out, or add --out DIR');
  }
  if (flags.trace !== undefined) {
    throw because('--trace', 'A dataset run keeps sums of its times, no trace', 'trace a run of one item');
  }
}

function wholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new VlmError('USAGE', { what: `${option} takes a whole number above 0`, received: text });
}

function embeddingSettings(
  flags: DatasetFlags,
  folder: () => string,
): { readonly memoryBytes: number; readonly folder: string | null; readonly diskBytes: number } | null {
  const where = flags.embeddingCache ?? 'disk';
  if (where === 'off') return null;
  if (where !== 'memory' && where !== 'disk') {
    throw new VlmError('USAGE', { what: '--embedding-cache is off, memory or disk', received: where });
  }
  const diskBytes = wholeNumber('--embedding-cache-mb', flags.embeddingCacheMb ?? '2048') * MB;
  return { memoryBytes: MEMORY_MB * MB, folder: where === 'disk' ? folder() : null, diskBytes };
}

/** Lanes of one name become one; the walls of several children add up. */
function mergeLedgers(ledgers: readonly Ledger[]): Ledger | null {
  const [first, ...rest] = ledgers;
  if (first === undefined || rest.length === 0) return first ?? null;
  const wallMs = ledgers.reduce((sum, ledger) => sum + ledger.wallMs, 0);
  const names = [...new Set(ledgers.flatMap((ledger) => ledger.lanes.map((lane) => lane.lane)))];
  const lanes = names.map((name) => {
    const all = ledgers.flatMap((ledger) => ledger.lanes.filter((lane) => lane.lane === name));
    const stages: Record<string, number> = {};
    for (const lane of all)
      for (const [stage, ms] of Object.entries(lane.stages)) stages[stage] = (stages[stage] ?? 0) + ms;
    const emulated = all.some((lane) => lane.emulated === true);
    return { lane: name, wallMs, stages, spans: [], ...(emulated ? { emulated } : {}) };
  });
  return { wallMs, lanes };
}
