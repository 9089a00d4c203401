// What is told as text beside an answer stands in the document of --json as well.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Project } from './fakes/share.js';

const test = suite('warnings with --json');
let project: Project;
let recipe: string;
test.before(() => {
  project = new Project();
  recipe = join(project.dir, 'pipelines', 'spare.yaml');
  const text = readFileSync(project.recipe, 'utf8');
  writeFileSync(recipe, text.replace(/^devices:$/m, 'devices:\n  spare: { kind: cpu }'));
});
test.after(() => project.remove());

interface Told {
  readonly ok: boolean;
  readonly error?: { readonly code: string; readonly received?: string };
  readonly diagnostics?: readonly { readonly code: string; readonly location?: { readonly line: number } }[];
  readonly warnings?: Told['diagnostics'];
  readonly notices?: readonly string[];
}
const json = async (...args: string[]): Promise<Told> => {
  const { out, err } = await project.cli([...args, '--json']);
  assert.match(out, /^\{[\s\S]*\}\n$/, err);
  return JSON.parse(out) as Told;
};
const codes = ({ diagnostics, warnings }: Told) => (diagnostics ?? warnings)?.map(({ code }) => code);

test('those of the recipe, by every command that reads one', async () => {
  const pack = join(project.home, 'spare.vlm.tgz');
  for (const args of [
    ['validate', recipe],
    ['plan', recipe],
    ['graph', recipe],
    ['compile', recipe, '--device', 'main=ai100:0', '--target', 'emulator', '--dry-run'],
    ['lock', recipe],
    ['verify', recipe],
    ['pack', recipe, '--out', pack],
  ]) {
    const told = await json(...args);
    assert.equal([args[0], told.ok, codes(told)], [args[0], true, ['W_UNUSED_DEVICE']]);
  }
});

test('that a run departs from its lock, and those of a dataset', async () => {
  const fewer = ['--set', 'nodes.decode.with.max_new_tokens=2'];
  const run = await json('run', recipe, ...fewer);
  assert.equal([run.ok, codes(run)], [true, ['W_UNUSED_DEVICE']]);
  assert.match(run.notices?.join('\n') ?? '', /departs from spare\.lock\.json/);
  const rows = join(project.home, 'rows.jsonl');
  writeFileSync(rows, '{"prompt": "Describe the image.", "promt": "x"}\n');
  const dataset = await json('run', recipe, '--dataset', rows, '--out', join(project.home, 'rows'), ...fewer);
  assert.equal([dataset.ok, codes(dataset)], [true, ['W_UNUSED_DEVICE']]);
  assert.match(dataset.notices?.join('\n') ?? '', /did you mean "prompt"/);
});

test('all problems of a recipe whose model is asked for', async () => {
  const bad = project.write('pipelines/bad.yaml', 'version: 1\nname: x\nmodels: {}\n');
  const told = await json('models', bad);
  assert.equal([told.ok, told.error?.code, told.error?.received], [false, 'RECIPE_INVALID', undefined]);
  const { err, code } = await project.cli(['models', bad]);
  assert.is(code, 2);
  for (const problem of told.diagnostics ?? []) assert.match(err, `error[${problem.code}]`);
  assert.ok((told.diagnostics?.length ?? 0) > 1);
});

test.run();
