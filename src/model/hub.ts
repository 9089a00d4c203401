/** The standard Hugging Face cache, read without any network: `<cache>/models--org--name/{refs,snapshots,blobs}`. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { VlmError } from '../contracts/errors.js';
import { packageRoot } from '../util/package-root.js';

export type Environment = Readonly<Record<string, string | undefined>>;

const HUB_ID = /^(?:\w[\w.-]*\/)?\w[\w.-]*$/;
const COMMIT = /^[0-9a-f]{40}$/;

/** Where the cache lies: HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub, ~/.cache. */
export function hubCache(env: Environment = process.env): string {
  const set = (name: string): string | undefined => (env[name] === '' ? undefined : env[name]);
  const home = set('HF_HOME') ?? join(set('XDG_CACHE_HOME') ?? join(homedir(), '.cache'), 'huggingface');
  const chosen = set('HF_HUB_CACHE') ?? set('HUGGINGFACE_HUB_CACHE') ?? join(home, 'hub');
  const expanded = chosen.startsWith('~/') ? join(homedir(), chosen.slice(2)) : chosen;
  return isAbsolute(expanded) ? expanded : join(process.cwd(), expanded);
}

/** Checks `org/name`. Throws OPTION_INVALID: an id becomes a path and a URL. `where`: who gave it. */
export function checkHubId(id: string, where = 'model.hub'): string {
  if (!HUB_ID.test(id) || id.includes('..') || id.includes('--')) {
    throw new VlmError('OPTION_INVALID', {
      what: 'This is not the id of a model on the Hugging Face hub',
      expected: '`owner/name`, such as OpenGVLab/InternVL2_5-1B',
      received: JSON.stringify(id),
      where,
    });
  }
  return id;
}

/** Checks a branch, tag or commit. Throws OPTION_INVALID. */
export function checkRevision(revision: string, where = 'model.revision'): string {
  if (
    !/^[\w./-]+$/.test(revision) ||
    revision.split('/').some((part) => part === '..' || part === '.' || part === '')
  ) {
    throw new VlmError('OPTION_INVALID', {
      what: 'This is not a revision',
      expected: 'a branch, a tag or a commit of 40 hexadecimal digits',
      received: JSON.stringify(revision),
      where,
    });
  }
  return revision;
}

export function repoFolder(cache: string, id: string): string {
  return join(cache, `models--${id.replaceAll('/', '--')}`);
}

/** Configuration files that ship of models that are not: enough for planning. May not be there. */
export function numbersFolder(id: string): string {
  return join(packageRoot(), 'models', 'hub', id.replaceAll('/', '--'));
}

export interface Snapshot {
  readonly folder: string;
  readonly commit: string;
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** The snapshot of a revision in the cache, or null when it was never pulled. */
export function findSnapshot(id: string, revision = 'main', env: Environment = process.env): Snapshot | null {
  const repo = repoFolder(hubCache(env), checkHubId(id));
  const ref = join(repo, 'refs', checkRevision(revision));
  const commit = COMMIT.test(revision) || !existsSync(ref) ? revision : readFileSync(ref, 'utf8').trim();
  const folder = join(repo, 'snapshots', commit);
  return isFolder(folder) ? { folder, commit } : null;
}
