// `vlm-run lock`, and what a run beside a lock says.
import { createHash } from 'node:crypto';
import { cpSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir, hostname } from 'node:os';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PREPROCESSING_VERSION } from '../../../src/image/preprocessing-version.js';
import { LOCK_SCHEMA } from '../../../src/share/lock-schema.js';
import { packageRoot } from '../../../src/util/package-root.js';
import { Project } from '../fakes/share.js';

const test = suite('vlm-run lock');
let project: Project;
test.before(async () => {
  project = new Project();
  const { code, err } = await project.cli([
    'lock',
    project.recipe,
    '--example',
    'prompt=How many circles are there?',
    '--example',
    'image=examples/photo.png',
    '--example',
    'image=examples/square.png',
  ]);
  assert.is(code, 0, err);
});
test.after(() => project.remove());

const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');
const schema = (name: string): object => JSON.parse(readFileSync(join(packageRoot(), 'schemas', name), 'utf8'));

test('the lock follows its schema, which is the committed one', () => {
  const validate = new Ajv({ strict: false }).compile(schema('lock.schema.json'));
  assert.ok(validate(project.readLock()), JSON.stringify(validate.errors));
  assert.equal(schema('lock.schema.json'), JSON.parse(JSON.stringify(LOCK_SCHEMA)));
});

test('it holds digests of every file that a run reads, of tokenizer, template and programs', () => {
  const { model, programs, preprocessing, versions } = project.readLock();
  for (const { name, bytes, sha256: digest } of model.files) {
    assert.is(digest, sha256(join(project.model, name)), name);
    assert.is(bytes, statSync(join(project.model, name)).size, name);
  }
  const names = model.files.map((file) => file.name).sort();
  assert.equal(names, [
    'chat_template.jinja',
    'config.json',
    'generation_config.json',
    'language.onnx',
    'preprocessor_config.json',
    'processor_config.json',
    'tokenizer.json',
    'tokenizer_config.json',
    'vision.onnx',
  ]);
  assert.is(model.tokenizer, sha256(join(project.model, 'tokenizer.json')));
  assert.is(model.template, sha256(join(project.model, 'chat_template.jinja')));
  assert.equal(
    programs.map((p) => [p.role, p.kind, p.sha256 === sha256(join(project.model, `${p.role}.onnx`))]),
    [
      ['language', 'onnx', true],
      ['vision', 'onnx', true],
    ],
  );
  assert.is(preprocessing, PREPROCESSING_VERSION);
  for (const name of ['vlm-run', 'node', 'onnxruntime-node', 'sharp']) assert.match(versions[name] ?? '', /\d+\.\d+/);
});

test('examples are the defaults and what was given, with a margin for every token', () => {
  const { examples, tolerances } = project.readLock();
  assert.equal(
    examples.map(({ inputs }) => Object.values(inputs).map((input) => input.default ?? false)),
    [
      [true, true],
      [false, false],
      [false, true],
    ],
  );
  for (const { completions, embeddings, pixels, inputs } of examples) {
    const [completion] = Object.values(completions);
    assert.ok(completion !== undefined && completion.ids.length > 0);
    assert.is(completion?.margins.length, completion?.ids.length);
    assert.ok(completion?.margins.every((margin) => margin > 0));
    assert.is(completion?.greedy, true);
    const rows = embeddings['encode.embeddings']?.dims[0] ?? 0;
    assert.is(rows, (pixels['preprocess.pixels']?.tiles.length ?? 0) * 16);
    assert.ok(inputs['image']?.type === 'image');
  }
  const [, given] = examples;
  assert.equal(given?.inputs['image'], {
    type: 'image',
    images: [
      {
        name: 'photo.png',
        bytes: statSync(join(project.dir, 'examples', 'photo.png')).size,
        sha256: sha256(join(project.dir, 'examples', 'photo.png')),
        place: '../examples/photo.png',
      },
    ],
  });
  assert.is(tolerances.embeddings.relative, 2 ** -7);
  assert.is(tolerances.margin.logits, 2 ** -3);
});

test('the tokens and the answer are those of a plain run', async () => {
  const [first] = project.readLock().examples;
  const { code, out } = await project.cli([project.recipe, '--json']);
  assert.is(code, 0);
  const [item] = (JSON.parse(out) as { items: { generatedIds: number[]; text: string }[] }).items;
  assert.equal(first?.completions['decode.text']?.ids, item?.generatedIds);
  assert.is(first?.answers['answer']?.text, item?.text);
});

test('no machine, no path and no time is in it', () => {
  const text = readFileSync(project.lockFile, 'utf8');
  const words = [project.home, packageRoot(), homedir(), process.cwd(), hostname()];
  // A short name may stand in any digest.
  for (const word of words.filter((w) => w.length > 5)) assert.not.ok(text.includes(word), word);
  assert.not.match(text, /\d{4}-\d\d-\d\dT/);
});

test('locked again it is the same bytes, also of the recipe in another folder', async () => {
  const before = readFileSync(project.lockFile);
  const other = new Project();
  try {
    const args = [
      '--example',
      'prompt=How many circles are there?',
      '--example',
      'image=examples/photo.png',
      '--example',
      'image=examples/square.png',
    ];
    const here = await project.cli(['lock', project.recipe, ...args]);
    assert.match(here.err, /unchanged/);
    assert.is((await other.cli(['lock', 'pipelines/internvl.yaml', ...args])).code, 0);
    assert.equal(readFileSync(project.lockFile), before);
    assert.equal(readFileSync(other.lockFile), before);
  } finally {
    other.remove();
  }
});

