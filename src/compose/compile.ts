/** Compiling the programs of a recipe, and finding them again when it runs. */
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import type { DeviceConfig, ProgramDescription, ProgramRole } from '../contracts/device.js';
import { VlmError } from '../contracts/errors.js';
import type { FamilyModel } from '../contracts/family.js';
import type { Plan } from '../contracts/recipe.js';
import {
  type CachedProgram,
  type CacheRequest,
  type CompileTarget,
  cacheFolder,
  cacheKey,
  cacheRequest,
  findByRequest,
  findProgramByKey,
  finishDraft,
  openDraft,
  requestDigest,
} from '../devices/ai100/compile/cache.js';
import {
  checkCores,
  checkCoverage,
  checkFolder,
  checkProgram,
  estimateMemory,
  type Problem,
} from '../devices/ai100/compile/checks.js';
import {
  type CompilerRequest,
  commandLine,
  compilerRequest,
  type ProgramGraph,
} from '../devices/ai100/compile/command.js';
import { graphDigests } from '../devices/ai100/compile/digests.js';
import { EMULATOR_VERSION, emulatedProgram, writeEmulated } from '../devices/ai100/compile/emulator-target.js';
import { readyProgram } from '../devices/ai100/compile/ready.js';
import { type Compiler, DEFAULT_COMPILER, findCompiler, runCompiler } from '../devices/ai100/compile/run-compiler.js';
import { deriveSpecializations, type ProgramSpec, shapeSetsOf } from '../devices/ai100/compile/specializations.js';
import { makeFolders } from '../util/folders.js';
import { typed } from '../util/typed-command.js';
import { givenProgram } from './given-programs.js';
import { readGraph } from './program-graph.js';

/** One program to compile: everything but where things lie. */
export interface CompileJob {
  readonly spec: ProgramSpec;
  readonly device: DeviceConfig;
  readonly graph: ProgramGraph;
  readonly target: CompileTarget;
  readonly request: CompilerRequest;
  readonly cacheRequest: CacheRequest;
  readonly model: string;
  readonly family: FamilyModel;
}

export interface JobOptions {
  readonly target?: CompileTarget;
  readonly cache?: string;
}

export function targetOf(device: DeviceConfig): CompileTarget {
  return device['emulated'] === true ? 'emulator' : 'card';
}

export function usesCards(plan: Plan): boolean {
  return plan.nodes.some((n) => n.manifest.program !== undefined && plan.devices[n.device ?? '']?.kind === 'ai100');
}

/** What there is to compile. Throws OPTION_INVALID, MODEL_* and PROGRAM_INVALID. */
export async function compileJobs(plan: Plan, options: JobOptions = {}): Promise<readonly CompileJob[]> {
  const [{ openModelFolder, requireProgram }, { openModelContext }, { describeFile }] = await Promise.all([
    import('../model/folder.js'),
    import('../model/context.js'),
    import('../devices/describe.js'),
  ]);
  const folder = await openModelFolder(plan.model);
  // A family that cannot be compiled runs programs that are compiled already.
  const all = plan.nodes.every(({ manifest: { program: role }, device }) => {
    if (role === undefined || device === null || plan.devices[device]?.kind !== 'ai100') return true;
    const { path } = folder.programs[role];
    return givenProgram(plan, device, role) !== null || (path !== null && !path.endsWith('.onnx'));
  });
  if (all) return [];
  const context = await openModelContext(folder, { describe: describeFile, calls: 'padded' });
  const cache = options.cache ?? cacheFolder();
  const jobs: CompileJob[] = [];
  for (const spec of deriveSpecializations(plan, context)) {
    if (givenProgram(plan, spec.device, spec.role) !== null) continue;
    const device = plan.devices[spec.device] ?? { kind: 'ai100' };
    const path = requireProgram(folder, spec.role);
    // model.programs may name a compiled program as well.
    if (!path.endsWith('.onnx')) continue;
    const graph = readGraph(spec.role, path);
    const request = compilerRequest(graph, spec, device);
    const target = options.target ?? targetOf(device);
    const keyed = cacheRequest(target, spec.role, await graphDigests(graph, cache), request);
    jobs.push({
      spec,
      device,
      graph,
      target,
      request,
      cacheRequest: keyed,
      model: folder.name,
      family: context.family,
    });
  }
  return jobs;
}

