import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openModel } from '../../src/model/context.js';
import { openModelFolder, requireProgram } from '../../src/model/folder.js';
import { findSnapshot, hubCache } from '../../src/model/hub.js';
import { packageRoot } from '../../src/util/package-root.js';
import { codeOf, rejectionOf } from '../text/helpers.js';
import { COMMIT, temporary } from './helpers.js';

const golden = join(packageRoot(), 'test', 'golden', 'text');
const config = { model_type: 'internvl' };

test('a folder is found relative to the recipe and its files are read', async () => {
  const folder = await openModelFolder({ path: 'text/internvl-hf' }, { baseDir: join(golden, '..') });
  assert.is(folder.name, 'internvl-hf');
  assert.is(folder.files.config['model_type'], 'internvl');
  assert.is(folder.paths['tokenizer.json'], join(golden, 'internvl-hf', 'tokenizer.json'));
  assert.match(folder.files.chatTemplate ?? '', 'IMG_CONTEXT');
  assert.is(folder.templateFile, join(golden, 'internvl-hf', 'tokenizer_config.json'));
  assert.equal(
    folder.missing.map((m) => m.file),
    ['vision.onnx', 'language.onnx'],
  );
});

test('what is missing is MODEL_MISSING with what to do', async () => {
  const empty = temporary();
  const cases: readonly (readonly [Parameters<typeof openModelFolder>[0], string])[] = [
    [{ path: join(empty, 'nowhere') }, 'model.path'],
    [{ path: empty }, 'config.json'],
    [{ path: join(golden, 'internvl-hf', 'tokenizer_config.json') }, 'a file, not a folder'],
    [{}, 'model.hub'],
    [{ hub: 'org/model' }, 'vlm-run models pull org/model'],
    [{ hub: 'org/model', revision: 'v1' }, 'vlm-run models pull org/model --revision v1'],
    [{ path: empty, hub: 'org/model' }, 'vlm-run models pull org/model'],
  ];
  for (const [ref, hint] of cases) {
    const error = await rejectionOf(() => openModelFolder(ref, { env: { HF_HOME: empty } }));
    assert.is(error.code, 'MODEL_MISSING');
    assert.is(error.exitCode, 3);
    assert.match(error.message, hint);
  }
});

test('programs: the usual names, an exporter’s names, an onnx folder, explicit files', async () => {
  const usual = temporary({
    'config.json': config,
    'vision.onnx': 'v',
    'language.onnx': 'l',
    'other_decoder.onnx': '',
  });
  const first = await openModelFolder({ path: usual });
  assert.is(requireProgram(first, 'vision'), join(usual, 'vision.onnx'));
  assert.is(requireProgram(first, 'language'), join(usual, 'language.onnx'));
  const exported = temporary({
    'config.json': config,
    'onnx/QEffInternEncoderWrapper.onnx': 'v',
    'onnx/QEffInternDecoderWrapper.onnx': 'l',
  });
  const second = await openModelFolder({ path: exported });
  assert.is(requireProgram(second, 'vision'), join(exported, 'onnx', 'QEffInternEncoderWrapper.onnx'));
  assert.is(requireProgram(second, 'language'), join(exported, 'onnx', 'QEffInternDecoderWrapper.onnx'));
  const elsewhere = temporary({ 'enc.onnx': 'v', 'qpc/programqpc.bin': 'l' });
  const third = await openModelFolder(
    { path: usual, programs: { vision: 'enc.onnx', language: 'qpc' } },
    { baseDir: elsewhere },
  );
  assert.is(requireProgram(third, 'vision'), join(elsewhere, 'enc.onnx'));
  assert.is(requireProgram(third, 'language'), join(elsewhere, 'qpc'));
});

test('a program that is not there, not named or named twice is told apart', async () => {
  const folder = temporary({ 'config.json': config, 'a_decoder.onnx': '', 'b_decoder.onnx': '' });
  const opened = await openModelFolder({ path: folder, programs: { vision: 'gone.onnx' } }, { baseDir: folder });
  const vision = codeOf(() => requireProgram(opened, 'vision'));
  assert.is(vision.code, 'MODEL_MISSING');
  assert.match(vision.message, join(folder, 'gone.onnx'));
  const language = codeOf(() => requireProgram(opened, 'language'));
  assert.is(language.code, 'MODEL_MISSING');
  assert.match(language.message, 'a_decoder.onnx, b_decoder.onnx');
  const none = await openModelFolder({ path: temporary({ 'config.json': config }) });
  assert.match(codeOf(() => requireProgram(none, 'vision')).message, 'export');
});

test('broken files are named', async () => {
  const broken: readonly (readonly [Record<string, unknown>, string])[] = [
    [{ 'config.json': '{' }, 'MODEL_INVALID'],
    [{ 'config.json': '[]' }, 'MODEL_INVALID'],
    [{ 'config.json': config, 'preprocessor_config.json': 'x' }, 'MODEL_INVALID'],
    [{ 'config.json': config, 'tokenizer_config.json': 'x' }, 'TOKENIZER_INVALID'],
    [{ 'config.json': 'version https://git-lfs.github.com/spec/v1\noid sha256:0\n' }, 'MODEL_INVALID'],
    [{ 'config.json': config, 'tokenizer_config.json': { chat_template: [{ name: 'a' }] } }, 'TEMPLATE_INVALID'],
  ];
  for (const [files, code] of broken) {
    const folder = temporary(files);
    const error = await rejectionOf(() => openModelFolder({ path: folder }));
    assert.is(error.code, code);
    assert.match(error.message, folder);
  }
  const lfs = temporary(broken[4]![0]);
  assert.match((await rejectionOf(() => openModelFolder({ path: lfs }))).message, 'git lfs pull');
});

