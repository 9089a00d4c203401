/**
 * Where the tokenizer library differs from the reference, the section of tokenizer.json is rewritten into an
 * equivalent one on which both agree.
 */
import { asList, asRecord } from './json.js';

/** `Digits` means every numeric character of Unicode in the reference, 0 to 9 alone in the library. */
export function repairPreTokenizer(section: unknown): unknown {
  const config = asRecord(section);
  if (config?.['type'] === 'Digits') {
    const pattern = { Regex: config['individual_digits'] === true ? '\\p{N}' : '\\p{N}+' };
    return { type: 'Split', pattern, behavior: 'Isolated', invert: false };
  }
  const inner = asList(config?.['pretokenizers']);
  return inner === undefined ? section : { ...config, pretokenizers: inner.map(repairPreTokenizer) };
}