export function checkJobs(plan: Plan, jobs: readonly CompileJob[], cache: string): readonly Problem[] {
  const problems = jobs.flatMap((job) => checkProgram(job.graph, job.spec, job.device, job.family));
  for (const { spec } of jobs.filter((job) => job.spec.role === 'language')) {
    const nodes = plan.nodes.filter((n) => n.manifest.program === 'language' && n.device === spec.device);
    problems.push(...checkCoverage(spec, nodes));
  }
  for (const name of new Set(jobs.map((job) => job.spec.device))) {
    const own = jobs.filter((job) => job.spec.device === name);
    const [first] = own;
    if (first !== undefined) problems.push(...checkCores(first.device, own.length));
  }
  // A program and what the compiler needs beside it while it works.
  const bytes = jobs.reduce((n, job) => n + 2 * job.graph.weightBytes, 0);
  return [...problems, ...checkFolder(cache, bytes)];
}

export function versionOf(job: CompileJob, compiler: Compiler | null): string | null {
  return job.target === 'emulator' ? EMULATOR_VERSION : (compiler?.version ?? null);
}

export interface CompiledJob {
  readonly program: CachedProgram;
  readonly cached: boolean;
}

export interface CompileHooks {
  readonly signal?: AbortSignal;
  readonly onLine?: (line: string) => void;
}

