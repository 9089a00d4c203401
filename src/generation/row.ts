/** One sequence of a batch: what it has produced, what it is fed next, and how it ended. */
import { AnswerText } from './answer-text.js';
import { Sampler } from './sampling.js';
import {
  type GenerationHooks,
  type GenerationOptions,
  type GenerationRequest,
  type GenerationResult,
  GREEDY,
} from './types.js';

export class Row {
  readonly index: number;
  readonly sampler: Sampler;
  /** What the next step feeds; a finished row stays where it is. */
  token: number;
  position: number;
  finish: GenerationResult['finish'] | null = null;
  readonly #options: GenerationOptions;
  readonly #hooks: GenerationHooks;
  readonly #ends: ReadonlySet<number>;
  readonly #text: AnswerText | null;
  readonly #ids: Int32Array;
  readonly #margins: Float32Array | null;
  readonly #chunks: number[] = [];
  #count = 0;
  #eos: ReadonlySet<number>;
  #prefillMs = 0;
  #decodeMs = 0;
  #firstTokenAt = 0;

  constructor(index: number, request: GenerationRequest, options: GenerationOptions, hooks: GenerationHooks) {
    const { ids } = request;
    this.index = index;
    this.#options = options;
    this.#hooks = hooks;
    this.sampler = new Sampler(options.sampling ?? GREEDY, ids);
    this.#eos = new Set(options.ignoreEos === true ? [] : (options.eosTokenIds ?? []));
    this.#ends = new Set(options.stopTokenIds ?? []);
    // The last token needs no slot: prompt and answer together hold one more token than the cache has slots.
    const slots = Math.min(options.ctxLen, options.maxPositions ?? options.ctxLen);
    const most = Math.min(options.maxNewTokens, slots - ids.length + 1);
    this.#ids = new Int32Array(most);
    this.#margins = options.recordMargins === true ? new Float32Array(most) : null;
    this.#text =
      options.text === undefined
        ? null
        : new AnswerText(options.text.visible(), options.text.raw(), options.stop ?? []);
    this.token = ids[ids.length - 1] as number;
    this.position = ids.length - 1;
  }

  prefilled(tokens: number, ms: number): void {
    this.#chunks.push(tokens);
    this.#prefillMs += ms;
  }

  decoded(ms: number): void {
    this.#decodeMs += ms;
  }

  /** Takes the next token; sets `finish` when it was the last. */
  take(id: number, margin: number, when: number): void {
    if (this.#count === 0) this.#firstTokenAt = when;
    this.#ids[this.#count] = id;
    if (this.#margins !== null) this.#margins[this.#count] = margin;
    this.#count++;
    this.#hooks.onToken?.(this.index, id);
    if (this.#eos.has(id)) this.#end('eos');
    else if (this.#ends.has(id)) this.#end('stop');
    else {
      this.#show(this.#text?.push(id) ?? '');
      if (this.#text?.stopped === true) this.finish = 'stop';
      else if (this.#count >= this.#options.maxNewTokens) this.#end('length');
      else if (this.#count >= this.#ids.length) this.#end('context');
    }
    if (this.finish !== null) return;
    this.token = id;
    this.position++;
  }

  result(): GenerationResult {
    return {
      ids: this.#ids.slice(0, this.#count),
      finish: this.finish ?? 'length',
      text: this.#text?.text ?? '',
      rawText: this.#text?.rawText ?? '',
      prefillMs: this.#prefillMs,
      decodeMs: this.#decodeMs,
      firstTokenAt: this.#firstTokenAt,
      prefillChunks: this.#chunks,
      ...(this.#margins === null ? {} : { margins: this.#margins.slice(0, this.#count) }),
    };
  }

  /** Text held back for a stop string that did not come is shown; one that came with the very last bytes still cuts. */
  #end(finish: GenerationResult['finish']): void {
    this.#show(this.#text?.end() ?? '');
    this.finish = this.#text?.stopped === true && finish !== 'eos' ? 'stop' : finish;
  }

  #show(piece: string): void {
    if (piece !== '') this.#hooks.onText?.(this.index, piece);
  }
}
