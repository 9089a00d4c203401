/** Whole runs of the tiny models against transformers' own generate: what the tests of the families share. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { ChatMessage } from '../src/contracts/node.js';
import type { MessagesValue } from '../src/contracts/ports.js';
import type { ItemRecord } from '../src/contracts/record.js';
import { run } from '../src/index.js';
import { cli } from './cli/fakes/spawn.js';
import type { Answered } from './whole-run-logits.js';

/** What the reference answers to a prompt. */
export interface Answer {
  /** A run of one id is [id, times]. */
  readonly ids: readonly (number | readonly [number, number])[];
  readonly tokens: readonly number[];
  /** Every fourth, of the first and the last step. */
  readonly logits: Readonly<Record<string, readonly number[]>>;
}
export interface Prompt {
  readonly images: readonly string[];
  readonly messages: readonly ChatMessage[];
}
export interface Goldens<T extends Prompt> {
  readonly steps: number;
  readonly cases: Readonly<Record<string, T>>;
}
export type Picture = (name: string) => Buffer;

export function readGoldens<T extends Prompt>(model: string): Goldens<T> {
  return JSON.parse(readFileSync(join(model, 'goldens.json'), 'utf8')) as Goldens<T>;
}

export interface Settings {
  readonly prefill: number;
  readonly batch?: number;
  readonly visionBatch?: number;
  readonly device?: Readonly<Record<string, unknown>> | undefined;
  readonly ctx: number;
  readonly tokens: number;
}

/** A recipe of conversations, without a fuse node. */
export function writeRecipe(file: string, model: Readonly<Record<string, unknown>>, settings: Settings): string {
  const { prefill, batch = 1, visionBatch = batch, device = { kind: 'cpu' }, ctx, tokens } = settings;
  const decode = { batch_size: batch, prefill_seq_len: prefill, ctx_len: ctx, max_new_tokens: tokens };
  const text = {
    version: 1,
    name: 'conversations',
    model,
    inputs: { messages: { type: 'messages' } },
    devices: { main: device },
    nodes: {
      preprocess: { kind: 'preprocess', inputs: { messages: '$inputs.messages' } },
      encode: {
        kind: 'encode',
        device: 'main',
        inputs: { pixels: '$preprocess.pixels' },
        with: { batch_size: visionBatch },
      },
      decode: {
        kind: 'decode',
        device: 'main',
        inputs: { tokens: '$preprocess.tokens', vision: '$encode.embeddings' },
        with: { ...decode, ignore_eos: true },
      },
    },
    outputs: { text: '$decode.text', tokens: '$preprocess.tokens', vision: '$encode.embeddings' },
  };
  writeFileSync(file, JSON.stringify(text));
  return file;
}

export function conversation({ images, messages }: Prompt, picture: Picture): MessagesValue {
  return {
    kind: 'messages',
    messages,
    images: images.map((name) => ({ kind: 'image', name, bytes: picture(name) })),
  };
}

export const promptIds = ({ ids }: Answer): number[] =>
  ids.flatMap((part) => (typeof part === 'number' ? [part] : Array<number>(part[1]).fill(part[0])));

/** Runs all prompts as the items of one run, and holds prompts and answers against the reference's. */
export async function checkTokens<T extends Prompt>(
  file: string,
  wanted: readonly (readonly [string, T])[],
  picture: Picture,
  answer: (source: T) => Answer,
): Promise<readonly Answered[]> {
  const result = await run(file, { items: wanted.map(([, source]) => ({ messages: conversation(source, picture) })) });
  assert.is(result.error, undefined);
  assert.is(result.items.length, wanted.length);
  return wanted.map(([name, source], i) => {
    const item = result.items[i];
    const { tokens, logits } = answer(source);
    assert.is(item?.error, undefined, name);
    assert.equal(item?.promptIds, promptIds(answer(source)), `${name}: prompt`);
    assert.equal(item?.generatedIds, [...tokens], `${name}: answer`);
    return { name, item: item as ItemRecord, tokens, logits };
  });
}

/** Compiles the recipe for the emulated card and uses it where its programs lie. */
export async function onEmulatedCard(file: string, cache: string, use: () => Promise<unknown>): Promise<void> {
  const compiled = await cli(['compile', file, '--target', 'emulator'], { env: { VLM_RUN_CACHE: cache } });
  assert.is(compiled.code, 0, compiled.err);
  const before = process.env['VLM_RUN_CACHE'];
  process.env['VLM_RUN_CACHE'] = cache;
  try {
    await use();
  } finally {
    if (before === undefined) delete process.env['VLM_RUN_CACHE'];
    else process.env['VLM_RUN_CACHE'] = before;
  }
}
