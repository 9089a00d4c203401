/**
 * Progress of a run on standard error: on a terminal one line that is redrawn, elsewhere plain lines; and the answer's
 * text on standard output as it is generated.
 */
import type { RunEvent } from '../contracts/record.js';
import { harmless, type Io } from './io.js';
import { ms } from './summary.js';

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

export interface ProgressOptions {
  readonly quiet: boolean;
  /** Node whose text is the answer, when pieces may be printed as they come; null holds the text back. */
  readonly streamNode: string | null;
  /** Written before the first piece. */
  readonly label?: string;
}

export class Progress {
  readonly #io: Io;
  readonly #options: ProgressOptions;
  readonly #started = new Map<string, number>();
  #line = '';
  #frame = 0;
  #timer: NodeJS.Timeout | undefined;
  /** What standard output has of the answer. */
  #printed = '';
  #held = '';
  /** Messages that wait for the end of the answer, which they would cut in two. */
  #waiting: string[] = [];
  #midLine = false;

  constructor(io: Io, options: ProgressOptions) {
    this.#io = io;
    this.#options = options;
  }

  get printed(): string {
    return this.#printed;
  }

  handle(event: RunEvent): void {
    if (event.type === 'text') this.#text(event.node, event.piece);
    if (this.#options.quiet) return;
    if (event.type === 'stage') this.#stage(event);
    if (event.type === 'progress') this.#progress(event);
    if (event.type === 'notice') this.note(event.message);
  }

  note(message: string): void {
    this.#tell(`${harmless(message)}\n`);
  }

  /** Cannot wait: an answer that is half a line on the same screen is broken off for it. */
  interject(message: string): void {
    if (this.#midLine && this.#io.outMeetsErr) this.#io.err('\n');
    this.#midLine = false;
    this.#clear();
    this.#io.err(`${harmless(message)}\n`);
    this.#draw();
  }

  /** Ends the redrawn line; call before anything else is printed. */
  stop(): void {
    this.#clear();
    this.#line = '';
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** The answer is printed: what waited for it is told. */
  end(): void {
    this.stop();
    this.#midLine = false;
    for (const line of this.#waiting.splice(0)) this.#io.err(line);
  }

  /** No more of the answer will come: its line ends here. */
  breakOff(): void {
    if (this.#printed !== '') this.#io.out('\n');
    this.end();
  }

  #tell(line: string): void {
    if (this.#printed !== '' && this.#io.outMeetsErr) {
      this.#waiting.push(line);
      return;
    }
    this.#clear();
    this.#io.err(line);
    this.#draw();
  }

  /** Text is printed up to the first sign of markup: grounding tags become boxes, which are printed at the end. */
  #text(node: string, piece: string): void {
    if (node !== this.#options.streamNode) return;
    this.#held += piece;
    const markup = this.#held.indexOf('<');
    const plain = markup < 0 ? this.#held : this.#held.slice(0, markup);
    if (plain === '') return;
    this.#held = this.#held.slice(plain.length);
    if (this.#io.outMeetsErr) this.stop();
    const text = `${this.#printed === '' ? (this.#options.label ?? '') : ''}${plain}`;
    this.#io.out(this.#io.outIsTerminal ? harmless(text) : text);
    this.#printed += plain;
    this.#midLine = !plain.endsWith('\n');
  }

  #stage(event: Extract<RunEvent, { type: 'stage' }>): void {
    const { node, at } = event;
    if (event.state === 'start') {
      this.#started.set(node, at);
    } else {
      const took = ms(at - (this.#started.get(node) ?? at));
      this.#started.delete(node);
      const ended = event.outcome === undefined ? took : `${event.outcome} after ${took}`;
      if (!this.#io.errIsTerminal) this.#tell(`${node} ${ended}\n`);
    }
    this.#show([...this.#started.keys()].join(', '));
  }

  #progress({ node, done, total, unit }: Extract<RunEvent, { type: 'progress' }>): void {
    if (!this.#io.errIsTerminal) return;
    const bar = total > 0 ? `${meter(done / total)} ${done}/${total}` : `${done}`;
    this.#show(`${node} ${bar} ${unit}`);
  }

  #show(line: string): void {
    // While the answer itself is being written to the same screen there is no place for a second line.
    if (!this.#io.errIsTerminal || (this.#io.outMeetsErr && this.#printed !== '')) return;
    this.#clear();
    this.#line = line;
    this.#draw();
    if (this.#timer === undefined && line !== '') {
      this.#timer = setInterval(() => this.#draw(), 80);
      this.#timer.unref();
    }
  }

  #draw(): void {
    if (this.#line === '' || !this.#io.errIsTerminal) return;
    this.#frame = (this.#frame + 1) % FRAMES.length;
    const { cyan, faint } = this.#io.paint;
    this.#io.err(`\r\u001b[K${cyan(FRAMES[this.#frame] ?? '')} ${faint(harmless(this.#line))}`);
  }

  #clear(): void {
    if (this.#line !== '' && this.#io.errIsTerminal) this.#io.err('\r\u001b[K');
  }
}

function meter(part: number): string {
  const full = Math.round(Math.min(1, Math.max(0, part)) * 20);
  return `${'█'.repeat(full)}${'░'.repeat(20 - full)}`;
}
