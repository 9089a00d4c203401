/** Options of `with:` as the generation loop takes them. The recipe's schema has checked them; plain API users get defaults. */
import { VlmError } from '../../contracts/errors.js';
import type { ModelContext } from '../../contracts/node.js';
import type { GenerationOptions, SamplingOptions } from '../../generation/index.js';

export interface DecodeOptions {
  readonly batchSize: number;
  readonly prefillSeqLen: number;
  readonly ctxLen: number;
  readonly maxNewTokens: number;
  readonly sampling: SamplingOptions;
  readonly stop: readonly string[];
  readonly stopTokenIds: readonly number[];
  readonly ignoreEos: boolean;
  readonly recordMargins: boolean;
}

export function decodeOptions(given: Readonly<Record<string, unknown>>): DecodeOptions {
  return {
    batchSize: number(given, 'batch_size', 1, 1),
    prefillSeqLen: number(given, 'prefill_seq_len', 128, 1),
    ctxLen: number(given, 'ctx_len', 1024, 2),
    maxNewTokens: number(given, 'max_new_tokens', 64, 1),
    sampling: {
      temperature: number(given, 'temperature', 0, 0),
      topK: number(given, 'top_k', 0, 0),
      topP: number(given, 'top_p', 1, 0),
      minP: number(given, 'min_p', 0, 0),
      repetitionPenalty: number(given, 'repetition_penalty', 1, 0),
      seed: number(given, 'seed', 0, 0),
    },
    stop: list(given, 'stop', 'string'),
    stopTokenIds: list(given, 'stop_token_ids', 'number'),
    ignoreEos: given.ignore_eos === true,
    recordMargins: given.record_margins === true,
  };
}

export function generationOptions(options: DecodeOptions, { family, text }: ModelContext): GenerationOptions {
  const { prefillSeqLen, ctxLen, maxNewTokens, sampling, stop, stopTokenIds, ignoreEos, recordMargins } = options;
  return {
    prefillSeqLen,
    ctxLen,
    maxPositions: family.maxPositions,
    maxNewTokens,
    sampling,
    stop,
    stopTokenIds,
    ignoreEos,
    recordMargins,
    eosTokenIds: family.eosTokenIds,
    text: {
      visible: () => text.stream({ skipSpecialTokens: true }),
      raw: () => text.stream({ skipSpecialTokens: false }),
    },
  };
}

function number(given: Readonly<Record<string, unknown>>, key: string, otherwise: number, least: number): number {
  const value = given[key] ?? otherwise;
  if (typeof value === 'number' && Number.isFinite(value) && value >= least) return value;
  throw new VlmError('OPTION_INVALID', {
    what: 'An option of a decode node is not usable',
    expected: `${key}: a number of ${least} or more`,
    received: String(value),
  });
}

function list<T extends 'string' | 'number'>(
  given: Readonly<Record<string, unknown>>,
  key: string,
  type: T,
): readonly (T extends 'string' ? string : number)[] {
  const value = given[key] ?? [];
  if (Array.isArray(value) && value.every((v) => typeof v === type)) return value;
  throw new VlmError('OPTION_INVALID', {
    what: 'An option of a decode node is not usable',
    expected: `${key}: a list of ${type}s`,
    received: String(value),
  });
}
