/** Items of a run: a list, or a stream that is drawn from only as there is room. */

export function isStream<T>(items: readonly T[] | AsyncIterable<T>): items is AsyncIterable<T> {
  return Symbol.asyncIterator in items;
}

/** Draws the next items, `size` at a time, for one caller after the other; an empty chunk is the end. */
export function chunksOf<T, U>(
  items: readonly T[] | AsyncIterable<T>,
  size: number,
  make: (item: T, index: number) => U,
): () => Promise<readonly U[]> {
  const source = isStream(items) ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  let index = 0;
  let last: Promise<unknown> = Promise.resolve();
  const draw = async (): Promise<readonly U[]> => {
    const chunk: U[] = [];
    while (chunk.length < size) {
      const step = await source.next();
      if (step.done === true) break;
      chunk.push(make(step.value, index++));
    }
    return chunk;
  };
  return () => {
    const drawn = last.then(draw);
    // A source that failed stays failed for whoever asks next.
    last = drawn;
    return drawn;
  };
}
