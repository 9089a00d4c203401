/** argmax and top-k over rows of logits: the best first, the lowest index first among equals. NaN never wins. */

/** Best index of row `row` of `logits` [rows, width]. All-NaN rows give 0. */
export function argmax(logits: Float32Array, row: number, width: number): number {
  const start = row * width;
  const end = start + width;
  let best = -1;
  let value = Number.NEGATIVE_INFINITY;
  for (let i = start; i < end; i++) {
    const v = logits[i] as number;
    if (v > value) {
      value = v;
      best = i;
    }
  }
  if (best >= 0) return best - start;
  // Only -Infinity and NaN: the first -Infinity, if any.
  for (let i = start; i < end; i++) if (logits[i] === Number.NEGATIVE_INFINITY) return i - start;
  return 0;
}

/** Writes the `k` best ids and values of a row at `row * k`. k must not exceed width. */
export function topk(
  logits: Float32Array,
  row: number,
  width: number,
  k: number,
  ids: Int32Array,
  values: Float32Array,
): void {
  const start = row * width;
  const base = row * k;
  let filled = 0;
  for (let i = 0; i < width; i++) {
    const raw = logits[start + i] as number;
    const v = Number.isNaN(raw) ? Number.NEGATIVE_INFINITY : raw;
    // Most values of a long row are below the k-th: one comparison each.
    if (filled === k && !(v > (values[base + k - 1] as number))) continue;
    let at = filled < k ? filled++ : k - 1;
    while (at > 0 && v > (values[base + at - 1] as number)) {
      values[base + at] = values[base + at - 1] as number;
      ids[base + at] = ids[base + at - 1] as number;
      at--;
    }
    values[base + at] = v;
    ids[base + at] = i;
  }
}
