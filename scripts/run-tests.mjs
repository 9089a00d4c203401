// Runs every test file in a process of its own, with a time-out, so that one hang or crash neither hides nor stops the
// rest. Usage: node scripts/run-tests.mjs [FILTER ...], a part of a path under test/. Last line: `N passed, N failed`.
// A file that names no cache of its own has one in a temporary folder: nothing is written to the user's.
// What a machine cannot test is told (`SKIPPED (need): why`, test/skipped.ts) and neither passed nor failed; with
// VLM_TEST_HAS=need,… it is failed.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const built = join(root, '.build', 'test');
const HAS = new Set((process.env.VLM_TEST_HAS ?? '').split(',').filter((need) => need !== ''));
const TIMEOUT_MS = Number(process.env.VLM_TEST_TIMEOUT_MS ?? 300_000);
const caches = mkdtempSync(join(tmpdir(), 'vlm-tests-'));
process.once('exit', () => rmSync(caches, { recursive: true, force: true }));
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
]) {
  process.once(signal, () => process.exit(code));
}

function testFiles(dir) {
  return readdirSync(dir, { withFileTypes: true }).flatMap((e) =>
    e.isDirectory() ? testFiles(join(dir, e.name)) : e.name.endsWith('.test.js') ? [join(dir, e.name)] : [],
  );
}

function runFile(file) {
  return new Promise((resolve) => {
    const started = Date.now();
    const child = spawn(process.execPath, [file], {
      cwd: root,
      env: {
        ...process.env,
        NO_COLOR: '1',
        FORCE_COLOR: '0',
        VLM_RUN_CACHE: join(caches, relative(built, file).replace(/\W/g, '-')),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, TIMEOUT_MS);
    child.stdout.on('data', (d) => (output += d));
    child.stderr.on('data', (d) => (output += d));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const total = Number(/Total:\s+(\d+)/.exec(output)?.[1] ?? 0);
      const passed = Number(/Passed:\s+(\d+)/.exec(output)?.[1] ?? 0);
      const left = Number(/Skipped:\s+(\d+)/.exec(output)?.[1] ?? 0);
      const skipped = [...output.matchAll(/SKIPPED \((\w+)\): (.*)/g)].map(([line, need]) => ({ line, need }));
      const wanted = skipped.find(({ need }) => HAS.has(need));
      let failed = total - passed;
      let note = '';
      if (timedOut) note = `timed out after ${TIMEOUT_MS / 1000} s`;
      else if (signal) note = `killed by ${signal}`;
      else if (code !== 0 && failed === 0) note = `exit code ${code}`;
      else if (left > 0) note = `${left} left out by test.only or test.skip`;
      else if (wanted) note = `${wanted.line}, which VLM_TEST_HAS promises`;
      else if (total === 0 && skipped.length === 0) note = 'ran no test';
      if (note) failed = Math.max(failed, 1);
      resolve({ file: relative(built, file), passed, failed, skipped, note, output, ms: Date.now() - started });
    });
  });
}

const filters = process.argv.slice(2);
const files = testFiles(built)
  .sort()
  .filter((f) => filters.length === 0 || filters.some((x) => relative(built, f).includes(x)));
if (files.length === 0) {
  console.error('no test file matches');
  process.exit(1);
}
const queue = [...files];
const results = [];
await Promise.all(
  Array.from({ length: Math.max(1, Math.min(4, availableParallelism())) }, async () => {
    for (let f = queue.shift(); f !== undefined; f = queue.shift()) {
      const r = await runFile(f);
      results.push(r);
      console.log(
        `${r.failed ? 'FAIL' : 'ok  '} ${r.file}  ${r.passed} passed  ${r.ms} ms${r.note ? `  (${r.note})` : ''}`,
      );
      for (const { line } of new Map(r.skipped.map((s) => [s.line, s])).values()) console.log(`     ${line}`);
      if (r.failed) console.log(r.output.trimEnd().replace(/^/gm, '     '));
    }
  }),
);
const passed = results.reduce((n, r) => n + r.passed, 0);
const failed = results.reduce((n, r) => n + r.failed, 0);
const skips = results.flatMap((r) => r.skipped);
for (const need of new Set(skips.map((s) => s.need)))
  console.log(`not tested for want of ${need}: ${skips.filter((s) => s.need === need).length}`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
