/** The last lines of a run on standard error: tokens, speed, and where the time went. */
import type { ItemRecord, Ledger, RunMetrics, RunResultRecord } from '../contracts/record.js';
import { harmless, type Paint } from './io.js';

/** A time as people read it, wherever one is told. */
export function ms(value: number): string {
  return value >= 10_000 ? `${(value / 1000).toFixed(1)} s` : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

export function summary(result: RunResultRecord, paint: Paint): string {
  const lines: string[] = [];
  const emulated = result.ledger.lanes.some((lane) => lane.emulated === true);
  for (const item of result.items) {
    const head = result.items.length > 1 ? `item ${item.index}: ` : '';
    lines.push(...schemaLines(item).map((line) => head + line));
    if (item.metrics === undefined) continue;
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

/** What people read is the text: that it is not what the recipe's schema wants is in the data alone. */
function schemaLines({ outputs = {} }: ItemRecord): readonly string[] {
  return Object.entries(outputs).flatMap(([name, value]) => {
    if (value.kind !== 'answer' || value.json?.valid !== false) return [];
    return [`${name} does not match its schema: ${harmless((value.json.errors ?? []).join('; '))}`];
  });
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
