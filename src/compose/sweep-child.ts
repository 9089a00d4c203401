/** Entry of the forked child that measures one point of a sweep, and then ends. */
import { VlmError } from '../contracts/errors.js';
import type { ItemRecord } from '../contracts/record.js';
import type { LoadedInputs } from '../runner/inputs/load.js';
import { loadInputs } from '../runner/inputs/load.js';
import type { BatchRecord, PointMeasured } from '../sweep/measure.js';
import { figuresOf } from '../sweep/measure.js';
import type { PointMessage, PointTask } from '../sweep/protocol.js';
import { enableCompileCache } from '../util/compile-cache.js';
import { compileRecipe, requirePlan } from './recipes.js';
import { composedStream } from './run.js';
import { scorePoint } from './sweep-score.js';

enableCompileCache();

interface Batch {
  start: number;
  end: number;
  left: number;
  readonly items: ItemRecord[];
}

async function measure(task: PointTask): Promise<PointMeasured> {
  const options = { set: task.set, devices: task.devices, allowPlugins: task.allowPlugins, cwd: task.folder };
  const plan = requirePlan(await compileRecipe(task.recipe, options), options);
  const size = Math.max(
    1,
    ...plan.nodes.map((node) => Number(node.options['batch_size'] ?? 1)).filter(Number.isInteger),
  );
  const perRound = batchesPerRound(task.inputs.length, size);
  const total = (task.warmup + task.repeats) * perRound;
  const batches: Batch[] = [];
  let finished = 0;
  let wake: () => void = () => undefined;
  let failed: VlmError | undefined;
  const items = async function* (): AsyncGenerator<LoadedInputs> {
    for (let at = 0; at < total; at++) {
      while (at - finished >= task.inFlight && failed === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      if (failed !== undefined) return;
      // Read before the clock starts: the disk is not what is measured.
      const loaded: LoadedInputs[] = [];
      for (let i = 0; i < size; i++)
        loaded.push(await loadInputs(plan, inputsOf(task, at * size + i), { cwd: task.folder }));
      batches[at] = { start: performance.now(), end: 0, left: size, items: [] };
      yield* loaded;
    }
  };
  const result = await composedStream(plan, {
    items: items(),
    lock: false,
    onItem: (record) => {
      const batch = batches[Math.floor(record.index / size)];
      if (batch === undefined) return;
      if (record.error !== undefined) failed ??= VlmError.fromData(record.error);
      batch.items[record.index % size] = record;
      batch.left--;
      if (batch.left === 0) {
        batch.end = performance.now();
        finished++;
        tell({ type: 'progress', done: finished, total });
      }
      wake();
    },
  });
  if (failed !== undefined) throw failed;
  if (result.error !== undefined) throw VlmError.fromData(result.error);
  const measured = roundsOf(batches, perRound).slice(task.warmup);
  const emulated = result.ledger.lanes.some((lane) => lane.emulated === true);
  // Read before the score is asked: that is no part of what the point needs.
  const peakMemoryBytes = process.resourceUsage().maxRSS * 1024;
  return {
    figures: figuresOf(measured, batches[task.warmup * perRound - 1]?.end, task.seed),
    coldTtftMs: task.warmup > 0 ? (batches[0]?.items[0]?.metrics?.ttftMs ?? null) : null,
    peakMemoryBytes,
    ledger: result.ledger,
    items: total * size,
    tokens: tokensOf(task, batches, size),
    ...(task.score === null ? {} : { score: await scorePoint(plan, task.score) }),
    emulated,
  };
}

/** Fewest batches of `size` that hold every set of inputs equally often: then all rounds are the same work. */
function batchesPerRound(inputs: number, size: number): number {
  let [a, b] = [inputs, size];
  while (b > 0) [a, b] = [b, a % b];
  return inputs / a;
}

function roundsOf(batches: readonly Batch[], perRound: number): BatchRecord[][] {
  return Array.from({ length: batches.length / perRound }, (_, i) => batches.slice(i * perRound, (i + 1) * perRound));
}

function inputsOf(task: PointTask, item: number): PointTask['inputs'][number] {
  return task.inputs[item % task.inputs.length] ?? {};
}

/** Ids of each set of inputs, from the first batch that had it. Two answers to one question are a defect. */
function tokensOf(task: PointTask, batches: readonly Batch[], size: number): number[][] {
  const tokens: number[][] = [];
  for (const [at, batch] of batches.entries()) {
    for (const [i, record] of batch.items.entries()) {
      const input = (at * size + i) % task.inputs.length;
      tokens[input] ??= [...(record.generatedIds ?? [])];
    }
  }
  return tokens;
}

function tell(message: PointMessage, then: () => void = () => undefined): void {
  if (process.connected) process.send?.(message, undefined, undefined, then);
}

process.once('message', (task: PointTask) => {
  const leave = (): void => process.disconnect();
  measure(task).then(
    (result) => tell({ type: 'measured', result }, leave),
    (error: unknown) =>
      tell(
        { type: 'failed', error: VlmError.wrap(error, 'INTERNAL', { what: 'The point could not be run' }).toData() },
        leave,
      ),
  );
});
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined);