/** Compiles one program, or takes it from the cache. The draft is gone afterwards, whatever happened. */
export async function compileJob(
  job: CompileJob,
  compiler: Compiler | null,
  cache: string,
  hooks: CompileHooks = {},
): Promise<CompiledJob> {
  const version = versionOf(job, compiler);
  if (version === null) throw noCompiler();
  const key = cacheKey(job.cacheRequest, version);
  const ready = findProgramByKey(cache, key);
  if (ready !== null) return { program: ready, cached: true };
  const began = performance.now();
  const draft = await openDraft(cache, key);
  const log = join(draft, 'compile.log');
  try {
    for (const file of job.request.files) await writeFile(join(draft, file.name), file.text);
    const out = join(draft, 'qpc');
    if (job.target === 'emulator') {
      const memory = estimateMemory(job.graph, job.spec, job.device);
      const bytes = memory.weightBytes + memory.cacheBytes;
      await writeEmulated(out, emulatedProgram(job.graph, job.spec, job.device, bytes));
    } else {
      const command = commandLine(compiler?.path ?? DEFAULT_COMPILER, job.graph.path, job.request, draft, out);
      await runCompiler({ command, log, ...hooks });
      await keepNoPaths(log, draft, dirname(job.graph.path));
    }
    if (hooks.signal?.aborted === true) throw new VlmError('CANCELLED', { what: 'Compiling was stopped' });
    const program = await finishDraft(cache, draft, {
      key,
      request: requestDigest(job.cacheRequest),
      compiler: version,
      target: job.target,
      role: job.spec.role,
      model: job.model,
      flags: job.request.flags,
      specializations: job.spec.specializations,
      created: new Date().toISOString(),
      seconds: Math.round((performance.now() - began) / 1000),
    });
    return { program, cached: false };
  } catch (error) {
    throw await withKeptLog(error, log, cache, `${job.spec.role}-${key.slice(0, 12)}`);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/** The log of a finished program moves with it: without the places of this machine. */
async function keepNoPaths(log: string, draft: string, model: string): Promise<void> {
  const text = await readFile(log, 'utf8');
  await writeFile(log, text.replaceAll(draft, '<out>').replaceAll(model, '<model>'));
}

/** The draft goes, the log of a failure stays. */
async function withKeptLog(error: unknown, log: string, cache: string, name: string): Promise<unknown> {
  if (!(error instanceof VlmError) || error.code === 'CANCELLED') return error;
  const kept = join(cache, 'logs', `${name}-${new Date().toISOString().replace(/[:.]/g, '-')}.log`);
  try {
    await makeFolders(dirname(kept));
    await rename(log, kept);
  } catch {
    return error;
  }
  return new VlmError(error.code, { ...error.details, where: kept });
}

/** How a program will describe itself once it is compiled. */
export function describeJob(job: CompileJob): ProgramDescription {
  const { graph, spec, target } = job;
  const plain = ({ name, dtype, dims }: ProgramGraph['inputs'][number]) => ({ name, dtype, dims });
  const ports = [...graph.inputs, ...graph.outputs].map(plain);
  return {
    role: graph.role,
    inputs: graph.inputs.map(plain),
    outputs: graph.outputs.map(plain),
    allowedShapes: shapeSetsOf(spec, ports),
    calls: 'padded',
    weightBytes: estimateMemory(graph, spec, job.device).weightBytes,
    stateBytesPerToken: graph.stateBytesPerToken,
    emulated: target === 'emulator',
  };
}

function noCompiler(): VlmError {
  return new VlmError('DEVICE_UNAVAILABLE', {
    what: 'The compiler for cards is not on this machine',
    expected: DEFAULT_COMPILER,
    hint: 'install the Apps SDK, name the compiler with --compiler or QAIC_COMPILE, or compile for an emulated card with --target emulator; --dry-run shows the commands without it',
  });
}

/**
 * The plan with compiled programs in place of exported ones; unchanged when no card is used. Throws PROGRAM_INVALID,
 * with the command that compiles, for a program that is not there.
 */
export async function resolvePrograms(
  plan: Plan,
  options: { readonly args?: readonly string[]; readonly notice?: (text: string) => void } = {},
): Promise<Plan> {
  if (!usesCards(plan)) return plan;
  const cache = cacheFolder();
  const found = new Map<ProgramRole, Set<string>>();
  const use = (role: ProgramRole, path: string): void => {
    found.set(role, (found.get(role) ?? new Set()).add(path));
  };
  for (const node of plan.nodes) {
    const role = node.manifest.program;
    if (role === undefined || node.device === null || plan.devices[node.device]?.kind !== 'ai100') continue;
    const named = plan.model.programs?.[role];
    const given = givenProgram(plan, node.device, role) ?? (named?.endsWith('.onnx') === true ? null : named);
    if (given != null) use(role, readyProgram(given).qpc);
  }
  const given = { ...plan.model.programs };
  // Programs given for both roles need no exported ones.
  const all = plan.nodes.every((n) => {
    const { program } = n.manifest;
    return program === undefined || plan.devices[n.device ?? '']?.kind !== 'ai100' || found.has(program);
  });
  const jobs = all ? [] : await compileJobs(plan);
  const compiler = jobs.some((job) => job.target === 'card') ? await findCompiler(undefined) : null;
  for (const job of jobs) {
    const version = versionOf(job, compiler);
    const program = findByRequest(cache, requestDigest(job.cacheRequest), version);
    if (program === null || (job.target === 'emulator' && program.entry.compiler !== version)) {
      throw notCompiled(plan, job, options.args ?? []);
    }
    if (version !== null && program.entry.compiler !== version) {
      options.notice?.(
        `the ${job.spec.role} program was compiled by ${program.entry.compiler}; the compiler here is ${version}: vlm-run compile makes it anew`,
      );
    }
    use(job.spec.role, program.qpc);
  }
  const vision = jobs.find((job) => job.spec.role === 'vision')?.graph.path;
  const resolved = withPrograms(plan, given, found);
  return vision === undefined ? resolved : { ...resolved, model: { ...resolved.model, exported: { vision } } };
}

function withPrograms(
  plan: Plan,
  given: NonNullable<Plan['model']['programs']>,
  found: ReadonlyMap<ProgramRole, ReadonlySet<string>>,
): Plan {
  const programs: { vision?: string; language?: string } = { ...given };
  for (const [role, paths] of found) {
    const [path] = paths;
    const others = plan.nodes.some(
      (n) => n.manifest.program === role && plan.devices[n.device ?? '']?.kind !== 'ai100',
    );
    if (path === undefined || paths.size > 1 || others) {
      throw new VlmError('OPTION_INVALID', {
        what: `The ${role} program runs on several devices that need different files`,
        expected: 'one device, or devices with the same options, for each of the two programs',
        where: 'devices',
      });
    }
    programs[role] = path;
  }
  return { ...plan, model: { ...plan.model, programs } };
}

/** The command that makes the programs of this recipe, as one types it. */
export function compileCommand(plan: Plan, args: readonly string[]): string {
  const file = relative(process.cwd(), plan.file);
  return typed(['vlm-run', 'compile', file.startsWith('..') ? plan.file : file, ...args]);
}

function notCompiled(plan: Plan, job: CompileJob, args: readonly string[]): VlmError {
  const shapes = job.spec.specializations.map(({ name, symbols }) => {
    const lengths = Object.entries(symbols).map(([symbol, length]) => `${symbol} ${length}`);
    return `${name} (${lengths.join(', ')})`;
  });
  return new VlmError('PROGRAM_INVALID', {
    what: `The ${job.spec.role} program is not compiled for ${job.target === 'card' ? 'cards' : 'the emulated card'} with these options`,
    expected: `a program in ${cacheFolder()} with the shapes ${shapes.join(', ')}`,
    where: `nodes.${job.spec.node}`,
    hint: `compile it: ${compileCommand(plan, args)}`,
  });
}
