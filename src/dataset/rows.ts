/** What a result line says of an item, and whose fault a failure is. */
import type { ErrorCode, ErrorData } from '../contracts/errors.js';
import type { ItemRecord } from '../contracts/record.js';
import { plainValue } from '../runner/run-directory.js';
import type { ResultRow } from './store.js';

/** Failures that belong to one item: the next one may well succeed. */
const OF_AN_ITEM: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'INPUT_MISSING',
  'INPUT_UNKNOWN',
  'INPUT_UNREADABLE',
  'INPUT_TOO_LARGE',
  'IMAGE_UNREADABLE',
  'IMAGE_TOO_LARGE',
  'IMAGE_UNSUPPORTED',
  'IMAGE_TOKENS_MISMATCH',
  'PROMPT_TOO_LONG',
  'OPTION_INVALID',
  'TEMPLATE_INVALID',
  'PLAN_DOES_NOT_FIT',
  'SHAPE_NOT_ALLOWED',
  'TENSOR_INVALID',
  'NODE_FAILED',
]);

export function isOfAnItem(error: ErrorData): boolean {
  return OF_AN_ITEM.has(error.code);
}

export function failedRow(id: string, error: ErrorData, latencyMs = 0): ResultRow {
  return { id, ok: false, error, latencyMs: round(latencyMs) };
}

/** `latencyMs`: from when the item was taken up to its end. */
export function rowOf(id: string, record: ItemRecord, latencyMs: number, emulated: boolean): ResultRow {
  const { ok, error, text, outputs, images, generatedIds, metrics, embeddings } = record;
  return {
    id,
    ok,
    ...(error === undefined ? {} : { error }),
    ...(text === undefined ? {} : { text }),
    ...(outputs === undefined ? {} : { outputs: plainValue(outputs) }),
    ...(generatedIds === undefined ? {} : { generatedIds }),
    images,
    ...(embeddings === undefined ? {} : { embeddings }),
    ...(metrics === undefined ? {} : { metrics }),
    latencyMs: round(latencyMs),
    ...(emulated ? { emulated: true } : {}),
  };
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
