/** A lock against what is here: one finding a layer, each with the first difference. */
import { canonicalJson, differences, differenceText } from './canonical.js';
import { exampleName } from './examples.js';
import type { ByPort, Lock, LockedCompletion, LockedExample, LockedInput, Measured, Tolerances } from './format.js';
import type { LockHead } from './lock.js';
import { compareEmbeddings, comparePixels, expandRuns, ratio } from './measure.js';

/**
 * same: nothing differs. near: what differs is within what the lock declares, or follows from a near-tie.
 * break: it is another result. none: there is nothing to compare.
 */
export type Status = 'same' | 'near' | 'break' | 'none';

export const LAYERS = ['recipe', 'files', 'inputs', 'pixels', 'embeddings', 'tokens', 'answer'] as const;
export type Layer = (typeof LAYERS)[number];

export interface Finding {
  readonly layer: Layer;
  readonly status: Status;
  /** Which example; absent for what all of them share. */
  readonly example?: string;
  /** What matches, or the first difference. */
  readonly message: string;
}

/** Recipe and files, without running anything. */
export function compareHeads(lock: Lock, here: LockHead): readonly Finding[] {
  return [recipeFinding(lock, here), filesFinding(lock, here)];
}

function recipeFinding(lock: Lock, here: LockHead): Finding {
  const layer = 'recipe';
  if (lock.recipe.sha256 === here.recipe.sha256) return { layer, status: 'same', message: short(here.recipe.sha256) };
  const found = differences(lock.recipe.resolved, here.recipe.resolved);
  const [first] = found;
  if (first === undefined)
    return { layer, status: 'break', message: 'the digest in the lock is not that of its recipe' };
  const onDevices = found.every(({ path }) => path.startsWith('devices.'));
  const more = found.length > 1 ? ` and ${found.length - 1} more` : '';
  const message = `${differenceText(first)}${more}`;
  // Where it runs is what a lock is verified across: the layers below tell whether it matters.
  if (onDevices) return { layer, status: 'same', message: `on other devices: ${message}` };
  return { layer, status: 'break', message };
}

function filesFinding(lock: Lock, here: LockHead): Finding {
  const layer = 'files';
  const fail = (message: string): Finding => ({ layer, status: 'break', message });
  const key = (file: { readonly use: string; readonly name: string }): string => `${file.use} ${file.name}`;
  const mine = new Map(here.model.files.map((file) => [key(file), file]));
  for (const file of lock.model.files) {
    const found = mine.get(key(file));
    if (found === undefined) return fail(`${file.name} (${file.use}) is not there`);
    if (found.sha256 !== file.sha256)
      return fail(`${file.name} (${file.use}) is ${short(found.sha256)} (lock: ${short(file.sha256)})`);
    mine.delete(key(file));
  }
  const [extra] = mine.values();
  if (extra !== undefined) return fail(`${extra.name} (${extra.use}) is not in the lock`);
  if (lock.model.template !== here.model.template) return fail('the chat template is another one');
  if (lock.preprocessing !== here.preprocessing) {
    return fail(`preprocessing is version ${here.preprocessing} (lock: ${lock.preprocessing})`);
  }
  return { layer, status: 'same', message: `${lock.model.files.length} files` };
}

/** What may explain a difference and is none itself: programs, compilers, versions. */
export function notesOf(lock: Lock, here: LockHead): readonly string[] {
  const notes: string[] = [];
  for (const program of here.programs) {
    const locked = lock.programs.find((p) => p.device === program.device && p.role === program.role);
    if (locked === undefined || locked.sha256 === program.sha256) continue;
    const made = (p: typeof program): string =>
      p.kind === 'onnx' ? 'as exported' : `compiled by ${p.compiled?.compiler ?? 'others'}`;
    notes.push(`the ${program.role} program is ${made(program)} (lock: ${made(locked)})`);
  }
  for (const name of [...new Set([...Object.keys(lock.versions), ...Object.keys(here.versions)])].sort()) {
    const [locked, own] = [lock.versions[name], here.versions[name]];
    if (locked !== own) notes.push(`${name} is ${own ?? 'absent'} (lock: ${locked ?? 'absent'})`);
  }
  return notes;
}

/** One example: what it was given and what every layer gave. */
export function compareExample(
  locked: LockedExample,
  inputs: LockedExample['inputs'],
  here: Measured,
  tolerances: Tolerances,
  index: number,
): readonly Finding[] {
  const example = exampleName(locked, index);
  const add = (finding: Omit<Finding, 'example'>): Finding => ({ ...finding, example });
  const tokens = tokensFinding(locked, here, tolerances);
  return [
    add(inputsFinding(locked.inputs, inputs)),
    add(pixelsFinding(locked, here)),
    add(embeddingsFinding(locked, here, tolerances)),
    add(tokens),
    add(answerFinding(locked, here, tokens.status)),
  ];
}

export function inputsFinding(
  locked: LockedExample['inputs'],
  here: LockedExample['inputs'],
): Omit<Finding, 'example'> {
  const layer = 'inputs';
  for (const name of new Set([...Object.keys(locked), ...Object.keys(here)])) {
    if (inputContent(locked[name]) === inputContent(here[name])) continue;
    return { layer, status: 'break', message: `the input ${name} is another one` };
  }
  return { layer, status: 'same', message: `${Object.keys(locked).length} inputs` };
}

function inputContent(input: LockedInput | undefined): string {
  if (input === undefined) return 'absent';
  if (input.type === 'text') return canonicalJson(['text', input.text]);
  const images = input.images.map((image) => image.sha256);
  return canonicalJson([input.type, input.type === 'messages' ? input.sha256 : null, images]);
}

