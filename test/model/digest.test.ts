import { createHash } from 'node:crypto';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fileDigest, modelDigests } from '../../src/model/digest.js';
import { openModelFolder } from '../../src/model/folder.js';
import { rejectionOf } from '../text/helpers.js';
import { temporary } from './helpers.js';

const sha = (text: string): string => createHash('sha256').update(text).digest('hex');

test('a digest is that of the content, also after a change', async () => {
  const folder = temporary({ a: 'first' });
  const path = join(folder, 'a');
  assert.is(await fileDigest(path), sha('first'));
  assert.is(await fileDigest(path), sha('first'));
  writeFileSync(path, 'second!');
  assert.is(await fileDigest(path), sha('second!'));
  const gone = await rejectionOf(() => fileDigest(join(folder, 'gone')));
  assert.is(gone.code, 'MODEL_INVALID');
});

test('digests of a model cover configuration, template, programs and their external weights', async () => {
  const folder = temporary({
    'config.json': '{"model_type":"internvl"}',
    'chat_template.jinja': 'x',
    'tokenizer.json': '{}',
    'vision.onnx': 'v',
    'vision.onnx.data': 'w',
    'language.onnx': 'l',
    'language.onnx_data': 'm',
    'model.safetensors': 'not read by a run',
  });
  const digests = await modelDigests(await openModelFolder({ path: folder }));
  assert.equal(Object.keys(digests), [
    'chat_template.jinja',
    'config.json',
    'language.onnx',
    'language.onnx_data',
    'tokenizer.json',
    'vision.onnx',
    'vision.onnx.data',
  ]);
  assert.is(digests['vision.onnx.data'], sha('w'));
});

test('compiled programs go by their role, folder or file', async () => {
  const folder = temporary({ 'config.json': '{"model_type":"internvl"}' });
  for (const role of ['vision', 'language']) {
    mkdirSync(join(folder, role));
    writeFileSync(join(folder, role, 'programqpc.bin'), `a ${role} program`);
  }
  const programs = { vision: join(folder, 'vision'), language: join(folder, 'language', 'programqpc.bin') };
  const digests = await modelDigests(await openModelFolder({ path: folder, programs }));
  assert.is(digests['vision/programqpc.bin'], sha('a vision program'));
  assert.is(digests['language/programqpc.bin'], sha('a language program'));
});

test('a signal stops the reading of weights', async () => {
  const path = join(temporary(), 'huge');
  // Sparse: takes no room, and longer to read than a test file may run.
  writeFileSync(path, '');
  truncateSync(path, 2 ** 38);
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 30);
  assert.is((await rejectionOf(() => fileDigest(path, stop.signal))).code, 'CANCELLED');
  assert.is((await rejectionOf(() => fileDigest(path, stop.signal))).code, 'CANCELLED');
});

test.run();
