/** A ledger in the Trace Event Format that Chrome's tracing page and Perfetto open. Times are microseconds. */
import type { Ledger } from '../contracts/record.js';

export function chromeTrace(ledger: Ledger, name: string): string {
  const events: unknown[] = [{ ph: 'M', pid: 1, tid: 0, name: 'process_name', args: { name: `vlm-run ${name}` } }];
  for (const [tid, lane] of ledger.lanes.entries()) {
    events.push({ ph: 'M', pid: 1, tid, name: 'thread_name', args: { name: lane.lane } });
    events.push({ ph: 'M', pid: 1, tid, name: 'thread_sort_index', args: { sort_index: tid } });
    for (const span of lane.spans) {
      // Both ends are rounded, and not the length: a span would reach into the next one.
      const [start, end] = [Math.round(span.startMs * 1000), Math.round(span.endMs * 1000)];
      events.push({
        ph: 'X',
        pid: 1,
        tid,
        name: span.node === undefined ? span.stage : `${span.node}: ${span.stage}`,
        cat: span.stage,
        ts: start,
        dur: end - start,
        args: span.node === undefined ? {} : { node: span.node },
      });
    }
  }
  return `${JSON.stringify({ traceEvents: events, displayTimeUnit: 'ms' })}\n`;
}
