/** What the text model's section of config.json says of its caches. */
import type { FamilyModel } from '../../contracts/family.js';
import type { Section } from './read.js';

/** layers x (key and value) x key-value heads x width of a head; nothing where the section names no heads. */
export function cacheElements({ values }: Section): Pick<FamilyModel, 'cacheElements'> {
  const count = (key: string): number | undefined => {
    const value = values[key];
    return typeof value === 'number' && Number.isInteger(value) && value > 0 ? value : undefined;
  };
  const [layers, heads, hidden] = [count('num_hidden_layers'), count('num_attention_heads'), count('hidden_size')];
  if (layers === undefined || heads === undefined || hidden === undefined) return {};
  const width = count('head_dim') ?? hidden / heads;
  return { cacheElements: layers * 2 * (count('num_key_value_heads') ?? heads) * width };
}
