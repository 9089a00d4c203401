/** Runs the kit: every check in order, each in a process that may be lost. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { VlmError } from '../../../contracts/errors.js';
import { entryUrl } from '../../../util/entries.js';
import { type Compiler, DEFAULT_COMPILER, findCompiler } from '../compile/run-compiler.js';
import { qpcFile } from '../description.js';
import { findLibrary, loadAddon } from '../library.js';
import { CHECKS } from './checks/index.js';
import { Lane } from './lane.js';
import { makeProgram } from './programs.js';
import { makeReport, type Report, type Surroundings } from './report.js';
import type { Answer, Check, Order, Outcome, ProgramFacts, ProgramName, Survey } from './types.js';

const PROGRAMS: readonly ProgramName[] = ['echo', 'halves', 'language'];
const MOST_CORES = 16;

export interface KitOptions {
  readonly device: number;
  readonly emulated: boolean;
  /** A QPC folder or file, run where the kit has none of its own. */
  readonly program?: string;
  readonly compiler?: string;
  /** How long a check may say nothing before it counts as hung. */
  readonly silenceMs?: number;
  readonly signal?: AbortSignal;
  readonly onOutcome?: (outcome: Outcome) => void;
  readonly onBegin?: (name: string) => void;
  /** For tests: another child, its environment, a part of the checks, no programs of the kit's own. */
  readonly child?: URL;
  readonly env?: NodeJS.ProcessEnv;
  readonly only?: readonly string[];
  readonly bare?: boolean;
}

/** Throws DEVICE_UNAVAILABLE where there is nothing to check, CANCELLED. */
export async function runKit(options: KitOptions): Promise<Report> {
  loadAddon();
  const library = findLibrary({ kind: 'ai100', emulated: options.emulated });
  const given = options.program === undefined ? undefined : qpcFile({ role: 'vision', path: options.program });
  const folder = mkdtempSync(join(tmpdir(), 'vlm-selftest-'));
  const lane = new Lane(
    options.child ?? entryUrl('devices/ai100/selftest/child'),
    options.silenceMs ?? (options.emulated ? 20_000 : 120_000),
    options.env ?? process.env,
  );
  const stop = (): void => lane.end(true);
  options.signal?.addEventListener('abort', stop, { once: true });
  try {
    return await new KitRun(options, library, folder, lane, given).all();
  } finally {
    options.signal?.removeEventListener('abort', stop);
    lane.end(options.signal?.aborted === true);
    rmSync(folder, { recursive: true, force: true });
  }
}

class KitRun {
  readonly #outcomes = new Map<string, Outcome>();
  readonly #programs: Partial<Record<ProgramName | 'given', ProgramFacts>> = {};
  readonly #lacking: Partial<Record<ProgramName, string>> = {};
  readonly #began = new Date();
  #survey: Survey | null = null;
  #compiler: Compiler | null = null;
  #prepared = false;

  constructor(
    readonly options: KitOptions,
    readonly library: string,
    readonly folder: string,
    readonly lane: Lane,
    given: string | undefined,
  ) {
    if (given !== undefined) this.#programs.given = { file: given, ports: [], sets: [], own: false };
  }

  async all(): Promise<Report> {
    const { only } = this.options;
    for (const check of CHECKS) {
      if (check.program !== undefined) await this.#prepare();
      if (only !== undefined && !only.includes(check.name)) continue;
      this.options.onBegin?.(check.name);
      const began = performance.now();
      const answer = this.#without(check) ?? (await this.#ask(check));
      this.#checkCancelled();
      this.#keep(check, answer, performance.now() - began);
    }
    return makeReport([...this.#outcomes.values()], this.#surroundings());
  }

  async #ask(check: Check): Promise<Answer> {
    const order: Order = {
      check: check.name,
      library: this.library,
      device: this.options.device,
      emulated: this.#survey?.emulated ?? this.options.emulated,
      programs: this.#programs,
    };
    const answer = await this.lane.ask(order, check.light === true);
    if (answer.survey !== undefined) this.#survey = answer.survey;
    return answer;
  }

  /** Why a check is not even asked for. */
  #without(check: Check): Answer | null {
    const skipped = (reason: string): Answer => ({ verdict: 'skipped', reason });
    const emulated = this.#survey?.emulated ?? this.options.emulated;
    if (check.cardOnly !== undefined && emulated) return skipped(check.cardOnly);
    const bad = (check.needs ?? []).find((name) => {
      const found = this.#outcomes.get(name);
      return found !== undefined && found.verdict !== 'passed';
    });
    const program = check.program;
    if (program !== undefined) {
      const name = program === 'any' ? 'echo' : program;
      const there = this.#programs[name] !== undefined || (program === 'any' && this.#programs.given !== undefined);
      if (!there) return skipped(this.#lacking[name] ?? 'no program to run');
    }
    return bad === undefined ? null : skipped(`needs ${bad}, which ${this.#outcomes.get(bad)?.verdict}`);
  }

  #keep({ name, assumption, source }: Pick<Check, 'name' | 'assumption' | 'source'>, answer: Answer, ms: number): void {
    const { survey: _, ms: own, ...rest } = answer;
    const outcome = clean({ name, assumption, source, ...rest, ms: Math.round((own ?? ms) * 100) / 100 }, [
      [this.folder, 'WORK'],
      [this.library, this.library.slice(this.library.lastIndexOf('/') + 1)],
      [this.options.program ?? '', 'PROGRAM'],
      [process.env['HOME'] ?? '', '~'],
    ]);
    this.#outcomes.set(name, outcome);
    this.options.onOutcome?.(outcome);
  }

