/** Entry of the forked child that runs the items of a dataset. Speaks src/dataset/protocol.ts with its parent. */
import { type ErrorData, VlmError } from '../contracts/errors.js';
import type { Plan } from '../contracts/recipe.js';
import type { ItemRecord } from '../contracts/record.js';
import type { ChildMessage, ParentMessage, StartMessage } from '../dataset/protocol.js';
import { failedRow, isOfAnItem, rowOf } from '../dataset/rows.js';
import type { DatasetItem } from '../dataset/source.js';
import { runsEmulated } from '../devices/ai100/library.js';
import { type InputGiven, type LoadedInputs, loadInputs } from '../runner/inputs/load.js';
import { enableCompileCache } from '../util/compile-cache.js';
import { compileRecipe, requirePlan } from './recipes.js';
import { composedStream } from './run.js';

enableCompileCache();

const ALIVE_MS = 1000;

interface Taken {
  readonly seq: number;
  readonly id: string;
  readonly since: number;
}

class Child {
  readonly #stop = new AbortController();
  readonly #waiting: ((message: ParentMessage) => void)[] = [];
  /** By the number that the runner gives the item. */
  readonly #taken = new Map<number, Taken>();
  #yielded = 0;
  #told = 0;

  receive(message: ParentMessage): void {
    if (message.type === 'start') {
      this.#run(message).catch((error: unknown) => this.#fatal(error));
      return;
    }
    if (message.type === 'stop') this.#stop.abort();
    // Whoever waits for an item waits no longer, either way.
    if (message.type === 'stop') for (const wake of this.#waiting.splice(0)) wake({ type: 'end' });
    else this.#waiting.shift()?.(message);
  }

  async #run(start: StartMessage): Promise<void> {
    const plan = requirePlan(await compileRecipe(start.file, start.options), start.options);
    const emulated = Object.values(plan.devices).some(runsEmulated);
    const result = await composedStream(plan, {
      items: this.#items(plan, start),
      signal: this.#stop.signal,
      recipeArguments: start.arguments,
      ...(start.embeddings === null ? {} : { embeddings: start.embeddings }),
      onItem: (record) => this.#finish(record, emulated),
      onEvent: (event) => {
        if (event.type === 'notice') tell({ type: 'notice', message: event.message });
        else this.#alive();
      },
    });
    tell({ type: 'done', ledger: result.ledger }, () => process.disconnect());
  }

  async *#items(plan: Plan, start: StartMessage): AsyncGenerator<LoadedInputs> {
    for (let next = await this.#ask(); next.type === 'item'; next = await this.#ask()) {
      const { seq, item } = next;
      const since = performance.now();
      const inputs = await this.#load(plan, start, item);
      if ('code' in inputs) {
        tell({ type: 'row', seq, row: failedRow(item.id, inputs, performance.now() - since) });
        continue;
      }
      this.#taken.set(this.#yielded++, { seq, id: item.id, since });
      yield inputs;
    }
  }

  #ask(): Promise<ParentMessage> {
    if (this.#stop.signal.aborted) return Promise.resolve({ type: 'end' });
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      tell({ type: 'want' });
    });
  }

  async #load(plan: Plan, start: StartMessage, item: DatasetItem): Promise<LoadedInputs | ErrorData> {
    if (item.error !== undefined) return item.error;
    try {
      const own = item.given as Readonly<Record<string, InputGiven>>;
      return await loadInputs(plan, { ...start.given, ...own }, { cwd: item.folder, signal: this.#stop.signal });
    } catch (error) {
      const data = VlmError.wrap(error, 'INTERNAL', { what: 'An item could not be read' }).toData();
      if (data.code !== 'INPUT_UNREADABLE') return data;
      return { ...data, hint: 'paths in a dataset file start from the folder of that file' };
    }
  }

  #finish(record: ItemRecord, emulated: boolean): void {
    const taken = this.#taken.get(record.index);
    this.#taken.delete(record.index);
    if (taken === undefined || record.error?.code === 'CANCELLED') return;
    const { error } = record;
    if (error !== undefined && !isOfAnItem(error)) {
      // A worker that died may have left anything behind: this process ends, and its items are tried one by one.
      if (error.code === 'WORKER_DIED') process.kill(process.pid, 'SIGKILL');
      this.#fatal(VlmError.fromData(error));
      return;
    }
    const latency = performance.now() - taken.since;
    tell({ type: 'row', seq: taken.seq, row: rowOf(taken.id, record, latency, emulated) });
  }

  #alive(): void {
    const now = performance.now();
    if (now - this.#told < ALIVE_MS) return;
    this.#told = now;
    tell({ type: 'alive' });
  }

  #fatal(error: unknown): void {
    const data = VlmError.wrap(error, 'INTERNAL', { what: 'The dataset could not be run' }).toData();
    this.#stop.abort();
    tell({ type: 'fatal', error: data });
  }
}

function tell(message: ChildMessage, then: () => void = () => undefined): void {
  if (process.connected) process.send?.(message, undefined, undefined, then);
}

const child = new Child();
process.on('message', (message: ParentMessage) => child.receive(message));
// A parent that is gone keeps no results. Ended by signal: an exit could abort inside a native call.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
// Ctrl-C goes to the whole group; the parent says what it means.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined);
