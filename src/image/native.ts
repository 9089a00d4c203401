/**
 * Loads the native kernels (native/image, built into build/native/vlm_image.node) and falls back to TypeScript with the
 * same bytes. `VLM_RUN_NO_NATIVE=1` asks for TypeScript.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { buildNativeCommand } from '../util/native-parts.js';
import { packageRoot } from '../util/package-root.js';
import type { AxisWeights } from './filters.js';
import { type ResampleKernels, typescriptKernels } from './resample.js';

/** Bump together with VLM_IMAGE_ABI in native/image/addon.cc: a stale binary is not used. */
const ABI = 1;

interface Addon {
  readonly abi: number;
  readonly isa: string;
  horizontal(
    input: Uint8Array,
    inWidth: number,
    rows: number,
    output: Uint8Array,
    outWidth: number,
    size: number,
    starts: Int32Array,
    counts: Int32Array,
    weights: Int32Array,
  ): void;
  vertical(
    input: Uint8Array,
    rowBytes: number,
    output: Uint8Array,
    outRows: number,
    size: number,
    starts: Int32Array,
    counts: Int32Array,
    weights: Int32Array,
  ): void;
  tile(
    input: Uint8Array,
    stride: number,
    left: number,
    top: number,
    width: number,
    height: number,
    table: Float32Array,
    output: Float32Array,
    offset: number,
  ): void;
}

export interface LoadOptions {
  /** Told once per process why TypeScript is used instead of the addon. */
  readonly notice?: (message: string, reason: string) => void;
  /** Another place of the binary (tests). */
  readonly path?: string;
}

export interface LoadedKernels {
  readonly kernels: ResampleKernels;
  /** `native (avx2)` or `typescript`. */
  readonly label: string;
}

let loaded: LoadedKernels | undefined;
let noticed = false;

/** The fastest kernels of this machine. Never throws: without the addon the TypeScript ones do the same work. */
export function loadKernels(options: LoadOptions = {}): LoadedKernels {
  if (loaded !== undefined && options.path === undefined) return loaded;
  const result = tryNative(options.path ?? join(packageRoot(), 'build', 'native', 'vlm_image.node'));
  if (typeof result !== 'string') {
    if (options.path === undefined) loaded = result;
    return result;
  }
  const fallback = { kernels: typescriptKernels, label: 'typescript' };
  if (options.path === undefined) loaded = fallback;
  if (!noticed && result !== '' && options.notice !== undefined) {
    noticed = true;
    options.notice(`Images are resized in TypeScript (same pixels, slower): ${result}`, result);
  }
  return fallback;
}

/** Kernels, or why there are none; an empty reason when TypeScript was asked for. */
function tryNative(path: string): LoadedKernels | string {
  if (process.env['VLM_RUN_NO_NATIVE'] === '1') return '';
  try {
    const addon: unknown = createRequire(import.meta.url)(path);
    if (!isAddon(addon)) return `the native part is of another version; run ${buildNativeCommand()}`;
    return { kernels: wrap(addon), label: `native (${addon.isa})` };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'MODULE_NOT_FOUND') return `the native part is not built; run ${buildNativeCommand()}`;
    return `the native part does not load (${error instanceof Error ? error.message : String(error)})`;
  }
}

function isAddon(value: unknown): value is Addon {
  return typeof value === 'object' && value !== null && 'abi' in value && value.abi === ABI;
}

function wrap(addon: Addon): ResampleKernels {
  return {
    name: 'native',
    horizontal(input, inWidth, rows, output, outWidth, w: AxisWeights) {
      addon.horizontal(input, inWidth, rows, output, outWidth, w.size, w.starts, w.counts, w.weights);
    },
    vertical(input, rowBytes, output, outRows, w: AxisWeights) {
      addon.vertical(input, rowBytes, output, outRows, w.size, w.starts, w.counts, w.weights);
    },
    tile(input, stride, left, top, size, table, output, offset) {
      addon.tile(input, stride, left, top, size.width, size.height, table, output, offset);
    },
  };
}
