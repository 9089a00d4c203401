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
  readonly #folded = new Map<string, FoldedLane>();
  readonly #totalsOnly: boolean;
  #swaps = 0;

  /**
   * `origin`: when the run began, on the shared clock. `totalsOnly`: for runs of any length: spans are added up as they
   * come and not kept, so that memory stays flat.
   */
  constructor(origin: number = monotonicMs(), options: { readonly totalsOnly?: boolean } = {}) {
    this.#origin = origin;
    this.#totalsOnly = options.totalsOnly === true;
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
    const all = this.lane(lane);
    all.push(...spans);
    if (this.#totalsOnly && all.length >= FOLD_AT) this.#fold(lane, all);
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

  /** Adds up what has ended. What is told later of a time already added up is left out: no moment counts twice. */
  #fold(lane: string, spans: ClockSpan[]): void {
    const folded = this.#folded.get(lane) ?? { until: this.#origin, stages: new Map() };
    const until = spans.reduce((latest, span) => Math.max(latest, span.end), folded.until);
    addUp(folded, spans, until);
    this.#folded.set(lane, { until, stages: folded.stages });
    spans.length = 0;
  }

  /** A program gave its card up for another one. */
  countSwap(): void {
    this.#swaps++;
  }

  close(end: number = monotonicMs()): Ledger {
    const wallMs = Math.max(0, end - this.#origin);
    const lanes = [...this.#lanes].map(([lane, spans]) => ({
      ...(this.#totalsOnly
        ? this.#closeTotals(lane, spans, end, wallMs)
        : closeLane(lane, spans, this.#origin, wallMs)),
      ...(this.#emulated.has(lane) ? { emulated: true } : {}),
    }));
    return { wallMs, lanes, ...(this.#swaps === 0 ? {} : { swaps: this.#swaps }) };
  }

  #closeTotals(lane: string, spans: readonly ClockSpan[], end: number, wallMs: number): LedgerLane {
    const folded = this.#folded.get(lane) ?? { until: this.#origin, stages: new Map() };
    addUp(folded, spans, end);
    return { lane, wallMs, stages: withIdle(Object.fromEntries(folded.stages), wallMs), spans: [] };
  }
}

/** Spans of a lane that are kept until they are added up. */
const FOLD_AT = 4096;

interface FoldedLane {
  /** Up to when, on the shared clock, the sums speak. */
  readonly until: number;
  readonly stages: Map<LedgerStage, number>;
}

function addUp(folded: FoldedLane, spans: readonly ClockSpan[], until: number): void {
  for (const { stage, startMs, endMs } of flatten(spans, folded.until, until - folded.until)) {
    folded.stages.set(stage, (folded.stages.get(stage) ?? 0) + endMs - startMs);
  }
}

function closeLane(lane: string, recorded: readonly ClockSpan[], origin: number, wallMs: number): LedgerLane {
  const spans = flatten(recorded, origin, wallMs);
  const stages: Partial<Record<LedgerStage, number>> = {};
  for (const s of spans) stages[s.stage] = (stages[s.stage] ?? 0) + s.endMs - s.startMs;
  return { lane, wallMs, stages: withIdle(stages, wallMs), spans };
}

/** In the order of the stages; what no span covers is idle. */
function withIdle(given: Partial<Record<LedgerStage, number>>, wallMs: number): LedgerLane['stages'] {
  const busy = Object.values(given).reduce((sum, ms) => sum + ms, 0);
  const stages = { ...given, idle: (given.idle ?? 0) + Math.max(0, wallMs - busy) };
  const ordered: Partial<Record<LedgerStage, number>> = {};
  for (const stage of LEDGER_STAGES) {
    const ms = stages[stage];
    if (ms !== undefined) ordered[stage] = ms;
  }
  return ordered;
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
