/**
 * Compiled programs, found by what they were made of: the graph's bytes and weights, flags, files and the compiler's
 * version. Neither keys nor entries hold an absolute path, so a cache may be copied to another machine. A program is
 * finished when its entry.json is there: it is written last, and the folder gets its name after that.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, existsSync, readdirSync, readFileSync } from 'node:fs';
import { readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir, hostname } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import type { ProgramRole } from '../../../contracts/device.js';
import { VlmError } from '../../../contracts/errors.js';
import { makeFolders } from '../../../util/folders.js';
import type { CompilerRequest } from './command.js';
import type { Specialization } from './specializations.js';

export type CompileTarget = 'card' | 'emulator';
type Environment = Readonly<Record<string, string | undefined>>;

/** Everything a compiled program depends on but the compiler itself. */
export interface CacheRequest {
  readonly target: CompileTarget;
  readonly role: ProgramRole;
  readonly graph: string;
  readonly data: Readonly<Record<string, string>>;
  readonly flags: readonly string[];
  readonly files: Readonly<Record<string, string>>;
}

export interface CacheEntry {
  readonly format: 1;
  readonly key: string;
  /** Digest of the request alone: what a run looks for on a machine without the compiler. */
  readonly request: string;
  readonly compiler: string;
  readonly target: CompileTarget;
  readonly role: ProgramRole;
  readonly model: string;
  readonly flags: readonly string[];
  readonly specializations: readonly Specialization[];
  readonly created: string;
  readonly seconds: number;
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>;
}

export interface CachedProgram {
  readonly entry: CacheEntry;
  readonly folder: string;
  /** The folder that holds programqpc.bin. */
  readonly qpc: string;
}

const KEY = /^[0-9a-f]{40}$/;
/** Key, machine and process of a draft: other machines may share the cache. */
const DRAFT = /^\.draft-([0-9a-f]{40})-(\w+)-(\d+)-/;
const HOST = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);

/** VLM_RUN_CACHE, else XDG_CACHE_HOME/vlm-run, else ~/.cache/vlm-run. */
export function cacheFolder(env: Environment = process.env): string {
  const set = (name: string): string | undefined => (env[name] === '' ? undefined : env[name]);
  const own = set('VLM_RUN_CACHE');
  if (own !== undefined) return resolve(own);
  const xdg = set('XDG_CACHE_HOME');
  return join(xdg !== undefined && isAbsolute(xdg) ? xdg : join(homedir(), '.cache'), 'vlm-run');
}

export const programsFolder = (cache: string): string => join(cache, 'programs');

function digest(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 40);
}

const sorted = (map: Readonly<Record<string, string>>) => Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1));

export function requestDigest(r: CacheRequest): string {
  return digest([1, r.target, r.role, r.graph, sorted(r.data), r.flags, sorted(r.files)]);
}

export function cacheKey(request: CacheRequest, compiler: string): string {
  return digest([requestDigest(request), compiler]);
}

export function cacheRequest(
  target: CompileTarget,
  role: ProgramRole,
  digests: { readonly graph: string; readonly data: Readonly<Record<string, string>> },
  request: CompilerRequest,
): CacheRequest {
  const files = Object.fromEntries(request.files.map((file) => [file.name, file.text]));
  return { target, role, ...digests, flags: request.flags, files };
}

/** All finished programs. What is broken or not ours is passed over. */
export function listPrograms(cache: string): readonly CachedProgram[] {
  const folder = programsFolder(cache);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => KEY.test(name))
    .flatMap((name) => readProgramEntry(join(folder, name), name) ?? [])
    .sort((a, b) => (a.entry.created < b.entry.created ? -1 : 1));
}

function readProgramEntry(folder: string, key: string): CachedProgram | null {
  try {
    const entry = JSON.parse(readFileSync(join(folder, 'entry.json'), 'utf8')) as CacheEntry;
    const whole = entry.format === 1 && entry.key === key && existsSync(join(folder, 'qpc', 'programqpc.bin'));
    return whole ? { entry, folder, qpc: join(folder, 'qpc') } : null;
  } catch {
    return null;
  }
}

export function findProgramByKey(cache: string, key: string): CachedProgram | null {
  return readProgramEntry(join(programsFolder(cache), key), key);
}

