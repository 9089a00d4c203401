/** The calls that prefill a prompt on devices that take exact shapes. The loop makes them, plans count them. */

export interface PromptIds {
  /** Token ids with image tokens expanded. */
  readonly ids: Int32Array;
  /** Id whose embeddings the program replaces by vision rows; -1: none. */
  readonly imageTokenId: number;
}

/**
 * Where the call ends that begins at `start` and takes at most `most` tokens. A call of one token takes no vision row in
 * graphs exported by QEfficient, which tell decode from prefill by that length: an image token that would be alone takes
 * the next one along.
 */
export function chunkEnd({ ids, imageTokenId }: PromptIds, start: number, most: number): number {
  const end = Math.min(start + Math.max(1, Math.floor(most)), ids.length);
  const isLoneImage = end - start === 1 && ids[start] === imageTokenId;
  return isLoneImage ? Math.min(end + 1, ids.length) : end;
}

/** Tokens of each call: 300 at 128 -> 128, 128, 44. */
export function chunkLengths(prompt: PromptIds, most: number): readonly number[] {
  const lengths: number[] = [];
  for (let start = 0, end = 0; start < prompt.ids.length; start = end) {
    end = chunkEnd(prompt, start, most);
    lengths.push(end - start);
  }
  return lengths;
}
