/**
 * The folder of a run (`--out`): run.json (the run record), answer.json, overlay pictures. Every file is whole at any
 * moment: run.json exists, with status "running", before the first node starts, and is replaced at each item's end, so
 * that whatever ends the process leaves a complete record of what was done.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ErrorData } from '../contracts/errors.js';
import type { AnswerValue, PortValue } from '../contracts/ports.js';
import type { Diagnostic, Plan } from '../contracts/recipe.js';
import type { ItemRecord, Ledger } from '../contracts/record.js';
import { writeFileAtomic, writeFileAtomicSync } from '../util/atomic-write.js';
import type { InputDigest } from './inputs/load.js';

export type RunStatus = 'running' | 'done' | 'failed' | 'cancelled';

/** What stays of a run: schemas/run.schema.json describes it. */
export interface RunRecord {
  readonly format: 1;
  readonly status: RunStatus;
  readonly recipe: {
    readonly name: string;
    readonly file: string;
    /** The recipe as resolved: `extends`, `--set` and `--device` applied. */
    readonly resolved: unknown;
    /** Each node's options with the defaults filled in. */
    readonly options: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
    readonly devices: Readonly<Record<string, unknown>>;
  };
  readonly versions: Readonly<Record<string, string>>;
  readonly startedAt: string;
  readonly endedAt?: string;
  readonly model: { readonly name: string; readonly sha256: Readonly<Record<string, string>> } | null;
  readonly inputs: readonly (InputDigest & { readonly item: number })[];
  /** The lock beside the recipe, and where the run departs from it. */
  readonly lock?: { readonly file: string; readonly departs: readonly string[] };
  readonly warnings: readonly Diagnostic[];
  readonly items: readonly unknown[];
  /** Text that was streamed by items which did not finish. */
  readonly partial?: Readonly<Record<string, string>>;
  readonly ledger?: Ledger;
  readonly error?: ErrorData;
}

export interface RunDirectoryOptions {
  readonly folder: string;
  readonly plan: Plan;
  readonly versions: Readonly<Record<string, string>>;
  readonly inputs: readonly (readonly InputDigest[])[];
  readonly warnings?: readonly Diagnostic[];
}

export interface RunEnding {
  readonly status: RunStatus;
  readonly ledger?: Ledger;
  readonly error?: ErrorData;
}

export class RunDirectory {
  readonly folder: string;
  readonly #options: RunDirectoryOptions;
  readonly #startedAt = new Date().toISOString();
  readonly #items: ItemRecord[] = [];
  readonly #partial = new Map<number, string>();
  #model: RunRecord['model'] = null;
  #lock: RunRecord['lock'];
  #writing: Promise<void> = Promise.resolve();
  #queued = false;
  #finished = false;

  constructor(options: RunDirectoryOptions) {
    this.#options = options;
    this.folder = options.folder;
  }