/** Ports of both sides; a port that only one has is a difference of its own. */
function ports<T>(locked: ByPort<T>, here: ByPort<T>): readonly (readonly [string, T | undefined, T | undefined])[] {
  const names = [...new Set([...Object.keys(locked), ...Object.keys(here)])];
  return names.map((name) => [name, locked[name], here[name]] as const);
}

function pixelsFinding(locked: Measured, here: Measured): Omit<Finding, 'example'> {
  const layer = 'pixels';
  let tiles = 0;
  for (const [port, a, b] of ports(locked.pixels, here.pixels)) {
    const problem = comparePixels(a ?? null, b ?? null);
    if (problem !== null) return { layer, status: 'break', message: `${port}: ${problem}` };
    tiles += a?.tiles.length ?? 0;
  }
  return tiles === 0
    ? { layer, status: 'none', message: 'no picture' }
    : { layer, status: 'same', message: `${tiles} tiles` };
}

function embeddingsFinding(locked: Measured, here: Measured, tolerances: Tolerances): Omit<Finding, 'example'> {
  const layer = 'embeddings';
  const limit = tolerances.embeddings.relative;
  let rows = 0;
  let worst: number | null = null;
  for (const [port, a, b] of ports(locked.embeddings, here.embeddings)) {
    const { same, relative, problem } = compareEmbeddings(a ?? null, b ?? null, limit);
    if (problem !== null) return { layer, status: 'break', message: `${port}: ${problem}` };
    if (!same) worst = Math.max(worst ?? 0, relative);
    rows += a?.dims[0] ?? 0;
  }
  if (worst !== null) {
    return { layer, status: 'near', message: `off by ${ratio(worst)} of their length (tolerance ${ratio(limit)})` };
  }
  return rows === 0
    ? { layer, status: 'none', message: 'no picture' }
    : { layer, status: 'same', message: `${rows} rows` };
}

function tokensFinding(locked: Measured, here: Measured, tolerances: Tolerances): Omit<Finding, 'example'> {
  const layer = 'tokens';
  for (const [port, a, b] of ports(locked.prompts, here.prompts)) {
    const [x, y] = [expandRuns(a?.prompt ?? []), expandRuns(b?.prompt ?? [])];
    const at = firstDifference(x, y);
    if (at === null) continue;
    return {
      layer,
      status: 'break',
      message: `${port}: prompt token ${at} is ${y[at] ?? 'absent'} (lock: ${x[at] ?? 'absent'})`,
    };
  }
  let count = 0;
  let near: string | null = null;
  for (const [port, a, b] of ports(locked.completions, here.completions)) {
    if (a === undefined || b === undefined)
      return { layer, status: 'break', message: `${port} is there on one side only` };
    const found = compareCompletion(a, b, tolerances.margin.logits);
    if (found?.status === 'break') return { layer, status: 'break', message: `${port}: ${found.message}` };
    if (found !== null) near ??= `${port}: ${found.message}`;
    count += a.ids.length;
  }
  return near === null
    ? { layer, status: 'same', message: `${count} tokens` }
    : { layer, status: 'near', message: near };
}

function firstDifference(a: readonly number[], b: readonly number[]): number | null {
  for (let i = 0; i < Math.max(a.length, b.length); i++) if (a[i] !== b[i]) return i;
  return null;
}

/**
 * Only the first token that differs is judged: what follows it answers another text. It is a near-tie when both runs
 * saw the two best logits closer together than the lock's tolerance; otherwise one of them computed something else.
 */
export function compareCompletion(
  locked: LockedCompletion,
  here: LockedCompletion,
  tolerance: number,
): { readonly status: 'near' | 'break'; readonly message: string } | null {
  const at = firstDifference(locked.ids, here.ids);
  if (at === null) {
    if (locked.finish === here.finish) return null;
    return { status: 'break', message: `ended by ${here.finish} (lock: ${locked.finish})` };
  }
  const token = `token ${at} is ${here.ids[at] ?? 'absent'} (lock: ${locked.ids[at] ?? 'absent'})`;
  if (locked.ids[at] === undefined || here.ids[at] === undefined) return { status: 'break', message: token };
  const [a, b] = [locked.margins[at], here.margins[at]];
  if (!locked.greedy || a === undefined || b === undefined) {
    return { status: 'break', message: `${token}; tokens are drawn, so margins tell no near-tie` };
  }
  const margins = `margin ${b} (lock: ${a}, a near-tie below ${tolerance})`;
  const isNear = a < tolerance && b < tolerance;
  return {
    status: isNear ? 'near' : 'break',
    message: `${token}, ${isNear ? 'a near-tie' : 'no near-tie'}: ${margins}`,
  };
}

function answerFinding(locked: Measured, here: Measured, tokens: Status): Omit<Finding, 'example'> {
  const layer = 'answer';
  for (const [name, a, b] of ports(locked.answers, here.answers)) {
    if (a?.sha256 === b?.sha256) continue;
    // Another text after a near-tie is no finding of its own.
    const follows = tokens === 'near' && a !== undefined && b !== undefined;
    const message = `${name} is ${quoted(b?.text)} (lock: ${quoted(a?.text)})`;
    return { layer, status: follows ? 'near' : 'break', message };
  }
  return { layer, status: 'same', message: Object.keys(locked.answers).join(', ') };
}

function quoted(text: string | undefined): string {
  if (text === undefined) return 'another value';
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}…` : text);
}

function short(digest: string): string {
  return digest.slice(0, 12);
}
