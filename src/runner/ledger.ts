/**
 * The ledger: where the wall time of a run went, one lane a thread. Each lane's stages sum to the wall time by
 * construction: recorded spans are clipped to the run and flattened (of overlapping spans the one that began last
 * wins: it is the more precise one), and what no span covers is idle time of that thread.
 */
import { LEDGER_STAGES, type LedgerStage } from '../contracts/node.js';
import type { Ledger, LedgerLane } from '../contracts/record.js';
import { type ClockSpan, monotonicMs } from './protocol.js';

type FlatSpan = LedgerLane['spans'][number];

export class LedgerBook {
  readonly #origin: number;
  readonly #lanes = new Map<string, ClockSpan[]>();
  readonly #emulated = new Set<string>();
  #swaps = 0;

  /** `origin`: when the run began, on the shared clock. */
  constructor(origin: number = monotonicMs()) {
    this.#origin = origin;
    this.lane('main');
  }

  get origin(): number {
    return this.#origin;
  }

  lane(name: string): ClockSpan[] {
    let spans = this.#lanes.get(name);
    if (spans === undefined) {
      spans = [];
      this.#lanes.set(name, spans);
    }
    return spans;
  }

  /** `emulated`: the times are those of something that is not the real device. It stays true. */
  add(lane: string, spans: readonly ClockSpan[], emulated = false): void {
    this.lane(lane).push(...spans);
    if (emulated) this.#emulated.add(lane);
  }

  /** Times synchronous work of the main thread. */
  main<T>(stage: LedgerStage, work: () => T, node?: string): T {
    const start = monotonicMs();
    try {
      return work();
    } finally {
      this.add('main', [{ stage, start, end: monotonicMs(), ...(node === undefined ? {} : { node }) }]);
    }
  }

  /** A program gave its card up for another one. */
  countSwap(): void {
    this.#swaps++;
  }

  close(end: number = monotonicMs()): Ledger {
    const wallMs = Math.max(0, end - this.#origin);
    const lanes = [...this.#lanes].map(([lane, spans]) => ({
      ...closeLane(lane, spans, this.#origin, wallMs),
      ...(this.#emulated.has(lane) ? { emulated: true } : {}),
    }));
    return { wallMs, lanes, ...(this.#swaps === 0 ? {} : { swaps: this.#swaps }) };
  }
}

function closeLane(lane: string, recorded: readonly ClockSpan[], origin: number, wallMs: number): LedgerLane {
  const spans = flatten(recorded, origin, wallMs);
  const stages: Partial<Record<LedgerStage, number>> = {};
  let busy = 0;
  for (const s of spans) {
    const ms = s.endMs - s.startMs;
    stages[s.stage] = (stages[s.stage] ?? 0) + ms;
    busy += ms;
  }
  stages.idle = (stages.idle ?? 0) + Math.max(0, wallMs - busy);
  const ordered: Partial<Record<LedgerStage, number>> = {};
  for (const stage of LEDGER_STAGES) {
    const ms = stages[stage];
    if (ms !== undefined) ordered[stage] = ms;
  }
  return { lane, wallMs, stages: ordered, spans };
}

/** Non-overlapping spans in order of time, relative to the origin. */
export function flatten(recorded: readonly ClockSpan[], origin: number, wallMs: number): FlatSpan[] {
  const spans = recorded
    .map((s) => ({ ...s, start: Math.max(0, s.start - origin), end: Math.min(wallMs, s.end - origin) }))
    .filter((s) => s.end > s.start)
    // Outer spans first: earlier start, and of spans with one start the longer.
    .sort((a, b) => a.start - b.start || b.end - a.end);
  const out: FlatSpan[] = [];
  const open: ClockSpan[] = [];
  let at = 0;
  const emit = (until: number): void => {
    const top = open.at(-1);
    if (top !== undefined && until > at) push(out, top, at, until);
    at = Math.max(at, until);
  };
  const closeUntil = (time: number): void => {
    for (let top = open.at(-1); top !== undefined && top.end <= time; top = open.at(-1)) {
      emit(top.end);
      open.pop();
    }
  };
  for (const span of spans) {
    closeUntil(span.start);
    emit(span.start);
    open.push(span);
  }
  closeUntil(Number.POSITIVE_INFINITY);
  return out;
}

function push(out: FlatSpan[], span: ClockSpan, startMs: number, endMs: number): void {
  const last = out.at(-1);
  if (last !== undefined && last.stage === span.stage && last.node === span.node && last.endMs === startMs) {
    out[out.length - 1] = { ...last, endMs };
    return;
  }
  out.push({ stage: span.stage, ...(span.node === undefined ? {} : { node: span.node }), startMs, endMs });
}
