/** The files a recipe reads of its model, and the programs it runs, by digest. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, normalize, sep } from 'node:path';
import type { ProgramRole } from '../contracts/device.js';
import { VlmError } from '../contracts/errors.js';
import type { Plan } from '../contracts/recipe.js';
import { type ModelFolder, openModelFolder } from '../model/folder.js';
import { sha256Of } from './canonical.js';
import type { LockedFile, LockedProgram } from './format.js';

export interface PlacedFile {
  readonly name: string;
  readonly use: LockedFile['use'];
  readonly path: string;
}

/** Files up to this size are read where a whole model would take too long. */
export const SMALL_BYTES = 16 * 1024 * 1024;

const ROLES: readonly ProgramRole[] = ['vision', 'language'];
type Digest = (path: string) => Promise<string>;

/**
 * Everything a run reads of the model but compiled programs; each path once. `damaged`: a program that cannot be read is
 * a file all the same, its external data is not looked for, and what is missing is left out.
 */
export async function placedFiles(
  plan: Plan,
  folder: ModelFolder,
  { damaged = false }: { readonly damaged?: boolean } = {},
): Promise<readonly PlacedFile[]> {
  const files = new Map<string, PlacedFile>();
  const add = (path: string, use: PlacedFile['use'], name = basename(path)): void => {
    if (!files.has(path)) files.set(path, { name, use, path });
  };
  for (const [name, path] of Object.entries(folder.paths)) {
    add(path, name === 'tokenizer.json' ? 'tokenizer' : 'configuration', name);
  }
  if (folder.files.chatTemplate !== null) add(folder.templateFile, 'template');
  for (const role of ROLES) {
    const { path } = folder.programs[role];
    if (path === null || !path.endsWith('.onnx') || !statSync(path).isFile()) continue;
    add(path, `${role} program`);
    const { readGraph } = await import('../compose/program-graph.js');
    const located = (): readonly string[] => {
      try {
        return readGraph(role, path).externalData;
      } catch (error) {
        if (damaged) return [];
        throw error;
      }
    };
    for (const location of located()) {
      add(join(dirname(path), location), `${role} program`, normalize(location).split(sep).join('/'));
    }
  }
  for (const node of plan.nodes) if (node.plugin !== undefined) add(node.plugin, 'plugin');
  return [...files.values()].filter(({ path }) => !damaged || existsSync(path));
}

export async function lockedFiles(placed: readonly PlacedFile[], digest: Digest): Promise<readonly LockedFile[]> {
  const files: LockedFile[] = [];
  for (const { name, use, path } of placed) {
    files.push({ name, use, bytes: sizeOf(path), sha256: await digest(path) });
  }
  const key = (file: LockedFile): string => `${file.use}\n${file.name}\n${file.sha256}`;
  return files.sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

/**
 * What tells one model from another without reading its weights: sizes, and digests of files up to 16 MiB. Null where
 * the model cannot be opened.
 */
export async function modelFacts(plan: Plan, digest: Digest): Promise<readonly string[] | null> {
  try {
    const facts: string[] = [];
    for (const { name, use, path } of await placedFiles(plan, await modelOf(plan))) {
      const bytes = sizeOf(path);
      facts.push(`${use} ${name} ${bytes} ${bytes <= SMALL_BYTES ? await digest(path) : ''}`);
    }
    return facts.sort();
  } catch {
    return null;
  }
}

function sizeOf(path: string): number {
  const info = statSync(path, { throwIfNoEntry: false });
  if (info !== undefined) return info.size;
  throw new VlmError('MODEL_MISSING', {
    what: 'A file of the model is missing',
    where: path,
    hint: 'copy the whole model folder, external data included',
  });
}

export async function modelOf(plan: Plan): Promise<ModelFolder> {
  return openModelFolder(plan.model);
}

/** Digest of the chat template's text, which may stand in one of several files. */
export function templateDigest(folder: ModelFolder): string | null {
  return folder.files.chatTemplate === null ? null : sha256Of(folder.files.chatTemplate);
}

/** How compiled programs were made, by device and role: without reading them. */
export async function compiledPrograms(
  resolved: Plan,
): Promise<ReadonlyMap<string, NonNullable<LockedProgram['compiled']>>> {
  const folder = await openModelFolder(resolved.model);
  const facts = new Map<string, NonNullable<LockedProgram['compiled']>>();
  for (const { manifest, device } of resolved.nodes) {
    const path = manifest.program === undefined ? null : folder.programs[manifest.program].path;
    if (path === null || device === null || path.endsWith('.onnx')) continue;
    const compiled = compiledFacts(path.endsWith('programqpc.bin') ? dirname(path) : path);
    if (compiled !== null) facts.set(`${device} ${manifest.program}`, compiled);
  }
  return facts;
}

/** What each device node runs. `resolved`: the plan with compiled programs in place (compose/compile.ts). */
export async function lockedPrograms(resolved: Plan, digest: Digest): Promise<readonly LockedProgram[]> {
  const folder = await openModelFolder(resolved.model);
  const programs = new Map<string, LockedProgram>();
  for (const { manifest, device } of resolved.nodes) {
    const role = manifest.program;
    if (role === undefined || device === null) continue;
    const { path } = folder.programs[role];
    if (path === null) continue;
    programs.set(`${device} ${role}`, await lockedProgram(role, device, path, digest));
  }
  return [...programs].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, program]) => program);
}

async function lockedProgram(role: ProgramRole, device: string, path: string, digest: Digest): Promise<LockedProgram> {
  if (path.endsWith('.onnx')) return { role, device, kind: 'onnx', sha256: await digest(path) };
  const binary = path.endsWith('programqpc.bin') ? path : join(path, 'programqpc.bin');
  const compiled = compiledFacts(dirname(binary));
  const base = { role, device, kind: 'compiled', sha256: await digest(binary) } as const;
  return compiled === null ? base : { ...base, compiled };
}

interface Entry {
  readonly target: string;
  readonly compiler: string;
  readonly flags: readonly string[];
  readonly specializations: NonNullable<LockedProgram['compiled']>['specializations'];
}

/** From the entry of the cache of compiled programs; programs from elsewhere say nothing of how they were made. */
function compiledFacts(qpc: string): NonNullable<LockedProgram['compiled']> | null {
  const path = join(dirname(qpc), 'entry.json');
  if (!existsSync(path)) return null;
  try {
    const { target, compiler, flags, specializations } = JSON.parse(readFileSync(path, 'utf8')) as Entry;
    const shapes = specializations.map(({ name, symbols }) => ({ name, symbols }));
    return { target, compiler, flags, specializations: shapes };
  } catch {
    return null;
  }
}