/** The newest program of a request; one of the wanted compiler version before all others. */
export function findByRequest(cache: string, request: string, compiler: string | null): CachedProgram | null {
  const all = listPrograms(cache).filter((p) => p.entry.request === request);
  return all.findLast((p) => p.entry.compiler === compiler) ?? all.at(-1) ?? null;
}

/** A draft folder: work goes on there, under a name that nothing takes for a finished program. */
export async function openDraft(cache: string, key: string): Promise<string> {
  const folder = join(programsFolder(cache), `.draft-${key}-${HOST}-${process.pid}-${randomBytes(4).toString('hex')}`);
  try {
    await makeFolders(folder);
  } catch (error) {
    throw VlmError.wrap(error, 'OUTPUT_UNWRITABLE', {
      what: 'The cache of compiled programs cannot be written',
      where: cache,
      hint: 'set VLM_RUN_CACHE to a folder that may be written to',
    });
  }
  return folder;
}

/** Marks a draft as finished and gives it its name. A program that another process finished meanwhile wins. */
export async function finishDraft(
  cache: string,
  draft: string,
  entry: Omit<CacheEntry, 'format' | 'files'>,
): Promise<CachedProgram> {
  const files = await filesOf(draft);
  if (files['qpc/programqpc.bin'] === undefined) {
    throw new VlmError('PROGRAM_INVALID', {
      what: 'The compiler ended well but left no program',
      expected: 'qpc/programqpc.bin',
      received: Object.keys(files).join(', ') || 'nothing',
    });
  }
  const whole: CacheEntry = { format: 1, ...entry, files };
  await writeFile(join(draft, 'entry.json'), `${JSON.stringify(whole, null, 2)}\n`, { flush: true });
  const folder = join(programsFolder(cache), entry.key);
  const ready = findProgramByKey(cache, entry.key);
  if (ready !== null) {
    await rm(draft, { recursive: true, force: true });
    return ready;
  }
  // Whatever lies there is not whole.
  await rm(folder, { recursive: true, force: true });
  await rename(draft, folder);
  return { entry: whole, folder, qpc: join(folder, 'qpc') };
}

async function filesOf(folder: string): Promise<Record<string, { bytes: number; sha256: string }>> {
  const files: Record<string, { bytes: number; sha256: string }> = {};
  const names = (await readdir(folder, { recursive: true })).map((name) => name.replaceAll('\\', '/')).sort();
  for (const name of names) {
    const info = await stat(join(folder, name));
    if (!info.isFile() || name === 'entry.json') continue;
    files[name] = { bytes: info.size, sha256: await sha256(join(folder, name)) };
  }
  return files;
}

export async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Uint8Array);
  return hash.digest('hex');
}

/** What differs from the entry: empty means that the program is as it was made. */
export async function verifyProgram(program: CachedProgram): Promise<readonly string[]> {
  const found = await filesOf(program.folder);
  const problems: string[] = [];
  for (const [name, { bytes, sha256: digest }] of Object.entries(program.entry.files)) {
    const file = found[name];
    if (file === undefined) problems.push(`${name} is missing`);
    else if (file.bytes !== bytes) problems.push(`${name} has ${file.bytes} bytes instead of ${bytes}`);
    else if (file.sha256 !== digest) problems.push(`${name} has other content`);
  }
  for (const name of Object.keys(found)) {
    if (program.entry.files[name] === undefined) problems.push(`${name} does not belong there`);
  }
  return problems;
}

export function programBytes(program: CachedProgram): number {
  return Object.values(program.entry.files).reduce((n, file) => n + file.bytes, 0);
}

export async function removeProgram(program: CachedProgram): Promise<void> {
  // The marker goes first: a removal that stops half-way leaves nothing that looks finished.
  await rm(join(program.folder, 'entry.json'), { force: true });
  await rm(program.folder, { recursive: true, force: true });
}

/** Drafts, and folders without a marker, that no living process of this machine works on. */
export async function removeLeftovers(cache: string): Promise<readonly string[]> {
  const folder = programsFolder(cache);
  if (!existsSync(folder)) return [];
  const gone: string[] = [];
  for (const name of await readdir(folder)) {
    const [, , host, pid] = DRAFT.exec(name) ?? [];
    const broken = KEY.test(name) && findProgramByKey(cache, name) === null;
    if (!broken && (pid === undefined || host !== HOST || alive(Number(pid)))) continue;
    await rm(join(folder, name), { recursive: true, force: true });
    gone.push(name);
  }
  return gone;
}

function alive(pid: number): boolean {
  if (pid === process.pid) return true;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
