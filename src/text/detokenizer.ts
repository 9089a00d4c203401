/**
 * Token strings -> text, one token at a time, by the `decoder` section of tokenizer.json.
 *
 * Each decoder of the file becomes a small stage that takes token strings and gives back text that no later token can
 * change; what might still change (half a UTF-8 sequence, a run of byte tokens) waits inside the stage. Decoding a
 * whole list is the same stages run to the end, so pieces and whole texts cannot differ.
 */
import { VlmError } from '../contracts/errors.js';
import { tokenBytes } from './byte-level.js';
import { asList, asRecord } from './json.js';

/** One step of decoding. A stage keeps state: make a new one for each text. */
export interface Stage {
  push(token: string): readonly string[];
  flush(): readonly string[];
}

export type StageFactory = () => Stage;

const NOTHING: readonly string[] = [];
const SUPPORTED = ['ByteLevel', 'ByteFallback', 'Fuse', 'Metaspace', 'Replace', 'Sequence', 'Strip'];

function perToken(change: (token: string, index: number) => string): StageFactory {
  return () => {
    let index = 0;
    return { push: (token) => [change(token, index++)], flush: () => NOTHING };
  };
}

/** Bytes of all tokens form one UTF-8 stream; a broken sequence becomes U+FFFD only once it cannot be completed. */
function byteLevel(): Stage {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  return {
    push: (token) => [decoder.decode(tokenBytes(token), { stream: true })],
    flush: () => [decoder.decode()],
  };
}

const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/;

/** A run of `<0xNN>` tokens is one UTF-8 string, or one U+FFFD a byte when it is not valid: known when the run ends. */
function byteFallback(): Stage {
  const strict = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });
  let run: number[] = [];
  const endRun = (): string[] => {
    if (run.length === 0) return [];
    const bytes = Uint8Array.from(run);
    run = [];
    try {
      return [strict.decode(bytes)];
    } catch {
      return Array.from(bytes, () => '\uFFFD');
    }
  };
  return {
    push(token) {
      const byte = BYTE_TOKEN.exec(token)?.[1];
      if (byte === undefined) return [...endRun(), token];
      run.push(Number.parseInt(byte, 16));
      return NOTHING;
    },
    flush: endRun,
  };
}

/** Takes up to `start` leading and `stop` trailing `content` characters off one string. */
function strip(text: string, content: string, start: number, stop: number): string {
  let from = 0;
  while (from < start && text[from] === content) from += 1;
  let to = text.length;
  while (text.length - to < stop && to > from && text[to - 1] === content) to -= 1;
  return text.slice(from, to);
}

/** `strip` on the whole text while it arrives: leading characters are counted, trailing ones wait. */
function stripText(content: string, start: number, stop: number): Stage {
  let left = start;
  let held = '';
  return {
    push(piece) {
      let text = piece;
      while (left > 0 && text !== '') {
        if (text[0] !== content) left = 0;
        else {
          text = text.slice(1);
          left -= 1;
        }
      }
      text = held + text;
      let cut = text.length;
      while (text.length - cut < stop && cut > 0 && text[cut - 1] === content) cut -= 1;
      held = text.slice(cut);
      return [text.slice(0, cut)];
    },
    flush: () => NOTHING,
  };
}

function unsupported(where: string, received: string): VlmError {
  return new VlmError('TOKENIZER_INVALID', {
    what: 'The tokenizer has a decoder that cannot be followed exactly',
    expected: `decoders of ${SUPPORTED.join(', ')}`,
    received,
    where,
    hint: 'use the tokenizer.json of a byte-level or byte-fallback tokenizer (all InternVL, Granite and Llama models have one)',
  });
}

function replaceStage(config: Readonly<Record<string, unknown>>, fused: boolean, where: string): StageFactory {
  const pattern = asRecord(config['pattern'])?.['String'];
  const content = config['content'];
  if (typeof pattern !== 'string' || typeof content !== 'string' || pattern === '' || (fused && pattern.length > 1)) {
    throw unsupported(where, `Replace with ${JSON.stringify(config['pattern'])}`);
  }
  return perToken((token) => token.replaceAll(pattern, content));
}

function stripStage(config: Readonly<Record<string, unknown>>, fused: boolean, where: string): StageFactory {
  const { content, start, stop } = config;
  if (typeof content !== 'string' || typeof start !== 'number' || typeof stop !== 'number' || content.length !== 1) {
    throw unsupported(where, `Strip with ${JSON.stringify(config)}`);
  }
  return fused ? () => stripText(content, start, stop) : perToken((token) => strip(token, content, start, stop));
}

function metaspaceStage(config: Readonly<Record<string, unknown>>): StageFactory {
  const mark = typeof config['replacement'] === 'string' ? config['replacement'] : '\u2581';
  const scheme = config['prepend_scheme'] ?? (config['add_prefix_space'] === false ? 'never' : 'always');
  return perToken((token, index) => token.replaceAll(mark, index === 0 && scheme !== 'never' ? '' : ' '));
}

/** Reads the `decoder` section into stage factories, in order. Throws TOKENIZER_INVALID. */
export function readDecoder(decoder: unknown, where: string): readonly StageFactory[] {
  // Without a decoder the reference joins token strings by spaces.
  if (decoder === null || decoder === undefined) {
    return [perToken((token, index) => (index === 0 ? token : ` ${token}`))];
  }
  const stages: StageFactory[] = [];
  let fused = false;
  const visit = (section: unknown): void => {
    const config = asRecord(section);
    switch (config?.['type']) {
      case 'Sequence':
        for (const inner of asList(config['decoders']) ?? []) visit(inner);
        return;
      case 'ByteLevel':
        stages.push(byteLevel);
        fused = true;
        return;
      case 'ByteFallback':
        stages.push(byteFallback);
        return;
      case 'Fuse':
        fused = true;
        return;
      case 'Metaspace':
        if (fused) throw unsupported(where, 'Metaspace after Fuse');
        stages.push(metaspaceStage(config));
        return;
      case 'Replace':
        stages.push(replaceStage(config, fused, where));
        return;
      case 'Strip':
        stages.push(stripStage(config, fused, where));
        return;
      default:
        throw unsupported(where, JSON.stringify(config?.['type'] ?? decoder).slice(0, 80));
    }
  };
  visit(decoder);
  return stages;
}

/** Stages run one behind the other as one stage. */
export function chain(factories: readonly StageFactory[]): Stage {
  const stages = factories.map((make) => make());
  const feed = (from: number, tokens: readonly string[]): readonly string[] => {
    let flow = tokens;
    for (const stage of stages.slice(from)) flow = flow.flatMap((token) => stage.push(token));
    return flow;
  };
  return {
    push: (token) => feed(0, [token]),
    flush: () => stages.flatMap((stage, i) => feed(i + 1, stage.flush())),
  };
}
