/** Progress of a dataset on standard error: counts, rate, time left; a redrawn line on a terminal, else a line now and then. */
import type { ResultRow } from '../dataset/store.js';
import type { Io } from './io.js';

const REDRAW_MS = 100;
const PLAIN_MS = 10_000;

export class DatasetProgress {
  readonly #io: Io;
  readonly #quiet: boolean;
  readonly #started = performance.now();
  readonly #codes = new Map<string, number>();
  #done = 0;
  #failed = 0;
  #hits = 0;
  #misses = 0;
  #total: number | undefined;
  #shown = 0;
  #drawn = false;
  #firstRow: number | undefined;
  #emulated = false;

  constructor(io: Io, quiet: boolean) {
    this.#io = io;
    this.#quiet = quiet;
  }

  get counts() {
    const codes = Object.fromEntries(this.#codes);
    return { done: this.#done, failed: this.#failed, hits: this.#hits, misses: this.#misses, codes };
  }

  /** Items that this run has to do. */
  total(total: number): void {
    this.#total = total;
  }

  row(row: ResultRow): void {
    this.#firstRow ??= performance.now();
    this.#done++;
    if (!row.ok) {
      this.#failed++;
      const { code } = row['error'] as { readonly code: string };
      this.#codes.set(code, (this.#codes.get(code) ?? 0) + 1);
    }
    if (row['embeddings'] === 'hit') this.#hits++;
    if (row['embeddings'] === 'miss') this.#misses++;
    if (row['emulated'] === true) this.#emulated = true;
    this.#show();
  }

  note(message: string): void {
    if (this.#quiet) return;
    this.#clear();
    this.#io.err(`${message}\n`);
  }

  stop(): void {
    this.#clear();
  }

  summary(wallMs: number, skipped: number, cancelled: boolean, kept: boolean): string {
    const parts = [`${this.#done} items in ${seconds(wallMs)}`, `${rate(this.#done, wallMs)} items/s`];
    if (this.#failed > 0) {
      parts.push(`${this.#failed} failed (${[...this.#codes].map(([code, n]) => `${code} ${n}`).join(', ')})`);
    }
    if (skipped > 0) parts.push(`${skipped} were done before`);
    if (this.#hits + this.#misses > 0) parts.push(`embeddings ${this.#hits} hit, ${this.#misses} miss`);
    if (this.#emulated) parts.push('emulated');
    if (cancelled) parts.push(kept ? 'interrupted: --resume goes on' : 'interrupted');
    else if (kept && this.#failed > 0) parts.push('--retry-failed runs those again');
    return this.#io.paint.bold(parts.join(' · '));
  }

  #show(): void {
    if (this.#quiet) return;
    const now = performance.now();
    const terminal = this.#io.errIsTerminal;
    if (now - this.#shown < (terminal ? REDRAW_MS : PLAIN_MS)) return;
    if (this.#shown === 0 && !terminal) {
      this.#shown = now;
      return;
    }
    this.#shown = now;
    if (terminal) this.#clear();
    this.#io.err(terminal ? `\r${this.#line(now)}\u001b[K` : `${this.#line(now)}\n`);
    this.#drawn = terminal;
  }

  #line(now: number): string {
    const of = this.#total === undefined ? '' : `/${this.#total}`;
    const parts = [`${this.#done}${of}`, `${rate(this.#done, now - this.#started)} items/s`];
    if (this.#failed > 0) parts.push(`${this.#failed} failed`);
    if (this.#hits > 0) parts.push(`${this.#hits} embeddings known`);
    if (this.#total !== undefined && this.#done > 0) {
      // The first item waits for the model to load: what follows tells how long the rest will take.
      const since = this.#done > 1 ? now - (this.#firstRow ?? now) : now - this.#started;
      const each = since / Math.max(1, this.#done - 1);
      parts.push(`${seconds(each * Math.max(0, this.#total - this.#done))} left`);
    }
    return parts.join(' · ');
  }

  #clear(): void {
    if (this.#drawn) this.#io.err('\r\u001b[K');
    this.#drawn = false;
  }
}

function rate(items: number, ms: number): string {
  return ((items / Math.max(1, ms)) * 1000).toFixed(1);
}

function seconds(ms: number): string {
  const whole = Math.round(ms / 1000);
  if (whole < 60) return `${(ms / 1000).toFixed(1)} s`;
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  const rest = String(whole % 60).padStart(2, '0');
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${rest}` : `${minutes}:${rest} min`;
}
