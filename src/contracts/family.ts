/**
 * A model family: image geometry, prompt expansion and program bindings, as pure functions over the parsed files of a
 * model folder. Families do no I/O and import only contracts; shared code reads their traits and never their names.
 */

import type { ProgramDescription } from './device.js';
import type { ChatMessage } from './node.js';
import type { ImageInfo } from './ports.js';
import type { Tensor } from './tensor.js';

/** Parsed JSON files of a model folder, by file name; absent files are absent keys. */
export interface ModelFiles {
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly preprocessor: Readonly<Record<string, unknown>> | null;
  readonly processor: Readonly<Record<string, unknown>> | null;
  readonly generation: Readonly<Record<string, unknown>> | null;
  readonly tokenizerConfig: Readonly<Record<string, unknown>> | null;
  readonly chatTemplate: string | null;
}

export type ResampleFilter = 'nearest' | 'box' | 'bilinear' | 'hamming' | 'bicubic' | 'lanczos';

/**
 * Whose uint8 arithmetic a resize repeats bit for bit: Pillow's (22-bit weights) or torchvision's (16-bit weights, the
 * default backend of transformers 5 processors). They are at most a level or two apart.
 */
export type ResampleArithmetic = 'pillow' | 'torchvision';

/** A rectangle in pixels. */
export interface Rect {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/**
 * One resized copy of the image: resize -> pad -> cut. `pad` gives the final canvas and where the resized image sits;
 * the rest is filled with `fill` (uint8 RGB, before normalisation). Crops are cut from the canvas in tile order.
 */
export interface ImageView {
  readonly resize: {
    readonly width: number;
    readonly height: number;
    readonly filter: ResampleFilter;
    /** Default `pillow`. */
    readonly arithmetic?: ResampleArithmetic;
  };
  readonly pad?: {
    readonly width: number;
    readonly height: number;
    readonly left: number;
    readonly top: number;
    readonly fill: readonly [number, number, number];
  };
  readonly crops: readonly Rect[];
}

/** How one image becomes tiles, and how many rows it takes in the prompt. */
export interface ImageLayout {
  readonly width: number;
  readonly height: number;
  readonly grid: readonly [number, number];
  /** The picture is brought to this size first, in uint8; views are made from the result. Absent: from the picture. */
  readonly bring?: ImageView['resize'];
  readonly views: readonly ImageView[];
  /** Sum of crops over views = tiles of the vision program. */
  readonly tiles: number;
  readonly tileSize: { readonly width: number; readonly height: number };
  readonly visionTokens: number;
}

/**
 * value = (pixel * rescale - mean[c]) / std[c], per channel, in float32 as the reference does it. `arithmetic` says
 * where the reference rounds (the last bit depends on it):
 * - `rescale-then-normalize` (default): f32(pixel * rescale), product in double; then f32 subtract and divide
 *   (transformers' `pil` backend);
 * - `divide-then-normalize`: f32(pixel / 255), `rescale` is not used; then f32 subtract and divide (torchvision's ToTensor
 *   and Normalize, as the OpenGVLab code calls them);
 * - `fused`: mean and std times 1 / rescale in f32, then f32 (pixel - mean) / std (transformers' torchvision backend);
 * - `bfloat16`: mean, std and the result of every step are rounded to bfloat16 (transformers' Llama 4 processor).
 */
export interface Normalization {
  readonly rescale: number;
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
  readonly arithmetic?: 'rescale-then-normalize' | 'divide-then-normalize' | 'fused' | 'bfloat16';
}

/** Values of the preprocess node's options that geometry may use; undefined means the model's own config. */
export interface GeometryOptions {
  readonly min_tiles?: number;
  readonly max_tiles?: number;
  readonly use_thumbnail?: boolean;
}

/** Values of a family's own symbolic axes for programs compiled to fixed shapes; `tiles` is what one item may take. */
export interface ProgramSymbols {
  vision(shape: { readonly batchSize: number; readonly tiles: number }): Readonly<Record<string, number>>;
  language(shape: {
    /** Rows of a prefill call; with continuous batching 1, also where decode takes more. */
    readonly batchSize: number;
    /** Items whose vision rows lie in one `vision_embeds`. */
    readonly visionBatch: number;
    readonly tiles: number;
    readonly prefillSeqLen: number;
    readonly ctxLen: number;
  }): Readonly<Record<string, number>>;
}

export interface FamilyModel {
  readonly family: string;
  /** Human summary lines for `vlm-run models`. */
  readonly facts: Readonly<Record<string, string | number | boolean>>;
  readonly normalization: Normalization;
  /** Token in the language program that takes vision rows. */
  readonly imageToken: string;
  /** Text in a rendered prompt that stands for one image, to be replaced by `expandImage`. */
  readonly imagePlaceholder: string;
  /** Length of one row of vision embeddings. */
  readonly hiddenSize: number;
  readonly textLayers: number;
  /** Numbers in one slot of a row's caches: keys and values of all layers. Absent where the configuration does not say. */
  readonly cacheElements?: number;
  readonly maxPositions: number;
  readonly eosTokenIds: readonly number[];
  /** Limits of tiling in the model's own configuration, where the family cuts images into a varying number of tiles. */
  readonly tiling?: {
    readonly minTiles: number;
    readonly maxTiles: number;
    /** The whole image is one more tile: where there are several, or beside a single one too (`isWholeAlways`). */
    readonly useThumbnail: boolean;
    readonly isWholeAlways?: boolean;
  };
  /** The one image size that exports of this family fold into the vision program; every image is brought to it first. */
  readonly exportedImage?: { readonly width: number; readonly height: number; readonly tiles: number };
  /** Absent: the programs of this family cannot be compiled to fixed shapes. */
  readonly programSymbols?: ProgramSymbols;
  /**
   * The same model as one of its exports works, told by the ports of the vision program; null while there is no program
   * to look at, and `calls` says what it will run on (`padded`: a card). Absent: all exports of the family are alike.
   */
  forProgram?(program: ProgramDescription | null, calls: ProgramDescription['calls']): FamilyModel;
  layout(width: number, height: number, options: GeometryOptions): ImageLayout;
  /** Puts image parts where the family's template wants them, adds the default system message if the family has one. */
  prepareMessages(messages: readonly ChatMessage[]): readonly ChatMessage[];
  /**
   * Renders a prompt where the family's reference does not use the folder's chat template; absent: the template does.
   * Gets what `prepareMessages` returned.
   */
  render?(messages: readonly ChatMessage[], options: { readonly addGenerationPrompt: boolean }): string;
  /** The text that replaces one `imagePlaceholder`. */
  expandImage(layout: ImageLayout | ImageInfo): string;
  /** Feeds of the vision program for `pixels` [tiles,3,S,S], shaped to the rank that the program has. */
  visionInputs(pixels: Tensor<'float32'>, program: ProgramDescription): Readonly<Record<string, Tensor>>;
  /** vision_embeds of any rank -> [rows, hidden], dropping rows of padding tiles. */
  visionRows(embeds: Tensor, images: readonly ImageInfo[]): Tensor;
}

export interface Family {
  readonly name: string;
  readonly modelTypes: readonly string[];
  /** Names of image processors (preprocessor_config.json) that the family implements. */
  readonly processors: readonly string[];
  /** Throws MODEL_UNSUPPORTED / MODEL_INVALID / PROCESSOR_UNSUPPORTED. */
  configure(files: ModelFiles): FamilyModel;
}
