/**
 * `vlm-run models pull`: the only code that fetches models. Files go into the standard Hugging Face cache, each checked
 * against the digest that the hub gives (SHA-256 of large files, the git blob id of small ones).
 */
import { createHash } from 'node:crypto';
import { createWriteStream, existsSync } from 'node:fs';
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { downloadFile, listFiles, modelInfo } from '@huggingface/hub';
import { VlmError } from '../contracts/errors.js';
import { checkHubId, checkRevision, type Environment, hubCache, repoFolder } from './hub.js';

export interface PullOptions {
  readonly revision?: string;
  /** Everything in the repository, weights of other formats too. Default: what a run reads. */
  readonly all?: boolean;
  readonly env?: Environment;
  readonly onFile?: (file: PulledFile) => void;
  readonly onProgress?: (path: string, done: number, total: number) => void;
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
}

/** What a run reads: configuration, tokenizer, templates, ONNX programs and their weights. */
const WANTED = /(^|\/)[^/]+\.(json|jinja|onnx|onnx[._]data)$|(^|\/)[^/]*\.onnx[._]data[^/]*$/;
/** Indices of weights in other formats. */
const UNWANTED = /\.(safetensors|bin)\.index\.json$/;

/** Downloads a model into the cache. Throws DOWNLOAD_FAILED, OPTION_INVALID. */
export async function pullModel(id: string, options: PullOptions = {}): Promise<PullResult> {
  const hub = checkHubId(id);
  const revision = checkRevision(options.revision ?? 'main');
  const env = options.env ?? process.env;
  refuseOffline(env);
  const access = accessOf(env);
  const repo = repoFolder(hubCache(env), hub);
  const commit = await resolveCommit(hub, revision, access);
  const { wanted, skipped } = await listRepo(hub, commit, access, options.all === true);
  const folder = join(repo, 'snapshots', commit);
  const files: PulledFile[] = [];
  for (const file of wanted) {
    const cached = await storeFile(hub, commit, repo, folder, file, access, options.onProgress);
    const pulled = { path: file.path, size: file.size, cached };
    options.onFile?.(pulled);
    files.push(pulled);
  }
  // Written last: a name in refs/ means that the snapshot is whole.
  if (revision !== commit) await writeRef(repo, revision, commit);
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

function accessOf(env: Environment): Access {
  const endpoint = env['HF_ENDPOINT'];
  const token = env['HF_TOKEN'];
  return {
    ...(endpoint === undefined || endpoint === '' ? {} : { hubUrl: endpoint.replace(/\/+$/, '') }),
    ...(token === undefined || token === '' ? {} : { accessToken: token }),
  };
}

async function resolveCommit(hub: string, revision: string, access: Access): Promise<string> {
  const info = await asking(hub, revision, () =>
    modelInfo({ name: hub, revision, additionalFields: ['sha'], ...access }),
  );
  const { sha } = info;
  if (typeof sha !== 'string' || !/^[0-9a-f]{40}$/.test(sha)) {
    throw failed('The hub did not say which commit the revision is', hub, revision, String(sha));
  }
  return sha;
}

async function listRepo(hub: string, commit: string, access: Access, all: boolean) {
  const wanted: RepoFile[] = [];
  const skipped: string[] = [];
  await asking(hub, commit, async () => {
    for await (const entry of listFiles({ repo: hub, revision: commit, recursive: true, ...access })) {
      if (entry.type !== 'file') continue;
      const { path, size, oid, lfs } = entry;
      if (!isInside(path))
        throw failed('A file of the repository has an unsafe name', hub, commit, JSON.stringify(path));
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

/** Stores one file as blob and link, as other Hugging Face tools do. true when it was there already. */
async function storeFile(
  hub: string,
  commit: string,
  repo: string,
  folder: string,
  file: RepoFile,
  access: Access,
  onProgress: PullOptions['onProgress'],
): Promise<boolean> {
  const pointer = join(folder, file.path);
  if (existsSync(pointer)) return true;
  const name = file.sha256 ?? file.oid;
  if (name === undefined || !/^[0-9a-f]{40,64}$/.test(name)) {
    throw failed('The hub gave no digest of a file', hub, commit, file.path);
  }
  const blob = join(repo, 'blobs', name);
  const there = existsSync(blob);
  if (!there) await download(hub, commit, blob, file, access, onProgress);
  await mkdir(dirname(pointer), { recursive: true });
  // Renamed into place: a link to a blob that was deleted is replaced, and two pulls at once give the same link.
  const link = `${pointer}.${process.pid}.link`;
  await rm(link, { force: true });
  await symlink(relative(dirname(pointer), blob), link);
  await rename(link, pointer);
  return there;
}

async function download(
  hub: string,
  commit: string,
  blob: string,
  file: RepoFile,
  access: Access,
  onProgress: PullOptions['onProgress'],
): Promise<void> {
  await mkdir(dirname(blob), { recursive: true });
  const partial = `${blob}.${process.pid}.incomplete`;
  const hash = file.sha256 === undefined ? createHash('sha1') : createHash('sha256');
  if (file.sha256 === undefined) hash.update(`blob ${file.size}\0`);
  let done = 0;
  try {
    await asking(hub, commit, async () => {
      const content = await downloadFile({ repo: hub, revision: commit, path: file.path, ...access });
      if (content === null) throw failed('A listed file is not there', hub, commit, file.path);
      const counted = async function* (chunks: AsyncIterable<Uint8Array>) {
        for await (const chunk of chunks) {
          hash.update(chunk);
          done += chunk.length;
          onProgress?.(file.path, done, file.size);
          yield chunk;
        }
      };
      await pipeline(Readable.from(content.stream()), counted, createWriteStream(partial));
    });
    const digest = hash.digest('hex');
    if (digest !== (file.sha256 ?? file.oid)) {
      throw failed('A downloaded file is damaged', hub, commit, `${file.path}: ${done} bytes with digest ${digest}`);
    }
    await rename(partial, blob);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

async function writeRef(repo: string, revision: string, commit: string): Promise<void> {
  const path = join(repo, 'refs', revision);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, commit);
}

/** Wraps what the hub client throws: once, with what to do about the usual causes. */
async function asking<T>(hub: string, revision: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof VlmError) throw error;
    const status = statusOf(error);
    throw new VlmError('DOWNLOAD_FAILED', {
      what: `${hub} could not be fetched`,
      received: status === undefined ? reasonOf(error) : `status ${status} from the hub`,
      where: `${hub} at ${revision}`,
      hint: hintFor(status),
      cause: error,
    });
  }
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
  if (status === 404) return 'check the name of the model and the revision';
  if (status === undefined) return 'check the network; HF_ENDPOINT names another hub';
  return 'try again later';
}

function failed(what: string, hub: string, revision: string, received: string): VlmError {
  return new VlmError('DOWNLOAD_FAILED', {
    what,
    received,
    where: `${hub} at ${revision}`,
    hint: 'pull the model again',
  });
}
