/**
 * Digests of graphs and weights, remembered between starts: weights of many GB are read once. The memory belongs to
 * this machine and may be deleted at any time; programs do not depend on it.
 */
import { createHash } from 'node:crypto';
import { readFileSync, type Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { VlmError } from '../../../contracts/errors.js';
import { writeFileAtomic } from '../../../util/atomic-write.js';
import { sha256 } from './cache.js';
import type { ProgramGraph } from './command.js';

/** A file changed so recently could change again within the same tick of its clock. */
const SETTLED_MS = 2000;

export async function graphDigests(
  graph: ProgramGraph,
  cache: string,
): Promise<{ readonly graph: string; readonly data: Readonly<Record<string, string>> }> {
  const data: Record<string, string> = {};
  for (const location of graph.externalData) {
    data[normalize(location)] = await rememberedDigest(join(dirname(graph.path), location), cache);
  }
  return { graph: await rememberedDigest(graph.path, cache), data };
}

function memoryOf(path: string, cache: string): string {
  return join(cache, 'digests', `${createHash('sha256').update(path).digest('hex').slice(0, 40)}.json`);
}

function stampOf({ size, mtimeMs, ctimeMs, ino, dev }: Stats): string {
  return [size, mtimeMs, ctimeMs, ino, dev].join(':');
}

/** The digest of a file as far as it is remembered: null costs no reading. */
export async function knownDigest(path: string, cache: string): Promise<string | null> {
  const info = await stat(path).catch(() => null);
  const known = info === null ? null : remembered(memoryOf(path, cache));
  return info !== null && known?.stamp === stampOf(info) ? known.sha256 : null;
}

export async function rememberedDigest(path: string, cache: string): Promise<string> {
  try {
    const info = await stat(path);
    const { mtimeMs, ctimeMs } = info;
    const stamp = stampOf(info);
    const memory = memoryOf(path, cache);
    const known = remembered(memory);
    if (known?.stamp === stamp) return known.sha256;
    const digest = await sha256(path);
    if (Date.now() - Math.max(mtimeMs, ctimeMs) > SETTLED_MS) {
      // A cache that cannot be written costs time only.
      await writeFileAtomic(memory, JSON.stringify({ stamp, sha256: digest })).catch(() => undefined);
    }
    return digest;
  } catch (error) {
    throw VlmError.wrap(error, 'MODEL_MISSING', {
      what: 'A file of a program cannot be read',
      received: error instanceof Error ? error.message : String(error),
      where: path,
      hint: 'copy the external data file along with the model',
    });
  }
}

function remembered(path: string): { readonly stamp: string; readonly sha256: string } | null {
  try {
    const value = JSON.parse(readFileSync(path, 'utf8')) as { stamp?: unknown; sha256?: unknown };
    const { stamp, sha256: digest } = value;
    return typeof stamp === 'string' && typeof digest === 'string' ? { stamp, sha256: digest } : null;
  } catch {
    return null;
  }
}
