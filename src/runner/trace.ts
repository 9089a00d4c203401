/** A ledger in the Trace Event Format that Chrome's tracing page and Perfetto open. Times are microseconds. */
import type { Ledger } from '../contracts/record.js';

export function chromeTrace(ledger: Ledger, name: string): string {
  const events: unknown[] = [{ ph: 'M', pid: 1, tid: 0, name: 'process_name', args: { name: `vlm-run ${name}` } }];
  for (const [tid, lane] of ledger.lanes.entries()) {
    events.push({ ph: 'M', pid: 1, tid, name: 'thread_name', args: { name: lane.lane } });
    events.push({ ph: 'M', pid: 1, tid, name: 'thread_sort_index', args: { sort_index: tid } });
    for (const span of lane.spans) {
      events.push({
        ph: 'X',
        pid: 1,
        tid,
        name: span.node === undefined ? span.stage : `${span.node}: ${span.stage}`,
        cat: span.stage,
        ts: Math.round(span.startMs * 1000),
        dur: Math.round((span.endMs - span.startMs) * 1000),
        args: span.node === undefined ? {} : { node: span.node },
      });
    }
  }
  return `${JSON.stringify({ traceEvents: events, displayTimeUnit: 'ms' })}\n`;
}
