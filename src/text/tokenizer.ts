/** tokenizer.json + tokenizer_config.json -> encoding, decoding and streaming. */
import { createRequire } from 'node:module';
import { VlmError } from '../contracts/errors.js';
import type { TextStream } from '../contracts/node.js';
import { chain, readDecoder, type StageFactory } from './detokenizer.js';
import { asList, asRecord, tokenText } from './json.js';
import { repairPreTokenizer } from './repair.js';
import { namedTokens } from './template.js';

export interface LoadedTokenizer {
  readonly vocabSize: number;
  readonly specialTokens: readonly string[];
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): Int32Array;
  decode(ids: ArrayLike<number>, options?: { readonly skipSpecialTokens?: boolean }): string;
  tokenId(token: string): number | undefined;
  stream(options?: { readonly skipSpecialTokens?: boolean }): TextStream;
}

type Json = Readonly<Record<string, unknown>>;

/** What is used of the library's tokenizer (its own declarations do not resolve under NodeNext). */
interface Tokenizer {
  encode(text: string, options: { add_special_tokens: boolean }): { readonly ids: readonly (number | undefined)[] };
  token_to_id(token: string): number | undefined;
  get_vocab(): ReadonlyMap<string, number>;
}
interface Library {
  readonly Tokenizer: new (json: object, config: object) => Tokenizer;
}

/** Loaded by the first tokenizer: the thread of a vision program makes none. */
function library(): Library {
  return createRequire(import.meta.url)('@huggingface/tokenizers');
}

const HINT =
  'fetch tokenizer.json again from the model’s repository; it is the "fast" tokenizer that transformers saves';

function invalid(where: string, what: string, received?: string, cause?: unknown): VlmError {
  return new VlmError('TOKENIZER_INVALID', {
    what,
    where,
    hint: HINT,
    ...(received === undefined ? {} : { received }),
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Sections that have to be there for the file to be a tokenizer of a kind whose decoding is exact here. */
function checkSections(json: Json, config: Json, where: string): void {
  const model = asRecord(json['model']);
  if (model === undefined || typeof model['type'] !== 'string') {
    throw invalid(where, 'The file is not a tokenizer', 'a file without `model.type`');
  }
  const added = asList(json['added_tokens']) ?? [];
  if (added.some((token) => asRecord(token)?.['single_word'] === true)) {
    throw invalid(where, 'Added tokens that match whole words only are not supported', '`single_word: true`');
  }
  // The reference ignores this clean-up for BPE; elsewhere it rewrites the text after the fact.
  if (config['clean_up_tokenization_spaces'] === true && model['type'] !== 'BPE') {
    throw invalid(
      where,
      'Clean-up of spaces is not supported for this tokenizer',
      `model.type ${JSON.stringify(model['type'])} with \`clean_up_tokenization_spaces: true\``,
    );
  }
}

/**
 * Every token that counts as special: marked so in either file, or given a name in tokenizer_config.json. A mere list
 * there (`additional_special_tokens`) changes no token that tokenizer.json has, as in the reference.
 */
function specialTokens(json: Json, config: Json): ReadonlySet<string> {
  const special = new Set<string>();
  const add = (token: unknown): void => {
    const text = tokenText(token);
    if (text !== undefined) special.add(text);
  };
  const marked = [
    ...(asList(json['added_tokens']) ?? []),
    ...Object.values(asRecord(config['added_tokens_decoder']) ?? {}),
  ];
  for (const token of marked) if (asRecord(token)?.['special'] === true) add(token);
  for (const token of Object.values(namedTokens(config))) add(token);
  return special;
}

function construct(json: Json, config: Json, where: string): Tokenizer {
  const { Tokenizer } = library();
  try {
    return new Tokenizer(
      {
        added_tokens: [],
        normalizer: null,
        post_processor: null,
        decoder: null,
        ...json,
        pre_tokenizer: repairPreTokenizer(json['pre_tokenizer'] ?? null),
      },
      config,
    );
  } catch (error) {
    throw invalid(
      where,
      'The tokenizer cannot be built',
      error instanceof Error ? error.message : String(error),
      error,
    );
  }
}

/** Builds a tokenizer from parsed files; `where` names tokenizer.json in errors. Throws TOKENIZER_INVALID. */
export function loadTokenizer(json: unknown, config: Json | null, where: string): LoadedTokenizer {
  const parsed = asRecord(json);
  if (parsed === undefined) throw invalid(where, 'The file is not a tokenizer', 'no JSON object');
  const settings = config ?? {};
  checkSections(parsed, settings, where);
  const stages = readDecoder(parsed['decoder'], where);
  const tokenizer = construct(parsed, settings, where);
  const special = specialTokens(parsed, settings);
  const vocabulary = idTable(tokenizer);

  const stream = (options: { readonly skipSpecialTokens?: boolean } = {}): TextStream =>
    textStream(stages, (id) => {
      const token = vocabulary[id];
      return token !== undefined && options.skipSpecialTokens === true && special.has(token) ? undefined : token;
    });
  return {
    vocabSize: vocabulary.length,
    specialTokens: [...special],
    tokenId: (token) => tokenizer.token_to_id(token),
    stream,
    encode(text, options = {}) {
      return encodeWith(tokenizer, text, options.addSpecialTokens ?? true, where);
    },
    decode(ids, options = {}) {
      const s = stream(options);
      let text = '';
      for (let i = 0; i < ids.length; i += 1) text += s.push(ids[i] ?? -1);
      return text + s.flush();
    },
  };
}

/** id -> token; holes stay undefined, as ids beyond the vocabulary do (models pad their embedding tables). */
function idTable(tokenizer: Tokenizer): readonly (string | undefined)[] {
  const table: (string | undefined)[] = [];
  for (const [token, id] of tokenizer.get_vocab()) table[id] = token;
  return table;
}

function encodeWith(tokenizer: Tokenizer, text: string, addSpecial: boolean, where: string): Int32Array {
  const { ids } = tokenizer.encode(text, { add_special_tokens: addSpecial });
  const bad = ids.findIndex((id) => !Number.isInteger(id));
  if (bad >= 0) {
    throw invalid(where, 'A piece of the prompt has no token and the tokenizer has no unknown token', `piece ${bad}`);
  }
  return Int32Array.from(ids, (id) => id ?? -1);
}

function textStream(stages: readonly StageFactory[], tokenOf: (id: number) => string | undefined): TextStream {
  const pipeline = chain(stages);
  return {
    push(id) {
      const token = tokenOf(id);
      return token === undefined ? '' : pipeline.push(token).join('');
    },
    flush: () => pipeline.flush().join(''),
  };
}
