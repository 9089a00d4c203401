// The examples of the documentation run as they stand.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Diagnostic } from '../../src/contracts/recipe.js';
import { packageRoot } from '../../src/util/package-root.js';
import { cli } from '../cli/fakes/spawn.js';

const test = suite('documented examples');
const examples = join(packageRoot(), 'docs', 'examples');

test('a node of one’s own: refused at first, then the answer in capitals', async () => {
  const recipe = join(examples, 'shout', 'shout.yaml');
  assert.match((await cli([recipe, '--json'])).out, 'PLUGIN_FORBIDDEN');
  const { code, out, err } = await cli([recipe, '--allow-plugins', '--quiet']);
  assert.is(code, 0, err);
  assert.match(out, /^[^a-z]+!!\n$/);
});

test('--set removes nothing of a node of one’s own that its manifest does not know', async () => {
  const recipe = join(examples, 'shout', 'shout.yaml');
  const validate = (path: string) => cli(['validate', recipe, '--allow-plugins', '--set', `nodes.loud.${path}=null`]);
  for (const [path, meant] of [
    ['with.marc', 'did you mean "mark"'],
    ['inputs.txet', 'did you mean "text"'],
  ] as const) {
    const { code, err } = await validate(path);
    assert.is(code, 2, path);
    assert.match(err, meant);
  }
  assert.is((await validate('with.mark')).code, 0);
});

test('an option with a newer name works on, and says so with its place', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vlm-deprecated-'));
  try {
    const module = readFileSync(join(examples, 'shout', 'shout.js'), 'utf8').replace(
      'options: {',
      "options: { ending: { type: 'string', description: 'Put at the end.', replacedBy: 'mark' },",
    );
    writeFileSync(join(folder, 'shout.js'), module);
    const base = join(examples, 'shout', 'shout.yaml');
    const loudOf = (options: string): string =>
      `{ kind: ./shout.js, inputs: { text: $decode.text }, with: ${options} }`;
    const loudAt = (word: string): number => loudOf("{ ending: '?' }").indexOf(word);
    const write = (options: string): string => {
      const file = join(folder, 'old.yaml');
      const loud = loudOf(options);
      writeFileSync(
        file,
        `extends: ${base}\nname: old\nnodes:\n  loud: null\n  old: ${loud}\noutputs: { answer: $old.text }\n`,
      );
      return file;
    };
    const { code, out, err } = await cli([write("{ ending: '?' }"), '--allow-plugins']);
    assert.is(code, 0, err);
    assert.match(out, /^[^a-z]+\?\n$/);
    assert.match(
      err,
      /W_DEPRECATED[\s\S]*"ending" of [^\n]* is deprecated[\s\S]*old\.yaml:5:[\s\S]*rename it to "mark"/,
    );
    // The caret stands under the key.
    const lines = err.split('\n');
    const shown = lines.findIndex((line) => line.includes("{ ending: '?' }"));
    const [, column = ''] = /old\.yaml:5:(\d+)/.exec(err) ?? [];
    assert.is(lines[shown + 1]?.indexOf('^'), lines[shown]?.indexOf('ending'), err);
    assert.is(lines[shown + 1]?.lastIndexOf('^'), (lines[shown]?.indexOf('ending') ?? 0) + 'ending'.length - 1);
    assert.is(Number(column), '  old: '.length + loudAt('ending') + 1);
    writeFileSync(join(folder, 'shout.js'), module.replace("replacedBy: 'mark'", 'deprecated: true'));
    const gone = await cli(['validate', write("{ ending: '?' }"), '--allow-plugins', '--json']);
    assert.is(gone.code, 0, gone.err);
    const [warning] = (JSON.parse(gone.out) as { readonly diagnostics: readonly Diagnostic[] }).diagnostics;
    assert.equal([warning?.code, warning?.severity, warning?.hint], ['W_DEPRECATED', 'warning', 'Put at the end.']);
    assert.equal(warning?.location, {
      file: join(folder, 'old.yaml'),
      line: 5,
      column: Number(column),
      endColumn: Number(column) + 6,
    });
    writeFileSync(join(folder, 'shout.js'), module);
    const both = await cli(['validate', write("{ ending: '?', mark: '.' }"), '--allow-plugins', '--json']);
    const { diagnostics } = JSON.parse(both.out) as {
      readonly diagnostics: readonly { readonly code: string; readonly hint: string }[];
    };
    assert.equal(
      diagnostics.map((d) => d.code),
      ['W_DEPRECATED'],
    );
    assert.match(diagnostics[0]?.hint ?? '', 'given as well');
    writeFileSync(join(folder, 'shout.js'), module.replace("replacedBy: 'mark'", "replacedBy: 'marc'"));
    assert.match((await cli(['validate', write('{}'), '--allow-plugins'])).err, 'must name another option');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('the library asks several questions', () => {
  // The example imports the package by its name, which is the built one.
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(examples, 'library', 'ask.mjs')], {
    encoding: 'utf8',
  });
  assert.is(status, 0, stderr);
  const lines = stdout.trim().split('\n');
  assert.match(lines[0] ?? '', /^\d+ tiles, \d+ prompt tokens$/);
  assert.match(stdout, /How many shapes are there\? \d+/);
  assert.match(stdout, /Where is the red circle\? red circle\n {2}red circle at [\d., ]+/);
});

test.run();
