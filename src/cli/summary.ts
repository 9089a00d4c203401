/** The last lines of a run on standard error: tokens, speed, and where the time went. */
import type { Ledger, RunMetrics, RunResultRecord } from '../contracts/record.js';
import type { Paint } from './io.js';

/** A time as people read it, wherever one is told. */
export function ms(value: number): string {
  return value >= 10_000 ? `${(value / 1000).toFixed(1)} s` : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

export function summary(result: RunResultRecord, paint: Paint): string {
  const lines: string[] = [];
  const emulated = result.ledger.lanes.some((lane) => lane.emulated === true);
  for (const item of result.items) {
    if (item.metrics === undefined) continue;
    const head = result.items.length > 1 ? `item ${item.index}: ` : '';
    const several = Object.entries(item.completions ?? {}).map(
      ([name, { metrics }]) => [`${name}: `, metrics] as const,
    );
    for (const [name, metrics] of several.length > 0 ? several : [['', item.metrics] as const]) {
      lines.push(head + name + metricsLine(metrics) + (emulated ? ' · emulated' : ''));
    }
  }
  lines.push(...ledgerLines(result.ledger, paint));
  return `${lines.join('\n')}\n`;
}

function metricsLine(m: RunMetrics): string {
  const vision = m.visionTokens > 0 ? ` (${m.visionTokens} vision, ${m.tiles} tile${m.tiles === 1 ? '' : 's'})` : '';
  return [
    `${m.promptTokens} tokens in${vision}`,
    `${m.generatedTokens} out (${m.finish})`,
    `first token ${ms(m.ttftMs)}, prefill calls alone ${ms(m.ttftQefficientMs)}`,
    `decode ${m.decodeTokensPerSecond.toFixed(1)} tok/s`,
  ].join(' · ');
}

/** One line a thread; the stages of a line add up to the wall time. */
export function ledgerLines(ledger: Ledger, paint: Paint): string[] {
  const width = Math.max(...ledger.lanes.map((lane) => lane.lane.length));
  const lines = ledger.lanes.map((lane) => {
    const parts = Object.entries(lane.stages)
      .filter(([, value]) => value >= 0.05)
      .map(([stage, value]) => (stage === 'idle' ? paint.faint(`idle ${ms(value)}`) : `${stage} ${ms(value)}`));
    if (lane.emulated === true) parts.push('emulated: no time of a real card');
    return `  ${paint.cyan(lane.lane.padEnd(width))}  ${parts.join(paint.faint(' · '))}`;
  });
  return [paint.bold(`wall ${ms(ledger.wallMs)}`), ...lines];
}
