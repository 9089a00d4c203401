/**
 * The device contract (architecture decision 1): the same few calls on ONNX Runtime, on a card, on an emulated card.
 * No decode logic lives behind it; the generation loop (src/generation) is written once against this file.
 *
 * Life of a program: driver.open -> describe -> activate -> createState -> run* -> deactivate -> close.
 * All calls on one session come from one thread (the worker that owns it) and do not overlap, unless the session says
 * how many may (`callsInFlight`).
 */
import type { DType, Tensor } from './tensor.js';

/** Which half of a model a program is. */
export type ProgramRole = 'vision' | 'language';

/** What a driver needs to open a program. */
export interface ProgramSource {
  readonly role: ProgramRole;
  /** Absolute path of the ONNX file, of a QPC folder or of a `programqpc.bin`. */
  readonly path: string;
}

/** Device settings of a recipe (`devices.<name>`), defaults filled in. Extra keys belong to the driver. */
export interface DeviceConfig {
  readonly kind: string;
  readonly ids?: readonly number[];
  readonly [option: string]: unknown;
}

/** A tensor a program takes or gives. A dim is a number when fixed, the axis name when symbolic. */
export interface ProgramPort {
  readonly name: string;
  readonly dtype: DType;
  readonly dims: readonly (number | string)[];
}

/** One set of shapes a compiled program accepts: port name -> dims. `null` in `allowedShapes` position: anything goes. */
export interface ShapeSet {
  readonly name: string;
  readonly symbols: Readonly<Record<string, number>>;
  readonly shapes: Readonly<Record<string, readonly number[]>>;
}

export interface ProgramDescription {
  readonly role: ProgramRole;
  readonly inputs: readonly ProgramPort[];
  readonly outputs: readonly ProgramPort[];
  /** Finite list of shapes that the program accepts, or null when its symbolic axes take any value (ONNX Runtime). */
  readonly allowedShapes: readonly ShapeSet[] | null;
  /**
   * How calls are shaped. `exact`: pass exactly as many tokens as there are, one row of a batch at a time during
   * prefill (ONNX Runtime). `padded`: every call has one of `allowedShapes`, unused positions are -1 (cards).
   */
  readonly calls: 'exact' | 'padded';
  /** Bytes of the weights, of one row of retained state at `ctx_len` 1 (0 for vision). For memory estimates. */
  readonly weightBytes: number;
  readonly stateBytesPerToken: number;
  /** True for everything that is not the real thing: shown wherever a figure appears. */
  readonly emulated: boolean;
}

/** Retained state of one program: `batch` rows of a cache of `ctxLen` slots. It lives where the program runs. */
export interface DeviceState {
  readonly batch: number;
  readonly ctxLen: number;
  /** A view of one row as a state of batch 1 (prefill of unequal prompts in `exact` mode). Shares memory with this. */
  row(index: number): DeviceState;
  release(): void;
}

/** What comes back of `logits` besides or instead of the full row. */
export type Reduce =
  | { readonly kind: 'none' }
  | { readonly kind: 'argmax' }
  | { readonly kind: 'topk'; readonly k: number };

export interface RunOptions {
  /** Applied to `logits` [B, 1, V]. Default none: the full tensor is in `outputs`. */
  readonly reduce?: Reduce;
}

export interface RunResult {
  readonly outputs: Readonly<Record<string, Tensor>>;
  /**
   * Set when `reduce` is not none: for each row of the batch the best `k` ids (argmax: 1), best first, the lowest
   * index first among equals, with their logits. ids and values are [B * k].
   */
  readonly top?: { readonly k: number; readonly ids: Int32Array; readonly values: Float32Array };
}

export interface ProgramSession {
  /** How many calls may overlap: those of a vision program, or of states of their own. Absent: one. */
  readonly callsInFlight?: number;
  describe(): ProgramDescription;
  activate(): Promise<void>;
  deactivate(): Promise<void>;
  /** Language programs only. */
  createState(batch: number, ctxLen: number): DeviceState;
  /**
   * Runs the program once. `state` is null for a vision program. Inputs are keyed by port name without prefix; those
   * of retained state are supplied by the session. `wanted` names the outputs to hand back; retained state is updated
   * in place and never handed back. Output buffers may be reused by the next `run` of the same session: copy what you
   * keep. Throws VlmError (TENSOR_INVALID, SHAPE_NOT_ALLOWED, DEVICE_FAILED, DEVICE_CLOSED, STATE_INVALID).
   */
  run(
    state: DeviceState | null,
    inputs: Readonly<Record<string, Tensor>>,
    wanted: readonly string[],
    options?: RunOptions,
  ): Promise<RunResult>;
  close(): Promise<void>;
}

/** One entry per device as `vlm-run devices` prints it. */
export interface DeviceInfo {
  readonly kind: string;
  readonly id: string;
  readonly status: 'ready' | 'unavailable';
  readonly summary: string;
  readonly details: Readonly<Record<string, string | number | boolean>>;
  readonly emulated: boolean;
}

export interface DeviceDriver {
  readonly kind: string;
  /** Device options as JSON Schema properties (beside `kind`), each with description, default and examples. */
  open(program: ProgramSource, config: DeviceConfig): Promise<ProgramSession>;
  /** What a program file would accept, without opening a session (the planner's question). */
  inspect(program: ProgramSource, config: DeviceConfig): Promise<ProgramDescription>;
  list(): Promise<readonly DeviceInfo[]>;
  /** Stand-ins without hardware that `list` leaves out. */
  listEmulated?(): Promise<readonly DeviceInfo[]>;
}

/** Data-only part of a driver: what the recipe schema knows of a device kind without loading its runtime. */
export interface DeviceManifest {
  readonly kind: string;
  readonly description: string;
  /** JSON Schema of the options beside `kind`. */
  readonly options: Readonly<Record<string, import('./node.js').OptionSchema>>;
}