test('--out, --json and tolerances of one’s own', async () => {
  const out = join(project.home, 'other.lock.json');
  const { code, out: text } = await project.cli([
    'lock',
    project.recipe,
    '--json',
    '--out',
    out,
    '--margin-tolerance',
    '0.5',
    '--embedding-tolerance',
    '0.001',
  ]);
  assert.is(code, 0);
  const said = JSON.parse(text) as { ok: boolean; lock: string; examples: number };
  assert.equal([said.ok, said.lock, said.examples], [true, out, 1]);
  const { tolerances } = JSON.parse(readFileSync(out, 'utf8')) as ReturnType<Project['readLock']>;
  assert.equal([tolerances.margin.logits, tolerances.embeddings.relative], [0.5, 0.001]);
  const wrong = await project.cli(['lock', project.recipe, '--margin-tolerance', 'much']);
  assert.is(wrong.code, 2);
});

test('what cannot be locked is told before anything runs', async () => {
  cpSync(join(project.dir, 'examples', 'photo.png'), join(project.home, 'outside.png'));
  const outside = await project.cli([
    'lock',
    project.recipe,
    '--example',
    `image=${join(project.home, 'outside.png')}`,
  ]);
  assert.is(outside.code, 2);
  assert.match(outside.err, /cannot be found again on another machine/);
  assert.is((await project.cli(['lock', project.recipe, '--example', 'picture=x'])).code, 2);
  const bare = project.write('pipelines/bare.yaml', 'extends: internvl.yaml\ninputs: { prompt: { default: null } }\n');
  const { code, err } = await project.cli(['lock', bare]);
  assert.is(code, 2, err);
});

test('a run beside its lock says nothing, and its record that it looked', async () => {
  const out = join(project.home, 'run');
  const { code, err } = await project.cli([project.recipe, '--out', out]);
  assert.is(code, 0);
  assert.not.match(err, /departs/);
  const record = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')) as { lock?: unknown };
  assert.equal(record.lock, { file: 'internvl.lock.json', departs: [] });
});

test('a run that departs warns, says where, answers all the same, and keeps it in its record', async () => {
  const out = join(project.home, 'departed');
  const args = [
    project.recipe,
    '--out',
    out,
    '--set',
    'nodes.decode.with.max_new_tokens=4',
    '--set',
    'devices.main.threads=1',
  ];
  const { code, err, out: answer } = await project.cli(args);
  assert.is(code, 0);
  assert.ok(answer.length > 0);
  assert.match(
    err,
    /warning: this run departs from internvl\.lock\.json: devices\.main\.threads is 1 \(lock: absent\); nodes\.decode\.with\.max_new_tokens is 4 \(lock: 64\)/,
  );
  const record = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')) as { lock?: { departs: string[] } };
  assert.is(record.lock?.departs.length, 2);
  const ajv = new Ajv({ strict: false });
  (addFormats as unknown as (ajv: Ajv) => void)(ajv);
  const validate = ajv.compile(schema('run.schema.json'));
  assert.ok(validate(record), JSON.stringify(validate.errors));
});

test('a dataset beside the lock is warned of alike', async () => {
  const args = [project.recipe, '--dataset', 'examples/square.png', '--embedding-cache', 'off'];
  const same = await project.cli(args);
  assert.is(same.code, 0, same.err);
  assert.not.match(same.err, /departs/);
  const { code, err } = await project.cli([...args, '--set', 'nodes.decode.with.max_new_tokens=2']);
  assert.is(code, 0, err);
  assert.match(err, /departs from internvl\.lock\.json: nodes\.decode\.with\.max_new_tokens is 2/);
});

test('changed files, other versions and damaged locks are warned of, and inputs of one’s own are not', async () => {
  const other = new Project();
  try {
    const lock = project.readLock();
    const write = (value: unknown): void =>
      writeFileSync(other.lockFile, typeof value === 'string' ? value : JSON.stringify(value));
    const said = async (...args: string[]): Promise<string> => {
      const { code, err } = await other.cli([other.recipe, ...args]);
      assert.is(code, 0, err);
      return err;
    };
    write(lock);
    assert.not.match(await said('--input', 'image=examples/photo.png', '--input', 'prompt=Why?'), /departs/);
    const config = join(other.model, 'generation_config.json');
    writeFileSync(config, `${readFileSync(config, 'utf8')} `);
    assert.match(await said(), /generation_config\.json has another size/);
    writeFileSync(config, readFileSync(config, 'utf8').replace(/\s$/, '').replace('\n', ' '));
    assert.match(await said(), /generation_config\.json has other content/);
    rmSync(join(other.model, 'processor_config.json'));
    assert.match(await said(), /processor_config\.json is not there/);
    write({ ...lock, versions: { ...lock.versions, 'onnxruntime-node': '0.1' }, preprocessing: 99 });
    const versions = await said();
    assert.match(versions, /departs .*; and \d more/);
    write('{ "format": 1');
    assert.match(await said(), /departs from internvl\.lock\.json: it cannot be compared/);
    write({ format: 2 });
    assert.match(await said(), /a format that this vlm-run does not read/);
    rmSync(other.lockFile);
    assert.not.match(await said(), /lock/);
    assert.not.ok(existsSync(other.lockFile));
  } finally {
    other.remove();
  }
});

test.run();
