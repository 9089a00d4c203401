/** Entry of the executor's thread: takes jobs one after another until the executor is closed. */
import { workerData } from 'node:worker_threads';
import { type EmulatorJob, loadControl } from './addon.js';
import type { EmulatedPrograms } from './executor.js';

const POLL_MS = 50;
const DEVICE_ERROR = 300;

const { executor } = workerData as { readonly executor: number };
const control = loadControl();
/** ONNX Runtime is loaded for the first job: programs that need no executor start at once. */
const kept: { programs?: EmulatedPrograms } = {};

async function compute(job: EmulatorJob): Promise<void> {
  if (job.kind !== 0) {
    if (job.kind === 1) kept.programs?.released(job.exec);
    else kept.programs?.lost(job.exec, job.kind === 2 ? 'cache' : 'rows');
    control.finish(executor, job.job, 0, []);
    return;
  }
  try {
    kept.programs ??= new (await import('./executor.js')).EmulatedPrograms();
    control.finish(executor, job.job, 0, await kept.programs.run(job));
  } catch (error) {
    if (process.env['VLM_AICEMU_DEBUG'] !== undefined) process.emitWarning(String(error));
    control.finish(executor, job.job, DEVICE_ERROR, []);
  }
}

async function serve(): Promise<void> {
  for (;;) {
    const job = control.take(executor, POLL_MS);
    if (job === false) break;
    if (job !== null) await compute(job);
    else await new Promise((resolve) => setImmediate(resolve));
  }
  await kept.programs?.close();
}

// An error that gets here ends the thread, as one at the top of the file would.
void serve();