test('templates: chat_template.jinja wins, then .json, then tokenizer_config.json', async () => {
  const files: Record<string, unknown> = { 'config.json': config, 'tokenizer_config.json': { chat_template: 'c' } };
  assert.is((await openModelFolder({ path: temporary(files) })).files.chatTemplate, 'c');
  files['chat_template.json'] = { chat_template: 'b' };
  assert.is((await openModelFolder({ path: temporary(files) })).files.chatTemplate, 'b');
  files['chat_template.jinja'] = 'a';
  assert.is((await openModelFolder({ path: temporary(files) })).files.chatTemplate, 'a');
});

test('the cache of Hugging Face is found as its own tools find it', () => {
  assert.is(hubCache({ HF_HUB_CACHE: '/a', HF_HOME: '/b' }), '/a');
  assert.is(hubCache({ HUGGINGFACE_HUB_CACHE: '/c', HF_HOME: '/b' }), '/c');
  assert.is(hubCache({ HF_HOME: '/b' }), '/b/hub');
  assert.is(hubCache({ HF_HOME: '', XDG_CACHE_HOME: '/x' }), '/x/huggingface/hub');
  assert.ok(hubCache({}).endsWith('/.cache/huggingface/hub'));
});

test('hub and revision resolve through refs and snapshots, without network', async () => {
  const cache = temporary({
    'models--org--m/refs/main': `${COMMIT}\n`,
    'models--org--m/refs/release/v2': COMMIT,
    [`models--org--m/snapshots/${COMMIT}/config.json`]: config,
  });
  const env = { HF_HUB_CACHE: cache };
  for (const revision of [undefined, 'main', 'release/v2', COMMIT]) {
    assert.is(findSnapshot('org/m', revision, env)?.commit, COMMIT);
  }
  assert.is(findSnapshot('org/m', 'v3', env), null);
  assert.is(findSnapshot('org/other', undefined, env), null);
  const folder = await openModelFolder({ hub: 'org/m' }, { env });
  assert.equal(folder.hub, { id: 'org/m', revision: 'main', commit: COMMIT });
  assert.is(folder.name, 'org/m');
  assert.match(folder.missing[0]!.remedy, 'vlm-run models pull org/m');
});

test('ids and revisions that would leave the cache are refused', () => {
  for (const id of ['../x', 'a/b/c', 'a/../b', '/etc', '']) {
    assert.is(codeOf(() => findSnapshot(id, 'main', {})).code, 'OPTION_INVALID');
  }
  for (const revision of ['../../x', 'a//b', '.', '']) {
    assert.is(codeOf(() => findSnapshot('org/m', revision, {})).code, 'OPTION_INVALID');
  }
});

test('a folder of configuration stands in where the hub’s snapshot is not on this machine', async () => {
  const folder = temporary({ 'config.json': config });
  const opened = await openModelFolder({ path: folder, hub: 'org/m' }, { env: { HF_HOME: folder } });
  assert.is(opened.hub?.commit, null);
  assert.equal(opened.folders, [folder]);
});

test('a known model of the hub plans from its shipped configuration; a run says all that is missing', async () => {
  const env = { HF_HOME: temporary() };
  const folder = await openModelFolder({ hub: 'OpenGVLab/InternVL2_5-1B' }, { env });
  assert.is(folder.hub?.commit, null);
  const model = await openModel({ hub: 'OpenGVLab/InternVL2_5-1B' }, { env });
  assert.is(model.family.layout(640, 480, {}).visionTokens, 13 * 256);
  for (const error of [codeOf(() => model.text.encode('x')), codeOf(() => requireProgram(folder, 'vision'))]) {
    assert.is(error.code, 'MODEL_MISSING');
    for (const part of [
      'tokenizer.json',
      'vision.onnx',
      'language.onnx',
      '`vlm-run models pull OpenGVLab/InternVL2_5-1B`',
      'export',
    ]) {
      assert.ok(error.message.includes(part), part);
    }
  }
  const own = { config: { model_type: 'internvl' } };
  const cache = temporary({
    'models--OpenGVLab--InternVL2_5-1B/refs/main': COMMIT,
    [`models--OpenGVLab--InternVL2_5-1B/snapshots/${COMMIT}/config.json`]: own.config,
  });
  const pulled = await openModelFolder({ hub: 'OpenGVLab/InternVL2_5-1B' }, { env: { HF_HUB_CACHE: cache } });
  assert.equal(pulled.files.config, own.config);
});

test('opening a model makes the family at once and reads texts only when asked', async () => {
  const context = await openModel({ path: join(golden, 'internvl-hf') });
  assert.is(context.family.family, 'internvl');
  assert.is(context.text.tokenId('<img>') !== undefined, true);
  assert.is(await context.describe('vision'), null);
  const bare = temporary({
    'config.json': {
      model_type: 'internvl_chat',
      template: 'internvl2_5',
      llm_config: { hidden_size: 8, num_hidden_layers: 1, max_position_embeddings: 64 },
      vision_config: { image_size: 448, patch_size: 14 },
    },
  });
  const model = await openModel({ path: bare });
  assert.is(model.family.hiddenSize, 8);
  const error = codeOf(() => model.text.encode('x'));
  assert.is(error.code, 'MODEL_MISSING');
  assert.match(error.message, 'tokenizer.json');
  const unknown = temporary({ 'config.json': { model_type: 'other' } });
  assert.is((await rejectionOf(() => openModel({ path: unknown }))).code, 'MODEL_UNSUPPORTED');
});

test.run();
