// Datasets through the command, with the demonstration model: how a run is started, and what it is asked.
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageRoot } from '../../src/util/package-root.js';

export const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
export const ROOT = packageRoot();
export const RECIPE = join(ROOT, 'pipelines', 'internvl.yaml');

export interface Row {
  readonly id: string;
  readonly ok: boolean;
  readonly text?: string;
  readonly generatedIds?: readonly number[];
  readonly embeddings?: string;
  readonly error?: { readonly code: string };
  readonly metrics?: { readonly ttftMs: number };
  readonly latencyMs: number;
}

export function start(folder: string, args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [MAIN, RECIPE, ...args], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, VLM_RUN_CACHE: join(folder, 'cache'), NO_COLOR: '1' },
  });
}

export async function finish(child: ChildProcess): Promise<{ readonly code: number | null; out: string; err: string }> {
  let out = '';
  let err = '';
  child.stdout?.on('data', (data) => {
    out += String(data);
  });
  child.stderr?.on('data', (data) => {
    err += String(data);
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, out, err };
}
export const run = (folder: string, args: readonly string[]) => finish(start(folder, args));
export const rowsOf = (text: string): Row[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Row);
export const byId = (rows: readonly Row[]) => [...rows].sort((a, b) => (a.id < b.id ? -1 : 1));

export async function questions(folder: string, count: number): Promise<string> {
  const images = ['scene', 'panorama', 'portrait', 'thumb'];
  const prompts = ['Describe the image.', 'How many shapes are there?', 'What is left of the red circle?'];
  const rows = Array.from({ length: count }, (_, i) => ({
    id: `q${String(i).padStart(3, '0')}`,
    image: join(ROOT, 'examples', `${images[i % images.length]}.png`),
    prompt: prompts[i % prompts.length],
  }));
  const path = join(folder, 'questions.jsonl');
  await writeFile(path, rows.map((row) => JSON.stringify(row)).join('\n'));
  return path;
}
