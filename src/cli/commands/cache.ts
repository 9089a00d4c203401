/** vlm-run cache: what is compiled, how large it is, whether it is whole, and removing it. */
import { Command } from 'commander';
import { VlmError } from '../../contracts/errors.js';
import type { CachedProgram } from '../../devices/ai100/compile/cache.js';
import type { Io } from '../io.js';
import { size } from './models.js';

interface Flags {
  readonly json?: boolean;
  readonly all?: boolean;
}

const SHORT = 12;

export function cacheCommand(io: Io): Command {
  const cache = new Command('cache').description('list, measure, check and remove compiled programs').addHelpText(
    'after',
    `
The cache lies in VLM_RUN_CACHE, else XDG_CACHE_HOME/vlm-run, else ~/.cache/vlm-run. It holds no absolute path and may
be copied to another machine.

Examples:
  $ vlm-run cache ls
  $ vlm-run cache verify
  $ vlm-run cache rm 3f2a90c1`,
  );
  const json = ['--json', 'one JSON document on standard output'] as const;
  cache
    .command('ls')
    .description('list compiled programs')
    .option(...json)
    .action(async (flags: Flags) => list(await load(), flags, io));
  cache
    .command('du')
    .description('how much room they take')
    .option(...json)
    .action(async (flags: Flags) => usage(await load(), flags, io));
  cache
    .command('verify')
    .description('compare every file with the digest it had when it was made')
    .argument('[key...]', 'first digits of keys; without any, all programs')
    .option(...json)
    .action(async (keys: readonly string[], flags: Flags) => verify(await load(), keys, flags, io));
  cache
    .command('rm')
    .description('remove compiled programs, and what interrupted compiles left')
    .argument('[key...]', 'first digits of keys; without any, only leftovers are removed')
    .option('--all', 'every compiled program')
    .option(...json)
    .action(async (keys: readonly string[], flags: Flags) => remove(await load(), keys, flags, io));
  return cache;
}

interface Loaded {
  readonly module: typeof import('../../devices/ai100/compile/cache.js');
  readonly folder: string;
  readonly programs: readonly CachedProgram[];
}

async function load(): Promise<Loaded> {
  const module = await import('../../devices/ai100/compile/cache.js');
  const folder = module.cacheFolder();
  return { module, folder, programs: module.listPrograms(folder) };
}

function pick(programs: readonly CachedProgram[], keys: readonly string[]): readonly CachedProgram[] {
  return keys.flatMap((key) => {
    const hits = programs.filter((p) => p.entry.key.startsWith(key.toLowerCase()));
    if (hits.length === 1 && key.length >= 4) return hits;
    throw new VlmError('USAGE', {
      what: hits.length > 1 ? 'A key means several programs' : 'There is no such program in the cache',
      expected: 'at least 4 first digits of a key, as `vlm-run cache ls` shows them',
      received: key,
    });
  });
}

const print = (io: Io, value: object): void => io.out(`${JSON.stringify({ ok: true, ...value }, null, 2)}\n`);

function list({ module, folder, programs }: Loaded, flags: Flags, io: Io): void {
  if (flags.json === true) {
    print(io, { folder, programs: programs.map((p) => ({ ...p.entry, bytes: module.programBytes(p), path: p.qpc })) });
    return;
  }
  for (const program of programs) {
    const { key, role, model, target, compiler, created, specializations } = program.entry;
    const bytes = size(module.programBytes(program)).padStart(9);
    io.out(
      `${key.slice(0, SHORT)}  ${role.padEnd(8)}  ${bytes}  ${created.slice(0, 16)}  ${model}  ${target === 'emulator' ? 'emulated' : compiler}\n`,
    );
    for (const { name, symbols } of specializations) {
      const text = Object.entries(symbols).map(([k, v]) => `${k} ${v}`);
      io.out(`    ${io.paint.faint(`${name}: ${text.join(', ')}`)}\n`);
    }
  }
  if (programs.length === 0) io.err(`no compiled programs in ${folder}\n`);
}

function usage({ module, folder, programs }: Loaded, flags: Flags, io: Io): void {
  const bytes = programs.reduce((n, p) => n + module.programBytes(p), 0);
  if (flags.json === true) print(io, { folder, bytes, programs: programs.length });
  else io.out(`${size(bytes)} in ${programs.length} programs  ${folder}\n`);
}

async function verify({ module, programs }: Loaded, keys: readonly string[], flags: Flags, io: Io): Promise<void> {
  const chosen = keys.length === 0 ? programs : pick(programs, keys);
  const results: { readonly key: string; readonly problems: readonly string[] }[] = [];
  for (const program of chosen) {
    results.push({ key: program.entry.key, problems: await module.verifyProgram(program) });
  }
  const broken = results.filter((r) => r.problems.length > 0);
  if (flags.json === true) io.out(`${JSON.stringify({ ok: broken.length === 0, programs: results }, null, 2)}\n`);
  else {
    for (const { key, problems } of results) {
      io.out(`${key.slice(0, SHORT)}  ${problems.length === 0 ? 'whole' : problems.join('; ')}\n`);
    }
  }
  if (broken.length === 0) return;
  if (flags.json !== true) io.err('remove damaged programs with `vlm-run cache rm KEY` and compile them again\n');
  process.exitCode = 3;
}

async function remove(
  { module, folder, programs }: Loaded,
  keys: readonly string[],
  flags: Flags,
  io: Io,
): Promise<void> {
  const chosen = flags.all === true ? programs : pick(programs, keys);
  for (const program of chosen) await module.removeProgram(program);
  const leftovers = await module.removeLeftovers(folder);
  const bytes = chosen.reduce((n, p) => n + module.programBytes(p), 0);
  if (flags.json === true) print(io, { removed: chosen.map((p) => p.entry.key), leftovers, bytes });
  else io.out(`removed ${chosen.length} programs (${size(bytes)}) and ${leftovers.length} leftovers\n`);
}
