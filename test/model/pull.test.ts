import { existsSync, lstatSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openModelFolder } from '../../src/model/folder.js';
import { findSnapshot } from '../../src/model/hub.js';
import { pullModel } from '../../src/model/pull.js';
import { cachedModels, reportModel } from '../../src/model/report.js';
import { rejectionOf } from '../text/helpers.js';
import { bytes, FILES, withHub } from './fake-hub.js';
import { COMMIT, temporary } from './helpers.js';

const filesBelow = (folder: string): readonly string[] =>
  (readdirSync(folder, { recursive: true }) as string[]).filter((name) => !lstatSync(join(folder, name)).isDirectory());

test('a pull fills the standard cache with what a run reads, and no more', async () => {
  await withHub(async (_hub, env) => {
    const seen: string[] = [];
    const result = await pullModel('org/m', { env, onFile: (file) => seen.push(file.path) });
    const repo = join(env['HF_HUB_CACHE']!, 'models--org--m');
    assert.is(result.commit, COMMIT);
    assert.is(result.folder, join(repo, 'snapshots', COMMIT));
    const wanted = [
      'config.json',
      'tokenizer.json',
      'chat_template.jinja',
      'onnx/vision.onnx',
      'onnx/vision.onnx_data',
    ];
    assert.equal(seen, wanted);
    assert.equal(result.skipped, ['model.safetensors', 'model.safetensors.index.json', 'README.md']);
    for (const name of wanted) {
      const path = join(result.folder, name);
      assert.ok(lstatSync(path).isSymbolicLink());
      assert.ok(readFileSync(path).equals(bytes(name)), name);
    }
    assert.is(readFileSync(join(repo, 'refs', 'main'), 'utf8'), COMMIT);
    const folder = await openModelFolder({ hub: 'org/m' }, { env });
    assert.is(folder.files.config['model_type'], 'internvl');
    assert.equal(cachedModels(env), ['org/m']);
  });
});

test('a second pull asks for no file again; --all brings the rest', async () => {
  await withHub(async (hub, env) => {
    await pullModel('org/m', { env });
    hub.requests.length = 0;
    const again = await pullModel('org/m', { env, revision: COMMIT });
    assert.ok(again.files.every((file) => file.cached));
    assert.not.ok(hub.requests.some((request) => request.includes('/resolve/')));
    const all = await pullModel('org/m', { env, all: true });
    assert.is(all.files.length, Object.keys(FILES).length);
    assert.ok(existsSync(join(all.folder, 'model.safetensors')));
  });
});

test('links whose blobs were deleted are replaced', async () => {
  await withHub(async (_hub, env) => {
    const { folder } = await pullModel('org/m', { env });
    rmSync(join(env['HF_HUB_CACHE']!, 'models--org--m', 'blobs'), { recursive: true });
    const again = await pullModel('org/m', { env });
    assert.not.ok(again.files.some((file) => file.cached));
    assert.ok(readFileSync(join(folder, 'config.json')).equals(bytes('config.json')));
    assert.not.ok(readdirSync(folder).some((name) => name.endsWith('.link')));
  });
});

test('a damaged file is DOWNLOAD_FAILED, is not kept, and the name is not set', async () => {
  await withHub(async (hub, env) => {
    hub.intercept = (path, response) => {
      if (!path.endsWith('/tokenizer.json')) return false;
      const wrong = 'x'.repeat(bytes('tokenizer.json').length);
      response.writeHead(200, { etag: '"x"', 'content-range': `bytes 0-0/${wrong.length}` }).end(wrong);
      return true;
    };
    const error = await rejectionOf(() => pullModel('org/m', { env }));
    assert.is(error.code, 'DOWNLOAD_FAILED');
    assert.match(error.message, 'tokenizer.json');
    const repo = join(env['HF_HUB_CACHE']!, 'models--org--m');
    assert.not.ok(existsSync(join(repo, 'refs', 'main')));
    assert.not.ok(existsSync(join(repo, 'snapshots', COMMIT, 'tokenizer.json')));
    hub.intercept = () => false;
    assert.is((await pullModel('org/m', { env })).files.length, 5);
  });
});

test('what the hub refuses says what to do', async () => {
  await withHub(async (hub, env) => {
    const unknown = await rejectionOf(() => pullModel('org/unknown', { env }));
    assert.is(unknown.code, 'DOWNLOAD_FAILED');
    assert.match(unknown.message, 'status 404');
    hub.intercept = (_path, response) => {
      response.writeHead(403, { 'content-type': 'application/json' }).end('{"error":"gated"}');
      return true;
    };
    assert.match((await rejectionOf(() => pullModel('org/m', { env }))).message, 'HF_TOKEN');
    hub.intercept = (_path, response) => {
      response.destroy();
      return true;
    };
    assert.match((await rejectionOf(() => pullModel('org/m', { env }))).message, 'check the network');
  });
});

for (const [status, hint] of [
  [401, 'HF_TOKEN'],
  [403, 'HF_TOKEN'],
  [404, 'check the name'],
  [429, 'wait'],
  [500, 'try again later'],
] as const) {
  for (const at of ['/api/models/', '/tree/', '/resolve/']) {
    test(`status ${status} at ${at}: what to do, and nothing that passes for whole`, async () => {
      await withHub(async (hub, env) => {
        hub.intercept = (path, response) => {
          const isMeant = at === '/api/models/' ? !path.includes('/tree/') && path.startsWith(at) : path.includes(at);
          if (isMeant) response.writeHead(status, { 'content-type': 'text/html' }).end('<html>no</html>');
          return isMeant;
        };
        const error = await rejectionOf(() => pullModel('org/m', { env }));
        assert.is(error.code, 'DOWNLOAD_FAILED');
        // The client says of a file that is not there that it is not there.
        if (!(status === 404 && at === '/resolve/')) assert.match(error.message, hint);
        assert.equal(filesBelow(env['HF_HUB_CACHE']!), []);
      });
    });
  }
}

