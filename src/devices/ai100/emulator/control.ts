/** Starts the worker that computes for the emulated card: a thread of its own, as a card has its own clock. */
import { Worker } from 'node:worker_threads';
import { entryUrl } from '../../../util/entries.js';
import { forbidOrtTelemetry } from '../../../util/ort-telemetry.js';
import { checkEnvironment, loadControl } from './addon.js';

export interface EmulatorExecutor {
  /** Creates programs that this executor computes for, also when others were started on the same thread since. */
  own<T>(create: () => T): T;
  close(): Promise<void>;
}

export async function startEmulatorExecutor(): Promise<EmulatorExecutor> {
  forbidOrtTelemetry();
  const control = loadControl();
  checkEnvironment(control);
  const executor = control.create();
  const worker = new Worker(entryUrl('devices/ai100/emulator/executor-worker'), {
    workerData: { executor },
    // Flags of this process may be for its own entry alone (--input-type), and would end the worker.
    execArgv: [],
  });
  worker.unref();
  const ended = new Promise<void>((resolve) => {
    worker.once('exit', () => resolve());
    // An executor that died answers no calls: those under way fail, and later ones are refused.
    worker.once('error', (error) => {
      control.close(executor);
      process.emitWarning(`What computes for the emulated card ended: ${error.message}`, { type: 'CardWarning' });
    });
  });
  return {
    own: (create) => {
      control.use(executor);
      try {
        return create();
      } finally {
        control.use(0);
      }
    },
    close: async () => {
      control.close(executor);
      worker.ref();
      await ended;
    },
  };
}

/** Throws where the emulated card is not built, or its settings are not understood. */
export function checkEmulator(): void {
  checkEnvironment(loadControl());
}
