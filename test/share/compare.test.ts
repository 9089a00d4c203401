import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { differences, differenceText, digestOf } from '../../src/share/canonical.js';
import { compareCompletion, compareExample, compareHeads, notesOf } from '../../src/share/compare.js';
import {
  DEFAULT_TOLERANCES,
  type Lock,
  type LockedCompletion,
  type LockedExample,
  lockFileOf,
} from '../../src/share/format.js';

/** Of something that must be there. */
const matches = (text: string | null | undefined, pattern: RegExp): void => assert.match(text ?? 'nothing', pattern);

const completion = (ids: number[], margins: number[], rest: Partial<LockedCompletion> = {}): LockedCompletion => ({
  ids,
  margins,
  greedy: true,
  finish: 'eos',
  ...rest,
});

test('another token is a near-tie only where both runs saw the best two close together', () => {
  const locked = completion([1, 2, 3], [5, 0.05, 4]);
  const near = compareCompletion(locked, completion([1, 9, 8], [5, 0.02, 3]), 0.125);
  assert.is(near?.status, 'near');
  matches(near?.message, /token 1 is 9 \(lock: 2\), a near-tie: margin 0.02 \(lock: 0.05/);
  assert.is(compareCompletion(locked, completion([1, 9, 8], [5, 0.6, 3]), 0.125)?.status, 'break');
  assert.is(compareCompletion(completion([1, 2], [5, 0.6]), completion([1, 9], [5, 0.01]), 0.125)?.status, 'break');
  // On the limit itself it is none.
  assert.is(compareCompletion(completion([2], [0.125]), completion([9], [0.1]), 0.125)?.status, 'break');
});

test('only the first difference counts: a wide margin after it says nothing', () => {
  const locked = completion([1, 2, 3], [5, 0.05, 9]);
  assert.is(compareCompletion(locked, completion([1, 9, 8], [5, 0.01, 9]), 0.125)?.status, 'near');
});

test('tokens that end too early, go on too long or end for another reason are breaks', () => {
  const locked = completion([1, 2], [5, 5]);
  assert.is(compareCompletion(locked, completion([1, 2], [5, 5]), 0.125), null);
  matches(compareCompletion(locked, completion([1], [5]), 0.125)?.message, /token 1 is absent/);
  assert.is(compareCompletion(locked, completion([1, 2, 3], [5, 5, 0]), 0.125)?.status, 'break');
  assert.is(compareCompletion(locked, completion([1, 2], [5, 5], { finish: 'length' }), 0.125)?.status, 'break');
});

test('drawn tokens have no near-ties', () => {
  const locked = completion([1], [0.01], { greedy: false });
  const found = compareCompletion(locked, completion([2], [0.01], { greedy: false }), 0.125);
  assert.is(found?.status, 'break');
  matches(found?.message, /drawn/);
});

const example = (change: Partial<LockedExample> = {}): LockedExample => ({
  inputs: { prompt: { type: 'text', text: 'What?', default: true } },
  pixels: { 'p.pixels': null },
  embeddings: { 'e.embeddings': null },
  prompts: { 'p.tokens': { prompt: [5, [7, 10], 6] } },
  completions: { 'd.text': completion([1, 2], [3, 0.01]) },
  answers: { answer: { sha256: 'a'.repeat(64), text: 'one' } },
  ...change,
});

const statuses = (here: LockedExample) =>
  Object.fromEntries(
    compareExample(example(), here.inputs, here, DEFAULT_TOLERANCES, 0).map((f) => [f.layer, f.status]),
  );

test('an answer that follows from a near-tie is near itself; without one it is a break', () => {
  const answers = { answer: { sha256: 'b'.repeat(64), text: 'two' } };
  const same = { inputs: 'same', pixels: 'none', embeddings: 'none', tokens: 'same', answer: 'same' };
  assert.equal(statuses(example()), same);
  assert.equal(statuses(example({ answers })), { ...same, answer: 'break' });
  const completions = { 'd.text': completion([1, 9], [3, 0.02]) };
  assert.equal(statuses(example({ answers, completions })), { ...same, tokens: 'near', answer: 'near' });
});

test('a prompt is compared token by token, image tokens included', () => {
  const prompts = { 'p.tokens': { prompt: [5, [7, 9] as const, 6] } };
  const [, , , tokens] = compareExample(example(), example().inputs, example({ prompts }), DEFAULT_TOLERANCES, 0);
  assert.is(tokens?.status, 'break');
  matches(tokens?.message, /prompt token 10 is 6 \(lock: 7\)/);
});

test('ports that only one side has are told', () => {
  assert.is(statuses(example({ completions: {} })).tokens, 'break');
  assert.is(statuses(example({ answers: {} })).answer, 'break');
});

const resolved = {
  version: 1,
  model: {},
  inputs: {},
  devices: { main: { kind: 'cpu', graph_optimization: 'all' } },
  nodes: { decode: { kind: 'decode', with: { ctx_len: 1024 } } },
  outputs: {},
} as const;

const lockOf = (recipe: Lock['recipe']['resolved']): Lock => ({
  format: 1,
  recipe: { name: 'r', sha256: digestOf(recipe), resolved: recipe },
  model: {
    name: 'm',
    files: [{ name: 'vision.onnx', use: 'vision program', bytes: 3, sha256: 'c'.repeat(64) }],
    tokenizer: null,
    template: null,
  },
  programs: [{ role: 'vision', device: 'main', kind: 'onnx', sha256: 'c'.repeat(64) }],
  preprocessing: 1,
  versions: { 'vlm-run': '1', node: '20' },
  tolerances: DEFAULT_TOLERANCES,
  examples: [example()],
});

test('a recipe on another device is the same recipe, with another option it is not', () => {
  const lock = lockOf(resolved);
  const [same] = compareHeads(lock, lock);
  assert.is(same?.status, 'same');
  const card = { ...resolved, devices: { main: { kind: 'ai100', ids: [0] } } };
  const [onCard] = compareHeads(lock, lockOf(card));
  assert.is(onCard?.status, 'same');
  matches(onCard?.message, /on other devices: devices.main.kind is "ai100" \(lock: "cpu"\)/);
  const longer = { ...resolved, nodes: { decode: { kind: 'decode', with: { ctx_len: 2048 } } } };
  const [other] = compareHeads(lock, lockOf(longer));
  assert.is(other?.status, 'break');
  matches(other?.message, /nodes.decode.with.ctx_len is 2048 \(lock: 1024\)/);
});

test('a lock whose digest is not that of its own recipe is told', () => {
  const lock = lockOf(resolved);
  const forged = { ...lock, recipe: { ...lock.recipe, sha256: '0'.repeat(64) } };
  matches(compareHeads(forged, lock)[0]?.message, /not that of its recipe/);
});

test('files that changed, are missing or are new are breaks; programs and versions are notes', () => {
  const lock = lockOf(resolved);
  const files = (model: Partial<Lock['model']>) =>
    compareHeads(lock, { ...lock, model: { ...lock.model, ...model } })[1];
  const [vision] = lock.model.files;
  assert.ok(vision !== undefined);
  matches(files({ files: [{ ...vision, sha256: 'd'.repeat(64) }] })?.message, /vision.onnx .* is dddd/);
  matches(files({ files: [] })?.message, /is not there/);
  matches(files({ files: [vision, { ...vision, name: 'x' }] })?.message, /x .* is not in the lock/);
  matches(files({ template: 'e'.repeat(64) })?.message, /template/);
  matches(compareHeads(lock, { ...lock, preprocessing: 2 })[1]?.message, /version 2 \(lock: 1\)/);
  const notes = notesOf(lock, {
    ...lock,
    versions: { 'vlm-run': '2', node: '20' },
    programs: [{ role: 'vision', device: 'main', kind: 'compiled', sha256: 'f'.repeat(64) }],
  });
  assert.equal(notes, ['the vision program is compiled by others (lock: as exported)', 'vlm-run is 2 (lock: 1)']);
});

test('differences are named by their place, another kind by itself', () => {
  assert.equal(differences({ a: 1, b: { c: [1] } }, { b: { c: [2] }, d: 1 }).map(differenceText), [
    'a is absent (lock: 1)',
    'b.c is [2] (lock: [1])',
    'd is 1 (lock: absent)',
  ]);
  assert.equal(
    differences({ x: { kind: 'cpu', threads: 1 } }, { x: { kind: 'ai100', ids: [0] } }).map((d) => d.path),
    ['x.kind'],
  );
});

test('the lock of a recipe lies beside it', () => {
  assert.is(lockFileOf('/a/b.yaml'), '/a/b.lock.json');
  assert.is(lockFileOf('b.ai100.yml'), 'b.ai100.lock.json');
  assert.is(lockFileOf('plain'), 'plain.lock.json');
});

test.run();
