/**
 * Ctrl-C. The first one asks the run to stop after the native call that is under way; the second one writes what is
 * known and lets the signal end the process: no destructor runs, so a native call in flight cannot abort it half-way.
 */
import { giveUpWrites } from '../util/atomic-write.js';

export interface SignalWatch {
  readonly signal: AbortSignal;
  readonly interrupted: boolean;
  /** Called once, synchronously, before the process is ended by a second signal. */
  onKill(act: () => void): void;
  onFirst(act: () => void): void;
  release(): void;
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

export function watchSignals(): SignalWatch {
  const controller = new AbortController();
  const kills: (() => void)[] = [];
  const firsts: (() => void)[] = [];
  const listener = (name: NodeJS.Signals): void => {
    if (!controller.signal.aborted) {
      controller.abort();
      for (const act of firsts) act();
      return;
    }
    try {
      for (const act of kills) act();
    } finally {
      giveUpWrites();
      release();
      process.kill(process.pid, name);
    }
  };
  const release = (): void => {
    for (const name of SIGNALS) process.removeListener(name, listener);
  };
  for (const name of SIGNALS) process.on(name, listener);
  return {
    signal: controller.signal,
    get interrupted() {
      return controller.signal.aborted;
    },
    onKill: (act) => {
      kills.push(act);
    },
    onFirst: (act) => {
      firsts.push(act);
    },
    release,
  };
}
