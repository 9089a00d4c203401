/**
 * Keeps freed memory in the process instead of handing it back to the system between calls (native/memory, glibc only).
 * ONNX Runtime's operators take and free megabytes at every decode step; with glibc's defaults the pages come anew each
 * time. For the whole process, once, before the first session; nothing but speed depends on it.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { packageRoot } from './package-root.js';

/** Bump together with VLM_MEMORY_ABI in native/memory/addon.cc. */
const ABI = 1;

interface Addon {
  readonly abi: number;
  keepFreed(): boolean;
}

let kept: boolean | undefined;

/** False where it is not so: no native part, another C library, or settings of the user's own, which stay. */
export function keepFreedMemory(env: NodeJS.ProcessEnv = process.env): boolean {
  kept ??= hasOwnSettings(env) || env['VLM_RUN_NO_NATIVE'] === '1' ? false : apply();
  return kept;
}

/** glibc's variables for the same thing (mallopt(3), GLIBC_TUNABLES). */
export function hasOwnSettings(env: NodeJS.ProcessEnv): boolean {
  const names = ['MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_', 'MALLOC_TOP_PAD_'];
  return names.some((name) => env[name] !== undefined) || (env['GLIBC_TUNABLES'] ?? '').includes('glibc.malloc.');
}

function apply(): boolean {
  try {
    const addon: unknown = createRequire(import.meta.url)(join(packageRoot(), 'build', 'native', 'vlm_memory.node'));
    return isAddon(addon) && addon.keepFreed();
  } catch {
    // Not built here: it is slower, and that is all.
    return false;
  }
}

function isAddon(value: unknown): value is Addon {
  return typeof value === 'object' && value !== null && 'abi' in value && value.abi === ABI;
}