  /** Programs of the kit, once the library is known: compiled for a card, written for an emulated one. */
  async #prepare(): Promise<void> {
    if (this.#prepared) return;
    this.#prepared = true;
    const survey = this.#survey;
    const absent = await this.#absent(survey);
    for (const name of PROGRAMS) {
      const began = performance.now();
      const check = {
        name: `compile/${name}`,
        assumption: `qaic-compile makes a program of the kit’s ${name} graph with the flags and files of vlm-run`,
        source: 'efficient-transformers',
      };
      this.options.onBegin?.(check.name);
      const answer = absent === null ? await this.#make(name, survey) : absent;
      this.#checkCancelled();
      if (answer.verdict !== 'passed') this.#lacking[name] ??= answer.reason ?? `compile/${name} failed`;
      this.#keep(check, answer, performance.now() - began);
    }
  }

  /** Why no program can be made. */
  async #absent(survey: Survey | null): Promise<Answer | null> {
    if (this.options.bare === true) return { verdict: 'skipped', reason: 'no programs of the kit’s own' };
    if (survey === null && this.options.only === undefined) {
      return { verdict: 'skipped', reason: 'needs abi/library, which did not pass' };
    }
    if (survey?.emulated ?? this.options.emulated) return null;
    this.#compiler = await findCompiler(this.options.compiler);
    if (this.#compiler !== null) return null;
    const place = this.options.compiler ?? process.env['QAIC_COMPILE'];
    const named = place === undefined ? DEFAULT_COMPILER : basename(place);
    return { verdict: 'skipped', reason: `no compiler (${named})` };
  }

  async #make(name: ProgramName, survey: Survey | null): Promise<Answer> {
    const emulated = survey?.emulated ?? this.options.emulated;
    const known = survey?.coresTotal ?? MOST_CORES;
    const { signal, device } = this.options;
    try {
      this.#programs[name] = await makeProgram(name, {
        folder: this.folder,
        device,
        // What a deviating card says of its cores is not to be relied on.
        cores: emulated || known < 1 || known > MOST_CORES ? MOST_CORES : known,
        compiler: this.#compiler,
        ...(signal === undefined ? {} : { signal }),
      });
    } catch (error) {
      if (!(error instanceof VlmError) || error.code === 'CANCELLED') throw error;
      const { received, hint } = error.details;
      return { verdict: 'failed', expected: 'a program', received: `${received ?? error.message} (${hint ?? ''})` };
    }
    if (!emulated) return { verdict: 'passed', received: `programqpc.bin by ${this.#compiler?.version}` };
    return {
      verdict: 'skipped',
      reason: 'an emulated program was written: no compiler is called for an emulated card',
    };
  }

  #checkCancelled(): void {
    if (this.options.signal?.aborted === true)
      throw new VlmError('CANCELLED', { what: 'The acceptance kit was stopped' });
  }

  #surroundings(): Surroundings {
    return {
      device: this.options.device,
      emulated: this.#survey?.emulated ?? this.options.emulated,
      library: this.library,
      survey: this.#survey,
      compiler: this.#compiler,
      began: this.#began,
      faults: (this.options.env ?? process.env)['VLM_AICEMU_FAULTS'] ?? '',
    };
  }
}

/** A report is sent to others: places of this machine become names. */
function clean(outcome: Outcome, names: readonly (readonly [path: string, name: string])[]): Outcome {
  const text = (value: string): string =>
    names.reduce((t, [path, name]) => (path.length < 2 ? t : t.replaceAll(path, name)), value);
  return {
    ...outcome,
    ...(outcome.expected === undefined ? {} : { expected: text(outcome.expected) }),
    ...(outcome.received === undefined ? {} : { received: text(outcome.received) }),
    ...(outcome.reason === undefined ? {} : { reason: text(outcome.reason) }),
  };
}
