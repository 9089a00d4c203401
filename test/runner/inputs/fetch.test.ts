// Places an input may name that are no plain files, and addresses that hold a secret.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../../src/contracts/errors.js';
import { type FetchContext, fetchBytes } from '../../../src/runner/inputs/fetch.js';

const test = suite('places of inputs');
const dir = mkdtempSync(join(tmpdir(), 'vlm-fetch-'));
test.after(() => rmSync(dir, { recursive: true, force: true }));

async function refused(place: string, context: Partial<FetchContext> = {}): Promise<VlmError> {
  try {
    await fetchBytes(place, { input: 'image', ...context });
  } catch (error) {
    assert.instance(error, VlmError);
    return error as VlmError;
  }
  throw new Error(`${place} was read`);
}

const pipe = (name: string): string => {
  const path = join(dir, name);
  execFileSync('mkfifo', [path]);
  return path;
};

test('a pipe is read to its end, and no further than the limit', async () => {
  const path = pipe('slow');
  for (const [limits, expected] of [
    [{}, 5],
    [{ maxBytes: 3 }, 'INPUT_TOO_LARGE'],
  ] as const) {
    const writer = spawn('sh', ['-c', `exec > "${path}"; printf ab; sleep 0.2; printf cde`], { stdio: 'ignore' });
    const ended = new Promise((resolve) => writer.once('exit', resolve));
    if (expected === 5) {
      const { bytes } = await fetchBytes(path, { input: 'image', limits });
      assert.is(Buffer.from(bytes).toString(), 'abcde');
    } else assert.is((await refused(path, { limits })).code, expected);
    await ended;
  }
});

test('a pipe that nobody writes to is given up when the run is cancelled', async () => {
  const stop = new AbortController();
  const waiting = refused(pipe('silent'), { signal: stop.signal });
  setTimeout(() => stop.abort(), 50);
  assert.is((await waiting).code, 'CANCELLED');
});

test('devices, other addresses and nothing at all are refused', async () => {
  for (const [place, code] of [
    ['/dev/zero', 'INPUT_UNREADABLE'],
    ['/dev/null', 'INPUT_UNREADABLE'],
    ['ftp://host/cat.png', 'INPUT_UNREADABLE'],
    ['', 'INPUT_MISSING'],
    [' ', 'INPUT_MISSING'],
  ] as const) {
    const error = await refused(place);
    assert.is(error.code, code, place);
    assert.is(error.details.where, 'input "image"');
  }
});

test('data URLs: bytes in percents, base64 over lines, and base64 that is damaged', async () => {
  const read = async (url: string): Promise<string> =>
    Buffer.from((await fetchBytes(url, { input: 'image' })).bytes).toString('hex');
  assert.is(await read('data:image/png,%89PNG%0d%0a100%'), Buffer.from('\x89PNG\r\n100%', 'latin1').toString('hex'));
  assert.is(await read('data:image/png;base64,iVBO\nRw%3D%3D'), '89504e47');
  for (const body of ['!!!!', 'iVBORw0KGgoA!AAA', 'iVBOR', 'iVBO=Rw']) {
    assert.is((await refused(`data:image/png;base64,${body}`)).code, 'INPUT_UNREADABLE', body);
  }
});

test('a name and password in an address are sent as a header, and shown nowhere', async () => {
  const seen: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.statusCode = seen.length > 1 ? 403 : 200;
    response.end('x');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = `http://me:p%40ss@127.0.0.1:${(server.address() as AddressInfo).port}/a.png?key=secret`;
  try {
    const fetched = await fetchBytes(address, { input: 'image' });
    assert.not.match(fetched.name, /secret|ss@/);
    const error = await refused(address);
    assert.is(error.code, 'DOWNLOAD_FAILED');
    assert.not.match(JSON.stringify(error.toData()), /secret|p%40ss|p@ss/);
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
  assert.is(seen[0], `Basic ${Buffer.from('me:p@ss').toString('base64')}`);
});

test.run();
