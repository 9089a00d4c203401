// `vlm-run verify`: every layer the same, near or broken.
import { cpSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Lock, LockedCompletion } from '../../../src/share/format.js';
import { Project } from '../fakes/share.js';

const test = suite('vlm-run verify');
let project: Project;
test.before(async () => {
  project = new Project();
  const { code, err } = await project.cli(['lock', project.recipe, '--example', 'image=examples/photo.png']);
  assert.is(code, 0, err);
});
test.after(() => project.remove());

interface Verified {
  readonly ok: boolean;
  readonly verdict: string;
  readonly first: { readonly layer: string; readonly message: string; readonly example?: string } | null;
  readonly findings: readonly {
    readonly layer: string;
    readonly status: string;
    readonly message: string;
    readonly example?: string;
  }[];
  readonly notes: readonly string[];
}

async function verified(args: readonly string[], code: number, on = project): Promise<Verified> {
  const ended = await on.cli(['verify', ...args, '--json']);
  assert.is(ended.code, code, ended.err + ended.out);
  return JSON.parse(ended.out) as Verified;
}

const layers = ({ findings }: Verified, example?: string) =>
  Object.fromEntries(findings.filter((f) => f.example === example).map((f) => [f.layer, f.status]));

/** The lock with the first completion of its first example changed. */
const withCompletion = (change: (c: LockedCompletion) => LockedCompletion): string =>
  project.altered((lock: Lock) => ({
    ...lock,
    examples: lock.examples.map((example, i) =>
      i > 0 ? example : { ...example, completions: { 'decode.text': change(example.completions['decode.text']!) } },
    ),
  }));

test('everything is the same where nothing changed', async () => {
  const result = await verified([project.recipe, '--strict'], 0);
  assert.is(result.verdict, 'same');
  assert.is(result.first, null);
  assert.equal(layers(result), { recipe: 'same', files: 'same' });
  for (const example of ['default', 'example 2']) {
    assert.equal(layers(result, example), {
      inputs: 'same',
      pixels: 'same',
      embeddings: 'same',
      tokens: 'same',
      answer: 'same',
    });
  }
  const said = await project.cli(['verify', project.recipe]);
  assert.match(said.out, /recipe {6}same .*\nfiles {7}same {3}9 files\ndefault\n {2}inputs/);
  assert.match(said.err, /verified: everything is the same/);
});

test('the lock itself, and no argument at all, mean the recipe beside', async () => {
  assert.is((await verified([project.lockFile], 0)).verdict, 'same');
  const { code, err } = await project.cli(['verify', '--quiet'], { cwd: join(project.dir, 'pipelines') });
  assert.is(code, 0, err);
  assert.is((await project.cli(['verify'], { cwd: project.home })).code, 2);
});

test('another token where the best two were close is a near-tie, elsewhere a break', async () => {
  const close = withCompletion((c) => ({
    ...c,
    ids: c.ids.map((id, i) => (i === 3 ? id + 1 : id)),
    margins: c.margins.map((m, i) => (i === 3 ? 0.01 : m)),
  }));
  // This run saw a wide margin there: rounding cannot have turned it.
  const wide = await verified([project.recipe, '--lock', close], 5);
  assert.is(wide.first?.layer, 'tokens');
  assert.match(wide.first?.message ?? '', /token 3 is \d+ \(lock: \d+\), no near-tie: margin/);
  // With a tolerance that takes in both margins it is a tie, and the answer may differ.
  const lock = JSON.parse(readFileSync(close, 'utf8')) as Lock;
  const margin = { logits: 1000, why: 'for this test' };
  const answers = { answer: { sha256: '0'.repeat(64), text: 'something else' } };
  const [first, second] = lock.examples;
  writeFileSync(
    close,
    JSON.stringify({ ...lock, tolerances: { ...lock.tolerances, margin }, examples: [{ ...first, answers }, second] }),
  );
  const near = await verified([project.recipe, '--lock', close], 0);
  assert.is(near.verdict, 'near');
  assert.equal([layers(near, 'default')['tokens'], layers(near, 'default')['answer']], ['near', 'near']);
  assert.is(layers(near, 'example 2')['tokens'], 'same');
  const said = await project.cli(['verify', project.recipe, '--lock', close]);
  assert.match(said.err, /verified with a warning: tokens of default: .*near-tie/);
  assert.is((await verified([project.recipe, '--lock', close, '--strict'], 5)).verdict, 'near');
});

test('an answer that differs with the same tokens is a break of its own', async () => {
  const path = project.altered((lock: Lock) => ({
    ...lock,
    examples: lock.examples.map((e) => ({ ...e, answers: { answer: { sha256: '0'.repeat(64), text: 'a cat' } } })),
  }));
  const { first } = await verified([project.recipe, '--lock', path], 5);
  assert.is(first?.layer, 'answer');
  assert.match(first?.message ?? '', /\(lock: "a cat"\)/);
});

