/** Processes that checks run in, under a watchdog. The next one starts while the last one works. */
import { type ChildProcess, fork } from 'node:child_process';
import type { Answer, Order } from './types.js';

const START_MS = 60_000;
const FAREWELL_MS = 2000;

class Child {
  readonly #process: ChildProcess;
  readonly ready: Promise<boolean>;
  #words = '';

  constructor(file: URL, env: NodeJS.ProcessEnv) {
    const child = fork(file, [], { silent: true, execArgv: ['--no-warnings'], env });
    this.#process = child;
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#words = (this.#words + chunk.toString('utf8')).slice(-2000);
    });
    child.stdout?.resume();
    this.ready = new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), START_MS);
      const settle = (good: boolean) => (): void => {
        clearTimeout(timer);
        resolve(good);
      };
      child.once('message', settle(true));
      child.once('exit', settle(false));
      child.once('error', settle(false));
    });
  }

  /** Never rejects: a hang or crash is an answer. */
  async ask(order: Order, silenceMs: number): Promise<{ readonly answer: Answer; readonly lives: boolean }> {
    if (!(await this.ready)) {
      return { answer: lost('the process of the kit starts', `it did not${this.#last()}`), lives: false };
    }
    const child = this.#process;
    return new Promise((resolve) => {
      let hung = false;
      const timer = setTimeout(() => {
        hung = true;
        child.kill('SIGKILL');
      }, silenceMs);
      const onMessage = (answer: Answer): void => {
        clearTimeout(timer);
        child.off('close', onClose);
        resolve({ answer, lives: true });
      };
      const onClose = (code: number | null, signal: string | null): void => {
        clearTimeout(timer);
        child.off('message', onMessage);
        const seconds = silenceMs / 1000;
        const answer = hung
          ? lost(`an answer within ${seconds} s`, 'hung: none came, and its process was ended')
          : lost('the process survives the calls', `crashed: ${signal ?? `exit code ${code}`}${this.#last()}`);
        resolve({ answer, lives: false });
      };
      child.once('message', onMessage);
      child.once('close', onClose);
      if (child.connected) child.send(order);
    });
  }

  end(): void {
    const child = this.#process;
    if (child.exitCode !== null || child.signalCode !== null) return;
    if (child.connected) child.disconnect();
    // A runtime that hangs at exit is no finding: what was asked has been answered.
    const timer = setTimeout(() => child.kill('SIGKILL'), FAREWELL_MS);
    timer.unref();
    child.once('exit', () => clearTimeout(timer));
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }

  #last(): string {
    const line = this.#words.trim().split('\n').at(-1) ?? '';
    return line === '' ? '' : `; its last words: ${line.slice(0, 200)}`;
  }
}

function lost(expected: string, received: string): Answer {
  return { verdict: 'failed', expected, received };
}

export class Lane {
  readonly #file: URL;
  readonly #silenceMs: number;
  readonly #env: NodeJS.ProcessEnv;
  #current: Child | null = null;
  #next: Child;

  constructor(file: URL, silenceMs: number, env: NodeJS.ProcessEnv) {
    this.#file = file;
    this.#silenceMs = silenceMs;
    this.#env = env;
    this.#next = new Child(file, env);
  }

  /** `light`: a check that leaves nothing behind; where it passed, its process goes on. */
  async ask(order: Order, light: boolean): Promise<Answer> {
    if (this.#current === null) {
      this.#current = this.#next;
      this.#next = new Child(this.#file, this.#env);
    }
    // A process that does not start says nothing of the card: it is tried once more.
    if (!(await this.#current.ready)) {
      this.#current.kill();
      this.#current = new Child(this.#file, this.#env);
    }
    const child = this.#current;
    const { answer, lives } = await child.ask(order, this.#silenceMs);
    if (!light || !lives || answer.verdict !== 'passed') {
      child.end();
      this.#current = null;
    }
    return answer;
  }

  /** `at once`: whatever is under way. */
  end(atOnce = false): void {
    for (const child of [this.#current, this.#next]) {
      if (atOnce) child?.kill();
      else child?.end();
    }
  }
}