test('a body that ends too early is not kept', async () => {
  await withHub(async (hub, env) => {
    for (const end of ['destroy', 'end'] as const) {
      hub.intercept = (path, response) => {
        if (!path.endsWith('/onnx/vision.onnx')) return false;
        response.writeHead(200, { etag: '"x"', 'content-range': 'bytes 0-99999/100000' });
        response.write('v'.repeat(500), () => response[end]());
        return true;
      };
      assert.is((await rejectionOf(() => pullModel('org/m', { env }))).code, 'DOWNLOAD_FAILED');
      const left = filesBelow(env['HF_HUB_CACHE']!);
      assert.not.ok(
        left.some((name) => /incomplete|vision|refs/.test(name)),
        left.join(),
      );
    }
    hub.intercept = () => false;
    assert.is((await pullModel('org/m', { env })).files.length, 5);
  });
});

test('what is no id of a model, no revision and no token never reaches the network', async () => {
  await withHub(async (hub, env) => {
    for (const id of ['', 'a/b/c', '../x', './x', 'a/..', 'a/ b', 'a b', '/a', 'a/', '-a/b', 'a--b/c', 'ä/b']) {
      const { code, message } = await rejectionOf(() => pullModel(id, { env }));
      assert.is(code, 'OPTION_INVALID', id);
      assert.match(message, 'models pull');
    }
    for (const revision of ['', '..', 'a//b', 'a b']) {
      assert.is((await rejectionOf(() => pullModel('org/m', { env, revision }))).code, 'OPTION_INVALID', revision);
    }
    const token = await rejectionOf(() => pullModel('org/m', { env: { ...env, HF_TOKEN: 'secret' } }));
    assert.match(token.message, 'begins with hf_');
    assert.not.match(token.message, 'secret');
    assert.equal(hub.requests, []);
  });
});

test('a cache that cannot be written is that, and no defect', async () => {
  await withHub(async (_hub, env) => {
    const file = join(temporary({ taken: 'x' }), 'taken');
    for (const cache of [file, '/proc/vlm-run-none']) {
      const error = await rejectionOf(() => pullModel('org/m', { env: { ...env, HF_HUB_CACHE: cache } }));
      assert.is(error.code, 'OUTPUT_UNWRITABLE');
      assert.match(error.message, 'HF_HUB_CACHE');
    }
  });
});

test('a signal stops a pull in the middle of a file: nothing half stays, what is whole does', async () => {
  await withHub(async (hub, env) => {
    const stop = new AbortController();
    hub.intercept = (path, response) => {
      if (!path.endsWith('/onnx/vision.onnx')) return false;
      response.writeHead(200, { etag: '"x"', 'content-range': 'bytes 0-99999/100000' }).write('v'.repeat(500));
      setTimeout(() => stop.abort(), 50);
      return true;
    };
    const error = await rejectionOf(() => pullModel('org/m', { env, signal: stop.signal }));
    assert.is(error.code, 'CANCELLED');
    const left = filesBelow(env['HF_HUB_CACHE']!);
    assert.not.ok(
      left.some((name) => /incomplete|vision|refs/.test(name)),
      left.join(),
    );
    // Nor half a snapshot: a recipe may name the commit itself.
    assert.equal([...new Set(left.map((name) => dirname(name)))], [join('models--org--m', 'blobs')]);
    assert.is(findSnapshot('org/m', COMMIT, env), null);
    hub.intercept = () => false;
    const { files } = await pullModel('org/m', { env });
    assert.ok(files.find((file) => file.path === 'config.json')?.cached);
    assert.ok(findSnapshot('org/m', COMMIT, env) !== null);
  });
});

test('HF_HUB_OFFLINE is respected, and progress is told', async () => {
  await withHub(async (hub, env) => {
    const error = await rejectionOf(() => pullModel('org/m', { env: { ...env, HF_HUB_OFFLINE: '1' } }));
    assert.is(error.code, 'DOWNLOAD_FAILED');
    assert.equal(hub.requests, []);
    const last = new Map<string, number>();
    await pullModel('org/m', { env, onProgress: (path, done) => last.set(path, done) });
    assert.is(last.get('onnx/vision.onnx'), 100_000);
  });
});

test('names of files that would leave the cache are refused', async () => {
  await withHub(async (hub, env) => {
    hub.intercept = (path, response) => {
      if (!path.includes('/tree/')) return false;
      const evil = { type: 'file', path: '../../evil.json', size: 1, oid: 'a'.repeat(40) };
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify([evil]));
      return true;
    };
    const error = await rejectionOf(() => pullModel('org/m', { env }));
    assert.is(error.code, 'DOWNLOAD_FAILED');
    assert.match(error.message, 'unsafe name');
  });
  assert.is((await rejectionOf(() => pullModel('../m', { env: {} }))).code, 'OPTION_INVALID');
});

test('a report tells files, sizes, what is missing and what the family finds wrong', async () => {
  await withHub(async (_hub, env) => {
    await pullModel('org/m', { env });
    const report = await reportModel({ hub: 'org/m' }, { env });
    assert.is(report.family, null);
    assert.is(report.problem?.code, 'MODEL_INVALID');
    assert.is(report.files.find((file) => file.file === 'vision program')?.bytes, 100_000);
    assert.equal(
      report.missing.map((m) => m.file),
      ['tokenizer_config.json', 'language.onnx'],
    );
  });
});

test.run();