test('embeddings are held to the tolerance of the lock', async () => {
  const scaled = (factor: number): string =>
    project.altered((lock: Lock) => ({
      ...lock,
      examples: lock.examples.map((example) => {
        const locked = example.embeddings['encode.embeddings']!;
        const floats = new Float32Array(new Uint8Array(Buffer.from(locked.sketch, 'base64')).buffer).map(
          (v) => v * factor,
        );
        const sketch = Buffer.from(floats.buffer).toString('base64');
        return { ...example, embeddings: { 'encode.embeddings': { ...locked, sha256: '0'.repeat(64), sketch } } };
      }),
    }));
  const near = await verified([project.recipe, '--lock', scaled(1.001)], 0);
  assert.match(near.first?.message ?? '', /off by 0\.001 of their length \(tolerance 0\.0078\)/);
  const far = await verified([project.recipe, '--lock', scaled(1.05)], 5);
  assert.match(far.first?.message ?? '', /encode\.embeddings: rows 0 to 4 differ by 0\.048/);
});

test('a changed option, file or picture breaks in its own layer, and the layers below say what came of it', async () => {
  const option = await verified([project.recipe, '--set', 'nodes.decode.with.max_new_tokens=4'], 5);
  assert.is(option.first?.layer, 'recipe');
  assert.match(option.first?.message ?? '', /nodes\.decode\.with\.max_new_tokens is 4 \(lock: 64\)/);
  assert.is(layers(option, 'default')['embeddings'], 'same');
  assert.is(layers(option, 'default')['tokens'], 'break');
  const other = new Project();
  try {
    cpSync(project.lockFile, other.lockFile);
    const config = join(other.model, 'preprocessor_config.json');
    writeFileSync(config, `${readFileSync(config, 'utf8')}\n`);
    const file = await verified([other.recipe], 5, other);
    assert.is(file.first?.layer, 'files');
    assert.match(file.first?.message ?? '', /preprocessor_config\.json .* is [0-9a-f]{12} \(lock: [0-9a-f]{12}\)/);
    assert.is(layers(file, 'default')['answer'], 'same');
    cpSync(join(project.model, 'preprocessor_config.json'), config);
    cpSync(join(other.dir, 'examples', 'square.png'), join(other.dir, 'examples', 'photo.png'));
    const picture = await verified([other.recipe], 5, other);
    assert.is(picture.first?.layer, 'inputs');
    assert.is(picture.first?.example, 'example 2');
    assert.is(layers(picture, 'example 2')['pixels'], 'break');
    assert.is(layers(picture, 'default')['pixels'], 'same');
  } finally {
    other.remove();
  }
});

test('what a difference keeps from running breaks in its layer, and the rest is compared all the same', async () => {
  const other = new Project();
  try {
    cpSync(project.lockFile, other.lockFile);
    rmSync(join(other.dir, 'examples', 'photo.png'));
    truncateSync(join(other.model, 'language.onnx'), 5000);
    const cut = await verified([other.recipe], 5, other);
    assert.match(cut.first?.message ?? '', /^language\.onnx/);
    assert.is(layers(cut, 'default')['inputs'], 'same');
    assert.is(layers(cut, 'default')['tokens'], 'break');
    assert.is(layers(cut, 'example 2')['inputs'], 'break');
    assert.is(layers(cut, 'example 2')['pixels'], 'none');
    cpSync(join(project.model, 'language.onnx'), join(other.model, 'language.onnx'));
    truncateSync(join(other.model, 'tokenizer.json'), 1000);
    const broken = await verified([other.recipe], 5, other);
    assert.match(broken.first?.message ?? '', /^tokenizer\.json/);
    assert.is(layers(broken, 'default')['pixels'], 'break');
    assert.is(layers(broken, 'default')['answer'], 'none');
  } finally {
    other.remove();
  }
});

test('a missing, damaged or newer lock is an error with its remedy', async () => {
  const gone = await project.cli(['verify', project.recipe, '--lock', join(project.home, 'none.json')]);
  assert.is(gone.code, 3);
  assert.match(gone.err, /LOCK_INVALID.*\n[\s\S]*vlm-run lock/);
  for (const [change, reason] of [
    [{ format: 2 }, /newer/],
    [{ format: 1 }, /required property/],
    [[], /must be object/],
  ] as const) {
    const { code, err } = await project.cli(['verify', project.recipe, '--lock', project.altered(() => change)]);
    assert.is(code, 3);
    assert.match(err, reason);
  }
  const path = project.altered((lock: Lock) => ({
    ...lock,
    examples: lock.examples.map((e) => ({
      ...e,
      inputs: {
        ...e.inputs,
        image: { type: 'image', images: [{ name: 'x', bytes: 1, sha256: '0'.repeat(64), place: '/etc/hostname' }] },
      },
    })),
  }));
  assert.is((await project.cli(['verify', project.recipe, '--lock', path])).code, 3);
  rmSync(join(project.home, 'altered.lock.json'));
});

test.run();
