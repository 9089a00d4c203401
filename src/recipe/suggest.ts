/** "Did you mean": the nearest known word, by spelling or by the name it has elsewhere. */

/** Names that users of other runtimes type, and what they are called here. */
const SYNONYMS: Readonly<Record<string, string>> = {
  generation_len: 'max_new_tokens',
  max_tokens: 'max_new_tokens',
  max_length: 'ctx_len',
  context_length: 'ctx_len',
  max_model_len: 'ctx_len',
  prompt_len: 'prefill_seq_len',
  seq_len: 'prefill_seq_len',
  max_dynamic_patch: 'max_tiles',
  min_dynamic_patch: 'min_tiles',
  max_num_tiles: 'max_tiles',
  max_patches: 'max_tiles',
  device_ids: 'ids',
  device_id: 'ids',
  device_group: 'ids',
  aic_num_cores: 'num_cores',
  mxfp6: 'mxfp6_matmul',
  mxint8: 'mxint8_kv_cache',
  intra_op_num_threads: 'threads',
  num_threads: 'threads',
  options: 'with',
  params: 'with',
  parameters: 'with',
  args: 'with',
  steps: 'nodes',
  pipeline: 'nodes',
  type: 'kind',
  base: 'extends',
  model_path: 'path',
  model_id: 'hub',
  repo: 'hub',
  system_prompt: 'system',
  multiple: 'many',
  picture: 'image',
  img: 'image',
  string: 'text',
  str: 'text',
  chat: 'messages',
  conversation: 'messages',
  qaic: 'ai100',
};

const plain = (word: string): string => word.toLowerCase().replace(/[-_\s]/g, '');

/** The candidate that `word` most likely stands for, or undefined when none is near. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const known = [...new Set(candidates)].filter((c) => c !== word);
  const same = known.find((c) => plain(c) === plain(word));
  if (same !== undefined) return same;
  const snake = word
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replace(/-/g, '_')
    .toLowerCase();
  const synonym = SYNONYMS[snake];
  if (synonym !== undefined && known.includes(synonym)) return synonym;
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    const limit = Math.max(1, Math.floor(Math.min(plain(word).length + 1, plain(candidate).length) / 3));
    const distance = editDistance(plain(word), plain(candidate), limit);
    if (distance <= limit && distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  if (best !== undefined) return best;
  // A whole leading or trailing part: "image_prompt" for "prompt", "prefill" for "prefill_seq_len".
  const parts = known.filter(
    (c) => Math.min(c.length, word.length) >= 4 && (c.startsWith(word) || word.endsWith(c) || word.startsWith(c)),
  );
  return parts.length === 1 ? parts[0] : undefined;
}

/** Hint text: the nearest word, where one is near. */
export function nearHint(word: string, candidates: Iterable<string>): string | undefined {
  const near = nearest(word, candidates);
  return near === undefined ? undefined : `did you mean "${near}"?`;
}

/** Hint text: the nearest word, or the whole list when it is short. */
export function didYouMean(word: string, candidates: Iterable<string>, what = ''): string | undefined {
  const known = [...new Set(candidates)];
  const near = nearest(word, known);
  if (near !== undefined) return `did you mean "${near}"?`;
  if (known.length === 0 || known.length > 24) return undefined;
  return `known${what === '' ? '' : ` ${what}`}: ${known.join(', ')}`;
}

/** Optimal string alignment distance (insert, delete, replace, swap of neighbours), given up above `limit`. */
export function editDistance(a: string, b: string, limit = Number.POSITIVE_INFINITY): number {
  if (Math.abs(a.length - b.length) > limit) return Number.POSITIVE_INFINITY;
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    let least = i;
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let d = Math.min((previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (previous[j - 1] ?? 0) + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) d = Math.min(d, (before[j - 2] ?? 0) + 1);
      row.push(d);
      least = Math.min(least, d);
    }
    if (least > limit) return Number.POSITIVE_INFINITY;
    before = previous;
    previous = row;
  }
  return previous[b.length] ?? Number.POSITIVE_INFINITY;
}
