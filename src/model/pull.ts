/**
 * `vlm-run models pull`: the only code that fetches models. Files go into the standard Hugging Face cache, each checked
 * against the digest that the hub gives (SHA-256 of large files, the git blob id of small ones).
 */
import { createHash } from 'node:crypto';
import { createWriteStream, existsSync, rmSync } from 'node:fs';
import { rename, rm, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { downloadFile, listFiles, modelInfo } from '@huggingface/hub';
import { VlmError } from '../contracts/errors.js';
import { writeFileAtomic } from '../util/atomic-write.js';
import { makeFolders } from '../util/folders.js';
import { checkHubId, checkRevision, type Environment, hubCache, repoFolder } from './hub.js';

export interface PullOptions {
  readonly revision?: string;
  /** Everything in the repository, weights of other formats too. Default: what a run reads. */
  readonly all?: boolean;
  readonly env?: Environment;
  readonly onFile?: (file: PulledFile) => void;
  readonly onProgress?: (path: string, done: number, total: number) => void;
  /** Stops the pull at once. What is whole stays; nothing half is left. */
  readonly signal?: AbortSignal;
}

export interface PulledFile {
  readonly path: string;
  readonly size: number;
  /** It was in the cache already. */
  readonly cached: boolean;
}

export interface PullResult {
  readonly hub: string;
  readonly revision: string;
  readonly commit: string;
  readonly folder: string;
  readonly files: readonly PulledFile[];
  /** Files of the repository that were left out. */
  readonly skipped: readonly string[];
}

interface RepoFile {
  readonly path: string;
  readonly size: number;
  readonly oid?: string;
  readonly sha256?: string;
}

interface Access {
  readonly hubUrl?: string;
  readonly accessToken?: string;
  readonly fetch: typeof fetch;
}

/** What is pulled, from where, and into what. */
interface Pull {
  readonly hub: string;
  readonly revision: string;
  readonly access: Access;
  readonly cache: string;
  /** The model's folder in the cache. */
  readonly repo: string;
  readonly signal: AbortSignal;
  readonly onProgress: PullOptions['onProgress'];
}

/** What a run reads: configuration, tokenizer, templates, ONNX programs and their weights. */
const WANTED = /(^|\/)[^/]+\.(json|jinja|onnx|onnx[._]data)$|(^|\/)[^/]*\.onnx[._]data[^/]*$/;
/** Indices of weights in other formats. */
const UNWANTED = /\.(safetensors|bin)\.index\.json$/;

/** Files on their way, under names that nothing takes for whole ones. */
const partials = new Set<string>();

/** Before the process is ended by force. */
export function giveUpPulls(): void {
  for (const path of partials) rmSync(path, { force: true });
}

/** Downloads a model into the cache. Throws DOWNLOAD_FAILED, OPTION_INVALID, OUTPUT_UNWRITABLE, CANCELLED. */
export async function pullModel(id: string, options: PullOptions = {}): Promise<PullResult> {
  const hub = checkHubId(id, 'models pull');
  const revision = checkRevision(options.revision ?? 'main', 'models pull');
  const env = options.env ?? process.env;
  refuseOffline(env);
  const signal = options.signal ?? new AbortController().signal;
  const cache = hubCache(env);
  const access = accessOf(env, signal);
  const repo = repoFolder(cache, hub);
  const named: Pull = { hub, revision, access, cache, repo, signal, onProgress: options.onProgress };
  const commit = await resolveCommit(named);
  const pull: Pull = { ...named, revision: commit };
  const { wanted, skipped } = await listRepo(pull, options.all === true);
  const folder = join(repo, 'snapshots', commit);
  const files: PulledFile[] = [];
  for (const file of wanted) {
    const cached = await asking(pull, () => storeBlob(pull, folder, file));
    const pulled = { path: file.path, size: file.size, cached };
    options.onFile?.(pulled);
    files.push(pulled);
  }
  // All at once when all are whole: a recipe that names the commit must not meet half a snapshot.
  await asking(pull, async () => {
    for (const file of wanted) await link(pull, folder, file);
  });
  // Written last: a name in refs/ means that the snapshot is whole.
  if (revision !== commit) await writeFileAtomic(join(repo, 'refs', revision), commit);
  return { hub, revision, commit, folder, files, skipped };
}

/** HF_HUB_OFFLINE is how people tell all Hugging Face tools to leave the network alone. */
function refuseOffline(env: Environment): void {
  const value = (env['HF_HUB_OFFLINE'] ?? '').toLowerCase();
  if (['1', 'true', 'yes', 'on'].includes(value)) {
    throw new VlmError('DOWNLOAD_FAILED', {
      what: 'Nothing is fetched: HF_HUB_OFFLINE is set',
      hint: 'unset HF_HUB_OFFLINE to pull models',
    });
  }
}

function accessOf(env: Environment, signal: AbortSignal): Access {
  const endpoint = env['HF_ENDPOINT'];
  const token = env['HF_TOKEN']?.trim();
  // The hub client takes no other token, and would say so as if it were a defect.
  if (token !== undefined && token !== '' && !token.startsWith('hf_')) {
    throw new VlmError('DOWNLOAD_FAILED', {
      what: 'HF_TOKEN is not a token of the hub',
      expected: 'a text that begins with hf_',
      hint: 'copy the token anew, or unset HF_TOKEN',
    });
  }
  return {
    ...(endpoint === undefined || endpoint === '' ? {} : { hubUrl: endpoint.replace(/\/+$/, '') }),
    ...(token === undefined || token === '' ? {} : { accessToken: token }),
    fetch: (input, init) => fetch(input, { ...init, signal }),
  };
}

async function resolveCommit(pull: Pull): Promise<string> {
  const { hub, revision, access } = pull;
  const info = await asking(pull, () => modelInfo({ name: hub, revision, additionalFields: ['sha'], ...access }));
  const { sha } = info;
  if (typeof sha !== 'string' || !/^[0-9a-f]{40}$/.test(sha)) {
    throw failed('The hub did not say which commit the revision is', pull, String(sha));
  }
  return sha;
}

async function listRepo(pull: Pull, all: boolean) {
  const { hub, revision, access } = pull;
  const wanted: RepoFile[] = [];
  const skipped: string[] = [];
  await asking(pull, async () => {
    for await (const entry of listFiles({ repo: hub, revision, recursive: true, ...access })) {
      if (entry.type !== 'file') continue;
      const { path, size, oid, lfs } = entry;
      if (!isInside(path)) throw failed('A file of the repository has an unsafe name', pull, JSON.stringify(path));
      if (!all && (!WANTED.test(path) || UNWANTED.test(path))) skipped.push(path);
      else if (lfs !== undefined) wanted.push({ path, size: lfs.size, sha256: lfs.oid });
      else wanted.push({ path, size, ...(oid === undefined ? {} : { oid }) });
    }
  });
  return { wanted, skipped };
}

function isInside(path: string): boolean {
  return (
    path !== '' && !path.includes('\\') && !path.split('/').some((part) => part === '..' || part === '.' || part === '')
  );
}

/** Stores the bytes of one file, as other Hugging Face tools do. true when they were there already. */
async function storeBlob(pull: Pull, folder: string, file: RepoFile): Promise<boolean> {
  if (existsSync(join(folder, file.path))) return true;
  const blob = blobOf(pull, file);
  if (existsSync(blob)) return true;
  await download(pull, blob, file);
  return false;
}

function blobOf(pull: Pull, file: RepoFile): string {
  const name = file.sha256 ?? file.oid;
  if (name === undefined || !/^[0-9a-f]{40,64}$/.test(name)) {
    throw failed('The hub gave no digest of a file', pull, file.path);
  }
  return join(pull.repo, 'blobs', name);
}

async function link(pull: Pull, folder: string, file: RepoFile): Promise<void> {
  const pointer = join(folder, file.path);
  if (existsSync(pointer)) return;
  await makeFolders(dirname(pointer));
  // Renamed into place: a link to a blob that was deleted is replaced, and two pulls at once give the same link.
  const draft = `${pointer}.${process.pid}.link`;
  await rm(draft, { force: true });
  await symlink(relative(dirname(pointer), blobOf(pull, file)), draft);
  await rename(draft, pointer);
}

async function download(pull: Pull, blob: string, file: RepoFile): Promise<void> {
  const { hub, revision, access, signal, onProgress } = pull;
  await makeFolders(dirname(blob));
  const partial = `${blob}.${process.pid}.incomplete`;
  const hash = file.sha256 === undefined ? createHash('sha1') : createHash('sha256');
  if (file.sha256 === undefined) hash.update(`blob ${file.size}\0`);
  let done = 0;
  partials.add(partial);
  try {
    const content = await downloadFile({ repo: hub, revision, path: file.path, ...access });
    if (content === null) throw failed('A listed file is not there', pull, file.path);
    const counted = async function* (chunks: AsyncIterable<Uint8Array>) {
      for await (const chunk of chunks) {
        hash.update(chunk);
        done += chunk.length;
        onProgress?.(file.path, done, file.size);
        yield chunk;
      }
    };
    await pipeline(Readable.from(content.stream()), counted, createWriteStream(partial), { signal });
    const digest = hash.digest('hex');
    if (digest !== (file.sha256 ?? file.oid)) {
      throw failed('A downloaded file is damaged', pull, `${file.path}: ${done} bytes with digest ${digest}`);
    }
    await rename(partial, blob);
  } finally {
    await rm(partial, { force: true });
    partials.delete(partial);
  }
}

/** Wraps what the hub client and the file system throw: once, with what to do about the usual causes. */
async function asking<T>(pull: Pull, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (pull.signal.aborted) {
      throw new VlmError('CANCELLED', {
        what: `Pulling ${pull.hub} was interrupted`,
        hint: 'pull it again to go on: files that are whole stay',
      });
    }
    if (error instanceof VlmError) throw error;
    if (isOfFiles(error)) {
      throw new VlmError('OUTPUT_UNWRITABLE', {
        what: `${pull.hub} cannot be stored`,
        received: error.message,
        where: pull.cache,
        hint: 'make room there, or set HF_HOME or HF_HUB_CACHE to another folder',
      });
    }
    const status = statusOf(error);
    throw new VlmError('DOWNLOAD_FAILED', {
      what: `${pull.hub} could not be fetched`,
      received: status === undefined ? reasonOf(error) : `status ${status} from the hub`,
      where: `${pull.hub} at ${pull.revision}`,
      hint: hintFor(status),
      ...(status === undefined ? {} : { cause: error }),
    });
  }
}

/** Errors of the network come inside of others; those of files come as they are. */
function isOfFiles(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error && 'code' in error && !('address' in error);
}

function statusOf(error: unknown): number | undefined {
  return error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number'
    ? error.statusCode
    : undefined;
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

function hintFor(status: number | undefined): string {
  if (status === 401 || status === 403) {
    return 'check the name; for a private or gated model accept its terms on the hub and set HF_TOKEN';
  }
  if (status === 404) return 'check the name of the model (owner/name) and the revision';
  if (status === 429)
    return 'the hub wants fewer requests: wait a few minutes and pull again; HF_TOKEN raises the limit';
  if (status === undefined) return 'check the network; HF_ENDPOINT names another hub';
  return 'try again later';
}

function failed(what: string, pull: Pull, received: string): VlmError {
  return new VlmError('DOWNLOAD_FAILED', {
    what,
    received,
    where: `${pull.hub} at ${pull.revision}`,
    hint: 'pull the model again',
  });
}
