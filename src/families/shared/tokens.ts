/** What a family needs to know of the tokenizer before one is built: names and ids in tokenizer_config.json. */
import type { ModelFiles } from '../../contracts/family.js';
import { isRecord, type Json, readIds, type Section } from './read.js';

function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  return isRecord(value) && typeof value['content'] === 'string' ? value['content'] : undefined;
}

/** Text of a named token (`eos_token`, `context_image_token`), at the top level or under `extra_special_tokens`. */
export function namedToken(config: Json | null, name: string): string | undefined {
  const extra = config?.['extra_special_tokens'];
  return textOf(config?.[name]) ?? (isRecord(extra) ? textOf(extra[name]) : undefined);
}

/** Id of an added token, when tokenizer_config.json lists it. */
export function addedTokenId(config: Json | null, content: string): number | undefined {
  const added = config?.['added_tokens_decoder'];
  if (!isRecord(added)) return undefined;
  const found = Object.entries(added).find(([, token]) => textOf(token) === content)?.[0];
  return found === undefined ? undefined : Number(found);
}

/** Ids that end an answer, from the first file that says: generation_config.json, config.json, its text section, the tokenizer. */
export function endIds(files: ModelFiles, config: Section, text: Section): readonly number[] {
  const generation =
    files.generation === null ? undefined : { file: `${files.name}/generation_config.json`, values: files.generation };
  const named = namedToken(files.tokenizerConfig, 'eos_token');
  const id = named === undefined ? undefined : addedTokenId(files.tokenizerConfig, named);
  return (
    readIds(generation, 'eos_token_id') ??
    readIds(config, 'eos_token_id') ??
    readIds(text, 'eos_token_id') ??
    (id === undefined ? [] : [id])
  );
}
