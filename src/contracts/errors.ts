/**
 * The one error type of vlm-run.
 *
 * Every failure that a person can meet carries a stable code from the closed union below and says what happened,
 * what was expected, what was received, where, and what to do. Foreign errors are wrapped once, at the boundary that
 * knows the most about them, and kept as `cause`.
 */

/** Process exit codes (architecture decision 4). */
export const EXIT = { ok: 0, recipe: 2, input: 3, device: 4, run: 5, interrupted: 130 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** Closed union of error codes; the value is the exit code of the process when such an error ends it. */
export const ERROR_CODES = {
  // --- the recipe or the command line is wrong: 2
  USAGE: EXIT.recipe,
  RECIPE_INVALID: EXIT.recipe,
  RECIPE_UNREADABLE: EXIT.recipe,
  SET_INVALID: EXIT.recipe,
  INPUT_UNKNOWN: EXIT.recipe,
  INPUT_MISSING: EXIT.recipe,
  PLUGIN_FORBIDDEN: EXIT.recipe,
  PLUGIN_INVALID: EXIT.recipe,
  PLAN_DOES_NOT_FIT: EXIT.recipe,
  OPTION_INVALID: EXIT.recipe,
  // --- a model or input file is missing or unusable: 3
  MODEL_MISSING: EXIT.input,
  MODEL_INVALID: EXIT.input,
  MODEL_UNSUPPORTED: EXIT.input,
  PROCESSOR_UNSUPPORTED: EXIT.input,
  PROGRAM_INVALID: EXIT.input,
  TEMPLATE_INVALID: EXIT.input,
  TOKENIZER_INVALID: EXIT.input,
  DOWNLOAD_FAILED: EXIT.input,
  INPUT_UNREADABLE: EXIT.input,
  INPUT_TOO_LARGE: EXIT.input,
  IMAGE_UNREADABLE: EXIT.input,
  IMAGE_TOO_LARGE: EXIT.input,
  IMAGE_UNSUPPORTED: EXIT.input,
  LOCK_INVALID: EXIT.input,
  PACK_INVALID: EXIT.input,
  // --- device trouble: 4
  DEVICE_UNKNOWN: EXIT.device,
  DEVICE_UNAVAILABLE: EXIT.device,
  DEVICE_FAILED: EXIT.device,
  DEVICE_CLOSED: EXIT.device,
  SHAPE_NOT_ALLOWED: EXIT.device,
  TENSOR_INVALID: EXIT.device,
  STATE_INVALID: EXIT.device,
  // --- the run failed: 5
  PROMPT_TOO_LONG: EXIT.run,
  IMAGE_TOKENS_MISMATCH: EXIT.run,
  NODE_FAILED: EXIT.run,
  WORKER_DIED: EXIT.run,
  OUTPUT_UNWRITABLE: EXIT.run,
  INTERNAL: EXIT.run,
  // --- interrupted: 130
  CANCELLED: EXIT.interrupted,
} as const satisfies Record<string, ExitCode>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** A place in a recipe file. Lines and columns count from 1. */
export interface SourceLocation {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export interface VlmErrorDetails {
  /** What happened, one sentence. */
  readonly what: string;
  readonly expected?: string;
  readonly received?: string;
  /** Where: a node name, a file, a port, a tensor. */
  readonly where?: string;
  /** What the reader can do about it. */
  readonly hint?: string;
  readonly location?: SourceLocation;
  readonly cause?: unknown;
}

/** Plain data form of a VlmError: crosses threads and is what `--json` prints. */
export interface ErrorData {
  readonly code: ErrorCode;
  readonly what: string;
  readonly expected?: string;
  readonly received?: string;
  readonly where?: string;
  readonly hint?: string;
  readonly location?: SourceLocation;
  readonly cause?: string;
}

export class VlmError extends Error {
  override readonly name = 'VlmError';
  readonly code: ErrorCode;
  readonly details: VlmErrorDetails;

  constructor(code: ErrorCode, details: VlmErrorDetails) {
    super(messageOf(details), details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.details = details;
  }

  get exitCode(): ExitCode {
    return ERROR_CODES[this.code];
  }

  toData(): ErrorData {
    const { what, expected, received, where, hint, location, cause } = this.details;
    return {
      code: this.code,
      what,
      ...(expected === undefined ? {} : { expected }),
      ...(received === undefined ? {} : { received }),
      ...(where === undefined ? {} : { where }),
      ...(hint === undefined ? {} : { hint }),
      ...(location === undefined ? {} : { location }),
      ...(cause === undefined ? {} : { cause: causeText(cause) }),
    };
  }

  /** Rebuilds an error that crossed a thread or process boundary as data. */
  static fromData(data: ErrorData): VlmError {
    const { code, ...details } = data;
    return new VlmError(code, details);
  }

  /** Returns `error` unchanged when it is a VlmError already; otherwise wraps it once with `code` and `details`. */
  static wrap(error: unknown, code: ErrorCode, details: Omit<VlmErrorDetails, 'cause'>): VlmError {
    return error instanceof VlmError ? error : new VlmError(code, { ...details, cause: error });
  }

  /** A copy that also says where, keeping an inner `where` if there is one. */
  at(where: string, location?: SourceLocation): VlmError {
    const details = { ...this.details };
    const joined = details.where === undefined ? where : `${where}: ${details.where}`;
    return new VlmError(this.code, {
      ...details,
      where: joined,
      ...(details.location === undefined && location !== undefined ? { location } : {}),
    });
  }
}

function causeText(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

function messageOf(d: VlmErrorDetails): string {
  const parts = [d.what];
  if (d.expected !== undefined) parts.push(`expected ${d.expected}`);
  if (d.received !== undefined) parts.push(`received ${d.received}`);
  const tail = d.hint === undefined ? '' : ` — ${d.hint}`;
  const where = d.where === undefined ? '' : `${d.where}: `;
  return `${where}${parts.join('; ')}${tail}`;
}
