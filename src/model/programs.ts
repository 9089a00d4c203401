/** Finds the two programs of a model in its folder, or says which files might be meant. */
import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { ProgramRole } from '../contracts/device.js';

export interface FoundProgram {
  /** Absolute path, or null. */
  readonly path: string | null;
  /** Named in the recipe rather than found. */
  readonly explicit: boolean;
  /** Files that could be it, when there are several and none has the usual name. */
  readonly candidates: readonly string[];
}

/** Usual name first; then names that exporters use (QEfficient: `…EncoderWrapper.onnx`, `…DecoderWrapper.onnx`). */
const NAMES: Readonly<Record<ProgramRole, { readonly usual: string; readonly like: RegExp; readonly not: RegExp }>> = {
  vision: { usual: 'vision.onnx', like: /vision|encoder|visual/i, not: /decoder|language/i },
  language: { usual: 'language.onnx', like: /language|decoder|causal|llm/i, not: /vision|encoder/i },
};
const SUBFOLDERS = ['', 'onnx'];

function onnxFiles(folder: string): readonly string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith('.onnx'))
    .sort()
    .map((name) => join(folder, name));
}

function baseName(path: string): string {
  return path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1);
}

export function findProgram(
  role: ProgramRole,
  folders: readonly string[],
  explicit: string | undefined,
  baseDir: string,
): FoundProgram {
  if (explicit !== undefined) {
    const path = resolve(baseDir, explicit);
    return { path: existsSync(path) ? path : null, explicit: true, candidates: [path] };
  }
  const { usual, like, not } = NAMES[role];
  const files = folders.flatMap((folder) => SUBFOLDERS.flatMap((sub) => onnxFiles(join(folder, sub))));
  const named = files.find((file) => baseName(file) === usual);
  if (named !== undefined) return { path: named, explicit: false, candidates: [] };
  const alike = files.filter((file) => like.test(baseName(file)) && !not.test(baseName(file)));
  const [only] = alike;
  return alike.length === 1 && only !== undefined
    ? { path: only, explicit: false, candidates: [] }
    : { path: null, explicit: false, candidates: alike };
}
