/** A run from plan to result: inputs are loaded, pools started, the plan executed, everything closed again. */
import { VlmError } from '../contracts/errors.js';
import type { NodeOutputs } from '../contracts/node.js';
import type { Plan, PlanNode } from '../contracts/recipe.js';
import type { ItemRecord, RunEvent, RunResultRecord } from '../contracts/record.js';
import { execute } from './executor.js';
import type { LoadedInputs } from './inputs/load.js';
import type { RunItem } from './item.js';
import { LedgerBook } from './ledger.js';
import { type PoolOptions, WorkerPools } from './pool.js';
import type { ClockSpan, EmbeddingSettings } from './protocol.js';
import { type ExclusiveLanes, SwappingTasks } from './swap.js';

export interface RunPlanOptions {
  /** One entry an item; a plain run has one. Of a stream only `onItem` gets the records. */
  readonly items: readonly LoadedInputs[] | AsyncIterable<LoadedInputs>;
  readonly onEvent?: (event: RunEvent) => void;
  readonly onItem?: (record: ItemRecord) => void;
  /** Cooperative: the run stops after the native call that is under way. */
  readonly signal?: AbortSignal;
  /** When the run began, on the shared clock, and what happened since. Default: now, nothing. */
  readonly origin?: number;
  readonly spans?: readonly ClockSpan[];
  readonly poolOptions?: PoolOptions;
  /** Workers that were started before there was a plan; closed at the end like those that are started here. */
  readonly pools?: WorkerPools;
  /** Lanes (`DEVICE PROGRAM`) of which one at a time may be active. */
  readonly exclusive?: readonly ExclusiveLanes[];
  /** Keeps vision embeddings for items that show the same pictures. Default: none are kept. */
  readonly embeddings?: EmbeddingSettings;
  readonly verify?: (plan: Plan, node: PlanNode, outputs: NodeOutputs) => Promise<void>;
}

export async function runPlan(plan: Plan, options: RunPlanOptions): Promise<RunResultRecord> {
  const streamed = Symbol.asyncIterator in options.items;
  const ledger = new LedgerBook(options.origin, { totalsOnly: streamed });
  ledger.add('main', options.spans ?? []);
  const cancel = new Int32Array(new SharedArrayBuffer(4));
  const stop = (): void => {
    Atomics.store(cancel, 0, 1);
  };
  const { signal, onEvent, onItem, verify, embeddings } = options;
  if (signal?.aborted === true) stop();
  signal?.addEventListener('abort', stop, { once: true });
  const pools = options.pools ?? new WorkerPools(options.poolOptions);
  try {
    return await execute({
      plan,
      items: valuesOf(options.items),
      runner: options.exclusive === undefined ? pools : new SwappingTasks(pools, options.exclusive, ledger),
      ledger,
      cancel,
      ...(onEvent === undefined ? {} : { onEvent }),
      ...(onItem === undefined ? {} : { onItem }),
      ...(verify === undefined ? {} : { verify }),
      ...(embeddings === undefined ? {} : { embeddings }),
    });
  } catch (error) {
    throw VlmError.wrap(error, 'INTERNAL', { what: 'The runner failed' });
  } finally {
    signal?.removeEventListener('abort', stop);
    await pools.close();
  }
}

function valuesOf(
  items: readonly LoadedInputs[] | AsyncIterable<LoadedInputs>,
): readonly RunItem[] | AsyncIterable<RunItem> {
  if (!(Symbol.asyncIterator in items)) return items.map((item) => item.values);
  return (async function* () {
    for await (const item of items) yield item.values;
  })();
}
