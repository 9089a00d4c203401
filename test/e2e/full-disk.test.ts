// A disk of a few KB under a dataset, a pack and a run: told, nothing half left behind, finished rows kept.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/util/package-root.js';
import { Project } from '../cli/fakes/share.js';
import { skipped } from '../skipped.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const ROOT = packageRoot();
const RECIPE = join(ROOT, 'pipelines', 'internvl.yaml');

const test = suite<{ folder: string; disk: string; mounted: boolean }>('a full disk');
test.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), 'vlm-full-'));
  context.disk = join(context.folder, 'disk');
  await mkdir(context.disk);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'tmpfs', context.disk], { stdio: 'ignore' });
    context.mounted = true;
  } catch {
    context.mounted = false;
    skipped('mount', 'a full disk wants the right to mount a small one');
  }
});
test.after.each(async ({ folder, disk, mounted }) => {
  if (mounted) execFileSync('umount', [disk]);
  await rm(folder, { recursive: true, force: true });
});

async function cli(folder: string, args: readonly string[]): Promise<{ readonly code: number | null; err: string }> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    cwd: ROOT,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, VLM_RUN_CACHE: join(folder, 'cache') },
  });
  let err = '';
  child.stderr.on('data', (data) => {
    err += String(data);
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, err };
}

test('a dataset keeps the rows that are finished, and goes on when there is room', async ({
  folder,
  disk,
  mounted,
}) => {
  if (!mounted) return;
  const file = join(folder, 'questions.jsonl');
  const image = join(ROOT, 'examples', 'thumb.png');
  const rows = Array.from({ length: 40 }, (_, i) => `${JSON.stringify({ id: `q${i}`, image })}\n`);
  await writeFile(file, rows.join(''));
  const out = join(disk, 'out');
  const args = [RECIPE, '--dataset', file, '--out', out, '--quiet'];
  const full = await cli(folder, args);
  assert.is(full.code, 5);
  assert.match(full.err, /^error\[OUTPUT_UNWRITABLE\]: Results cannot be written$/m);
  assert.match(full.err, /no space left/);
  const read = async (): Promise<string> => readFile(join(out, 'results.jsonl'), 'utf8');
  const ids = (text: string): string[] =>
    text
      .split('\n')
      .slice(0, -1)
      .map((line) => (JSON.parse(line) as { id: string }).id);
  const kept = await read();
  assert.ok(ids(kept).length > 3, `${ids(kept).length} rows`);
  assert.ok(kept.endsWith('\n'), 'no half row');
  execFileSync('mount', ['-o', 'remount,size=4m', disk]);
  const { code, err } = await cli(folder, [...args, '--resume']);
  assert.is(code, 0, err);
  assert.ok((await read()).startsWith(kept));
  assert.is(ids(await read()).length, 40);
  assert.is(new Set(ids(await read())).size, 40);
});

test('a pack leaves no half file', async ({ disk, mounted }) => {
  if (!mounted) return;
  // A project of its own: packing makes a lock beside the recipe.
  const project = new Project();
  try {
    const { code, err } = await project.cli(['pack', project.recipe, '--out', join(disk, 'x.vlm.tgz')]);
    assert.is(code, 5, err);
    assert.match(err, /^error\[OUTPUT_UNWRITABLE\]/m);
    assert.equal(await readdir(disk), []);
  } finally {
    project.remove();
  }
});

test('a run says that its record cannot be written, and what is there is whole', async ({ folder, disk, mounted }) => {
  if (!mounted) return;
  const { code, err } = await cli(folder, [RECIPE, '--out', join(disk, 'run'), '--quiet']);
  assert.is(code, 5);
  assert.match(err, /^error\[OUTPUT_UNWRITABLE\]/m);
  const record = join(disk, 'run', 'run.json');
  if (existsSync(record)) JSON.parse(await readFile(record, 'utf8'));
});

test.run();
