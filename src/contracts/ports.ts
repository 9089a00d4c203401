/**
 * Values that flow between nodes. All of them are structured-clone data: plain objects and typed arrays, so that they
 * cross threads by copy or by an explicit transfer list.
 */
import type { ChatMessage } from './node.js';
import type { Tensor } from './tensor.js';

export const PORT_KINDS = [
  'image',
  'text',
  'messages',
  'pixels',
  'tokens',
  'embeddings',
  'completion',
  'answer',
  'json',
] as const;
export type PortKind = (typeof PORT_KINDS)[number];

/** An image crosses threads as its encoded bytes. */
export interface ImageValue {
  readonly kind: 'image';
  readonly bytes: Uint8Array;
  /** File name or URL, for messages and records. */
  readonly name: string;
}

export interface TextValue {
  readonly kind: 'text';
  readonly text: string;
}

/** Where a part of a conversation may name its picture, as data: a path or an address. */
export const PICTURE_KEYS: readonly string[] = ['image', 'path', 'url', 'image_url'];

/** A conversation; image parts refer to `images` by index. */
export interface MessagesValue {
  readonly kind: 'messages';
  readonly messages: readonly ChatMessage[];
  readonly images: readonly ImageValue[];
}

/** What preprocessing did to one image: enough to plan shapes and to map boxes back. */
export interface ImageInfo {
  readonly name: string;
  /** Size after EXIF orientation, before resizing. */
  readonly width: number;
  readonly height: number;
  /** Tile grid [columns, rows] and all tiles including a thumbnail/global tile. */
  readonly grid: readonly [number, number];
  readonly tiles: number;
  /** Rows of vision embeddings this image takes in the prompt. */
  readonly visionTokens: number;
}

/**
 * Normalised pixels of all images of one item, in prompt order.
 * tensor float32 [tiles, 3, S, S]: tiles of all images one after another (`images[i].tiles` each).
 * null when the prompt has no image.
 */
export interface PixelsValue {
  readonly kind: 'pixels';
  readonly tensor: Tensor<'float32'> | null;
  readonly images: readonly ImageInfo[];
  /** SHA-256 of what the pixels were made from and how; absent where nobody caches by it. */
  readonly key?: string;
}

export interface TokensValue {
  readonly kind: 'tokens';
  /** Prompt token ids, image tokens expanded. int32 [prompt_len]. */
  readonly ids: Int32Array;
  /** The rendered prompt with image tokens expanded, for records. */
  readonly text: string;
  /** Id whose embeddings the language program replaces by vision rows; -1 when the family has none. */
  readonly imageTokenId: number;
  /** How many of `ids` are that token = rows of vision embeddings that decode will use. */
  readonly visionTokens: number;
}

/** float32 or float16 [rows, hidden] vision embeddings of one item; null tensor for a text-only prompt. */
export interface EmbeddingsValue {
  readonly kind: 'embeddings';
  readonly tensor: Tensor<'float32' | 'float16'> | null;
  /** Where the rows came from, in runs that cache them. */
  readonly cache?: 'hit' | 'miss';
}

export type FinishReason = 'eos' | 'stop' | 'length' | 'context' | 'cancelled';

/** What the decode node made: the text and how it ended. Assignable to `text` ports. */
export interface CompletionValue {
  readonly kind: 'completion';
  readonly text: string;
  /** The text with special tokens kept (grounding tags are special tokens in some families). */
  readonly rawText: string;
  /** Generated ids, the ending token included when there was one. */
  readonly ids: Int32Array;
  readonly finish: FinishReason;
  readonly promptTokens: number;
  /** Milliseconds: prefill calls only (as QEfficient counts TTFT), and each decode step. */
  readonly prefillMs: number;
  readonly decodeMs: number;
  /** performance.timeOrigin-based wall clock (ms) when the first token was known: true TTFT is this minus the run's start. */
  readonly firstTokenAt: number;
  readonly prefillChunks: readonly number[];
  /** Best logit minus second best of every step, when the recipe asked for them (`record_margins`). */
  readonly margins?: Float32Array;
}

/** A grounded region: pixel coordinates of the original image. */
export interface GroundedBox {
  readonly label: string;
  /** [x1, y1, x2, y2] in pixels of the image after EXIF orientation. */
  readonly box: readonly [number, number, number, number];
  /** The model's own numbers, 0–1000. */
  readonly normalized: readonly [number, number, number, number];
  readonly image: number;
}

export interface AnswerValue {
  readonly kind: 'answer';
  readonly text: string;
  readonly boxes: readonly GroundedBox[];
  /** Parsed and validated output when the recipe gives a JSON Schema. */
  readonly json?: { readonly valid: boolean; readonly value?: unknown; readonly errors?: readonly string[] };
  /** Overlay picture (PNG or SVG bytes) when asked for. */
  readonly overlay?: { readonly format: 'png' | 'svg'; readonly bytes: Uint8Array };
  readonly finish?: FinishReason;
}

export interface JsonValue {
  readonly kind: 'json';
  readonly value: unknown;
}

export type PortValue =
  | ImageValue
  | TextValue
  | MessagesValue
  | PixelsValue
  | TokensValue
  | EmbeddingsValue
  | CompletionValue
  | AnswerValue
  | JsonValue;

/** True when a value of kind `from` may flow into a port of kind `to`. */
export function kindFits(from: PortKind, to: PortKind): boolean {
  return from === to || (from === 'completion' && to === 'text') || (from === 'answer' && to === 'json');
}
