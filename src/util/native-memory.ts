/**
 * Keeps freed memory in the process instead of handing it back to the system between calls (native/memory, glibc only).
 * ONNX Runtime's operators take and free megabytes at every decode step; with glibc's defaults the pages come anew each
 * time. For the whole process, once, before the first session; nothing but speed depends on it.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { buildNativeCommand } from './native-parts.js';
import { packageRoot } from './package-root.js';

/** Bump together with VLM_MEMORY_ABI in native/memory/addon.cc. */
const ABI = 1;

interface Addon {
  readonly abi: number;
  keepFreed(): boolean;
}

let state: string | undefined;

const KEPT = 'kept';

/** False where it is not so: no native part, another C library, or settings of the user's own, which stay. */
export function keepFreedMemory(env: NodeJS.ProcessEnv = process.env): boolean {
  return freedMemory(env) === KEPT;
}

/** `kept`, or why freed memory goes back to the system. Applies it the first time, as keepFreedMemory does. */
export function freedMemory(env: NodeJS.ProcessEnv = process.env): string {
  state ??= hasOwnSettings(env)
    ? 'as your own settings of the C library say'
    : env['VLM_RUN_NO_NATIVE'] === '1'
      ? 'as the C library does it: VLM_RUN_NO_NATIVE is set'
      : apply();
  return state;
}

/** glibc's variables for the same thing (mallopt(3), GLIBC_TUNABLES). */
export function hasOwnSettings(env: NodeJS.ProcessEnv): boolean {
  const names = ['MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_', 'MALLOC_TOP_PAD_'];
  return names.some((name) => env[name] !== undefined) || (env['GLIBC_TUNABLES'] ?? '').includes('glibc.malloc.');
}

function apply(): string {
  const path = join(packageRoot(), 'build', 'native', 'vlm_memory.node');
  const returned = 'handed back to the system (decoding is slower)';
  // Not built here: it is slower, and that is all.
  if (!existsSync(path)) return `${returned}: the native part is not built; run ${buildNativeCommand()}`;
  try {
    const addon: unknown = createRequire(import.meta.url)(path);
    if (!isAddon(addon)) return `${returned}: the native part is of another version; run ${buildNativeCommand()}`;
    return addon.keepFreed() ? KEPT : 'as the C library does it: it is not glibc';
  } catch (error) {
    return `${returned}: the native part does not load (${error instanceof Error ? error.message : String(error)})`;
  }
}

function isAddon(value: unknown): value is Addon {
  return typeof value === 'object' && value !== null && 'abi' in value && value.abi === ABI;
}