  /** Throws OUTPUT_UNWRITABLE at once, before any work is done for nothing. */
  async begin(): Promise<void> {
    await this.#clear();
    await writeFileAtomic(this.#path('run.json'), this.#text({ status: 'running' }));
  }

  /** Answer and pictures of an earlier run in this folder are not those of this one. */
  async #clear(): Promise<void> {
    const names = await readdir(this.folder).catch((): string[] => []);
    if (!names.includes('run.json')) return;
    const stale = names.filter((name) => name === 'answer.json' || /^overlay(?:-[\w-]+)?\.(?:png|svg)$/.test(name));
    await Promise.all(stale.map((name) => rm(this.#path(name), { force: true })));
  }

  set model(model: RunRecord['model']) {
    this.#model = model;
  }

  set lock(lock: NonNullable<RunRecord['lock']>) {
    this.#lock = lock;
  }

  addText(item: number, piece: string): void {
    this.#partial.set(item, (this.#partial.get(item) ?? '') + piece);
  }

  /** Keeps an item's record and writes what there is; writes that come close together become one. */
  addItem(record: ItemRecord): void {
    this.#items[record.index] = record;
    if (record.ok) this.#partial.delete(record.index);
    if (this.#queued) return;
    this.#queued = true;
    this.#writing = this.#writing.then(async () => {
      this.#queued = false;
      await writeFileAtomic(this.#path('run.json'), this.#text({ status: 'running' }));
    });
    // Seen again, and thrown, at the end of the run.
    this.#writing.catch(() => undefined);
  }

  /** Writes everything. Returns the paths, the record first. */
  async finish(ending: RunEnding): Promise<readonly string[]> {
    await this.#writing;
    const written: string[] = [];
    const write = async (name: string, data: string | Uint8Array): Promise<void> => {
      await writeFileAtomic(this.#path(name), data);
      written.push(this.#path(name));
    };
    await write('run.json', this.#text(ending));
    const answers = this.#items.map((item) => this.#answer(item));
    if (answers.length > 0) {
      const one = answers.length === 1;
      await write('answer.json', json(one ? answers[0] : answers));
    }
    for (const item of this.#items) {
      for (const { name, answer } of answersIn(item)) {
        const { overlay } = answer;
        if (overlay !== undefined) await write(this.#overlayName(item, name, overlay.format), overlay.bytes);
      }
    }
    this.#finished = true;
    return written;
  }

  /** For the last moments of a process: what is known, now. A record that is finished stays as it is. */
  flushSync(ending: RunEnding): void {
    if (this.#finished) return;
    writeFileAtomicSync(this.#path('run.json'), this.#text(ending));
  }

  /** What answer.json says of an item. */
  #answer(item: ItemRecord): unknown {
    if (!item.ok) return { ok: false, error: item.error };
    const outputs = Object.entries(item.outputs ?? {}).map(([name, value]): [string, unknown] => {
      if (value.kind !== 'answer' || value.overlay === undefined) return [name, plainValue(value)];
      const { format } = value.overlay;
      const overlay = { format, file: this.#overlayName(item, name, format) };
      return [name, { ...(plainValue({ ...value, overlay: undefined }) as object), overlay }];
    });
    return { ok: true, text: item.text ?? null, outputs: Object.fromEntries(outputs) };
  }

  #overlayName(item: ItemRecord, output: string, format: string): string {
    const several = this.#items.length > 1 ? `-${item.index}` : '';
    const named = answersIn(item).length > 1 ? `-${output}` : '';
    return `overlay${several}${named}.${format}`;
  }

  #path(name: string): string {
    return join(this.folder, name);
  }

  #text(ending: RunEnding): string {
    const { plan, versions, inputs, warnings } = this.#options;
    const ended = ending.status === 'running' ? {} : { endedAt: new Date().toISOString() };
    const record: RunRecord = {
      format: 1,
      status: ending.status,
      recipe: {
        name: plan.name,
        file: plan.file,
        resolved: plan.recipe,
        options: Object.fromEntries(plan.nodes.map((node) => [node.name, node.options])),
        devices: plan.devices,
      },
      versions,
      startedAt: this.#startedAt,
      ...ended,
      model: this.#model,
      inputs: inputs.flatMap((list, item) => list.map((digest) => ({ item, ...digest }))),
      ...(this.#lock === undefined ? {} : { lock: this.#lock }),
      warnings: warnings ?? [],
      items: this.#items.filter((item) => item !== undefined).map(plainItem),
      ...(this.#partial.size === 0 ? {} : { partial: Object.fromEntries(this.#partial) }),
      ...(ending.ledger === undefined ? {} : { ledger: ending.ledger }),
      ...(ending.error === undefined ? {} : { error: ending.error }),
    };
    return json(record);
  }
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** An item as JSON: bytes become their length, typed arrays plain lists. */
export function plainItem(item: ItemRecord): unknown {
  return { ...item, ...(item.outputs === undefined ? {} : { outputs: plainOutputs(item.outputs) }) };
}

function plainOutputs(outputs: Readonly<Record<string, PortValue>>): unknown {
  return Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, plainValue(value)]));
}

/** A port value as JSON data. Tensors and pictures are described, not spelled out. */
export function plainValue(value: unknown): unknown {
  // Pictures, as `bytes` of an overlay: how many there are.
  if (value instanceof Uint8Array) return value.byteLength;
  if (value instanceof Int32Array) return Array.from(value);
  if (ArrayBuffer.isView(value)) return { bytes: value.byteLength };
  if (Array.isArray(value)) return value.map(plainValue);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plainValue(inner)]));
}

function answersIn(item: ItemRecord): { readonly name: string; readonly answer: AnswerValue }[] {
  return Object.entries(item.outputs ?? {}).flatMap(([name, value]) =>
    value.kind === 'answer' ? [{ name, answer: value }] : [],
  );
}
