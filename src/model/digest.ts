/** SHA-256 of files, read in pieces, remembered for as long as size and time of change stay the same. */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readdirSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { VlmError } from '../contracts/errors.js';
import type { ModelFolder } from './folder.js';

/** The file of a compiled program, in a folder of its own. */
const COMPILED = 'programqpc.bin';

const known = new Map<string, { readonly stamp: string; readonly digest: string }>();

/** Throws MODEL_INVALID; CANCELLED as soon as the signal says so: weights take minutes to read. */
export async function fileDigest(path: string, signal?: AbortSignal): Promise<string> {
  try {
    const { size, mtimeMs, ino } = await stat(path);
    const stamp = `${size}:${mtimeMs}:${ino}`;
    const cached = known.get(path);
    if (cached?.stamp === stamp) return cached.digest;
    const hash = createHash('sha256');
    const stream = createReadStream(path, { highWaterMark: 1 << 20, ...(signal === undefined ? {} : { signal }) });
    for await (const chunk of stream) hash.update(chunk as Uint8Array);
    const digest = hash.digest('hex');
    known.set(path, { stamp, digest });
    return digest;
  } catch (error) {
    if (signal?.aborted === true) {
      throw new VlmError('CANCELLED', { what: 'Reading the model was stopped', where: path });
    }
    throw VlmError.wrap(error, 'MODEL_INVALID', {
      what: 'A file of the model cannot be read',
      received: error instanceof Error ? error.message : String(error),
      where: path,
    });
  }
}

/** Weights that an ONNX file keeps beside it: `vision.onnx.data`, `vision.onnx_data`, `vision.data`. */
function externalData(program: string): readonly string[] {
  const folder = dirname(program);
  const name = basename(program);
  if (!name.endsWith('.onnx') || !existsSync(folder)) return [];
  const stem = name.slice(0, -'.onnx'.length);
  return readdirSync(folder)
    .filter(
      (file) =>
        file !== name && (file.startsWith(`${name}.`) || file.startsWith(`${name}_`) || file === `${stem}.data`),
    )
    .sort()
    .map((file) => join(folder, file));
}

/**
 * Digests of everything a run reads of the model, by file name. A compiled program goes by its role: both have one file
 * name.
 */
export async function modelDigests(
  folder: ModelFolder,
  signal?: AbortSignal,
): Promise<Readonly<Record<string, string>>> {
  const paths = new Map(Object.entries(folder.paths));
  if (folder.files.chatTemplate !== null) paths.set(basename(folder.templateFile), folder.templateFile);
  for (const role of ['vision', 'language'] as const) {
    const { path } = folder.programs[role];
    if (path === null) continue;
    if ((await stat(path)).isDirectory() || basename(path) === COMPILED) {
      paths.set(`${role}/${COMPILED}`, basename(path) === COMPILED ? path : join(path, COMPILED));
      continue;
    }
    paths.set(basename(path), path);
    for (const data of externalData(path)) paths.set(basename(data), data);
  }
  const digests: Record<string, string> = {};
  for (const [name, path] of [...paths].sort(([a], [b]) => (a < b ? -1 : 1))) {
    digests[name] = await fileDigest(path, signal);
  }
  return digests;
}

/** One digest for all files of a program: an ONNX file with the weights beside it, or a compiled folder. */
export async function programDigest(path: string): Promise<string> {
  const compiled = join(path, COMPILED);
  const files = existsSync(compiled) ? [compiled] : [path, ...externalData(path)];
  const hash = createHash('sha256');
  for (const file of files) hash.update(`${basename(file)} ${await fileDigest(file)}\n`);
  return hash.digest('hex');
}
