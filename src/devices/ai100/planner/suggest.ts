/** The shapes to compile for a load of prompts, and what they waste against the shapes of now. */
import { bestBuckets, bestPrefill, histogram, promptCost, shareSets } from './optimise.js';

/** One prompt: tiles of all its images, tokens with the image tokens expanded. */
export interface Load {
  readonly tiles: number;
  readonly tokens: number;
}

export interface Shapes {
  readonly tiles: readonly number[];
  readonly prefill: readonly number[];
  readonly ctxLen: number;
}

export interface SuggestOptions {
  /** Sets of both programs together. */
  readonly sets: number;
  /** Compiled batch sizes: each takes every prefill length and a decode set of its own. */
  readonly batches: number;
  readonly newTokens: number;
  /** Lengths are multiples of this. */
  readonly step: number;
  /** What one more prefill call costs, in positions. */
  readonly callCost: number;
}

/** Null when the number of sets is too small for one of each kind, or when there is no load. */
export function suggestShapes(loads: readonly Load[], options: SuggestOptions): Shapes | null {
  const { sets, batches, newTokens, step, callCost } = options;
  if (loads.length === 0) return null;
  const images = loads.map((l) => l.tiles).filter((n) => n > 0);
  const tokens = loads.map((l) => l.tokens);
  const up = (n: number): number => Math.ceil(n / step) * step;
  const longest = up(Math.max(...tokens));
  const total = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);
  const split = shareSets(
    bestBuckets(histogram(images), sets),
    bestPrefill(histogram(tokens), sets, { step, longest, call: callCost }),
    sets - batches,
    { tiles: total(images), prefill: total(tokens) },
    batches,
  );
  if (split === null) return null;
  return {
    tiles: split.tiles?.sizes ?? [],
    prefill: split.prefill.sizes,
    ctxLen: Math.max(up(Math.max(...tokens) + newTokens), longest),
  };
}

export interface Waste {
  readonly sets: number;
  readonly tiles: Share;
  readonly prefill: Share;
  readonly prefillCalls: number;
  /** Slots of the cache that the longest answer leaves unused, over all prompts. */
  readonly context: Share;
  /** Prompts that no compiled shape takes; the figures leave them out. */
  readonly unfit: number;
}

export interface Share {
  readonly used: number;
  readonly computed: number;
  readonly wastePercent: number;
}

/** Each prompt alone, as the loop runs it. */
export function wasteOf(loads: readonly Load[], shapes: Shapes, newTokens: number, batches: number): Waste {
  const most = Math.max(0, ...shapes.tiles);
  const fit = loads.filter((l) => l.tiles <= most && l.tokens < shapes.ctxLen);
  const sum = (value: (load: Load) => number): number => fit.reduce((n, load) => n + value(load), 0);
  const share = (used: number, computed: number): Share => ({
    used,
    computed,
    wastePercent: computed === 0 ? 0 : Math.round((1 - used / computed) * 1000) / 10,
  });
  const bucket = (tiles: number): number =>
    tiles === 0 ? 0 : Math.min(...shapes.tiles.filter((size) => size >= tiles));
  const largest = Math.max(1, ...shapes.prefill);
  return {
    sets: shapes.tiles.length + batches * (shapes.prefill.length + 1),
    tiles: share(
      sum((l) => l.tiles),
      sum((l) => bucket(l.tiles)),
    ),
    prefill: share(
      sum((l) => l.tokens),
      sum((l) => promptCost(l.tokens, shapes.prefill, 0)),
    ),
    prefillCalls: sum((l) => Math.ceil(l.tokens / largest)),
    context: share(
      sum((l) => Math.min(shapes.ctxLen, l.tokens + newTokens)),
      sum(() => shapes.ctxLen),
    ),
    unfit: loads.length - fit.length,
  };
}
