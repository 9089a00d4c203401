// Inputs from https: addresses, from a server whose certificate is made here. Whom Node.js trusts is settled when a process
// starts (NODE_EXTRA_CA_CERTS), so addresses are fetched by a child.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createPlain, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ErrorData } from '../../../src/contracts/errors.js';
import { packageRoot } from '../../../src/util/package-root.js';
import { cli, type Ended } from '../../cli/fakes/spawn.js';
import { selfSigned } from './certificate.js';

const test = suite('https inputs');
const dir = mkdtempSync(join(tmpdir(), 'vlm-https-'));
const picture = join(packageRoot(), 'examples', 'scene.png');
const bytes = readFileSync(picture);
const authority = join(dir, 'authority.pem');
const own = selfSigned('localhost');
writeFileSync(authority, own.cert);

const seen: IncomingMessage[] = [];
const servers: Server[] = [];
const tls = { trusted: '', stranger: '', elsewhere: '', plain: '' };

/** What each address is answered with; one that is not here is not found. */
const PAGES: Readonly<Record<string, (response: ServerResponse) => unknown>> = {
  '/good.png': (response) => response.writeHead(200, { 'content-type': 'image/png' }).end(bytes),
  '/moved.png': (response) => moved(response, `${tls.elsewhere}/good.png`),
  '/open.png': (response) => moved(response, `${tls.plain}/good.png?key=secret`),
  '/circle.png': (response) => moved(response, '/circle.png'),
  '/file.png': (response) => moved(response, `file://${picture}`),
  '/large.png': (response) => response.end(Buffer.alloc(2000)),
  '/endless.png': (response) => response.write(Buffer.alloc(2000)),
  '/slow.png': (response) => response.write('x'),
};

const moved = (response: ServerResponse, place: string): unknown => response.writeHead(302, { location: place }).end();

function answer(request: IncomingMessage, response: ServerResponse): void {
  seen.push(request);
  const page = PAGES[(request.url ?? '').replace(/\?.*/, '')];
  if (page === undefined) response.writeHead(404).end();
  else page(response);
}

test.before(async () => {
  const open = async (name: keyof typeof tls, server: Server, scheme = 'https'): Promise<void> => {
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    tls[name] = `${scheme}://localhost:${(server.address() as AddressInfo).port}`;
  };
  await open('trusted', createServer(own, answer));
  await open('elsewhere', createServer(own, answer));
  await open('stranger', createServer(selfSigned('localhost'), answer));
  await open('plain', createPlain(answer) as Server, 'http');
});

test.after(async () => {
  for (const server of servers) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  rmSync(dir, { recursive: true, force: true });
});

interface Told {
  readonly sha256?: string;
  readonly name?: string;
  readonly error?: ErrorData;
}

const SCRIPT = `
  const { fetchBytes } = await import('./.build/src/runner/inputs/fetch.js');
  const { createHash } = await import('node:crypto');
  const told = [];
  for (const [place, limits] of JSON.parse(process.argv[1])) {
    try {
      const { bytes, name } = await fetchBytes(place, { input: 'image', limits });
      told.push({ name, sha256: createHash('sha256').update(bytes).digest('hex') });
    } catch (error) {
      told.push({ error: error.toData() });
    }
  }
  console.log(JSON.stringify(told));
`;

type Wanted = readonly [place: string, limits?: Readonly<Record<string, number>>];

async function fetched(...wanted: readonly Wanted[]): Promise<readonly Told[]> {
  const args = ['--input-type=module', '-e', SCRIPT, JSON.stringify(wanted)];
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: authority };
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: packageRoot(), env });
  return JSON.parse(stdout) as readonly Told[];
}

const sha256 = createHash('sha256').update(bytes).digest('hex');

test('a picture comes whole, also when another host has it', async () => {
  const secret = tls.trusted.replace('//', '//me:word@');
  const told = await fetched([`${tls.trusted}/good.png`], [`${secret}/moved.png?key=secret`]);
  assert.equal(told, [
    { name: `${tls.trusted}/good.png`, sha256 },
    { name: `${tls.trusted}/moved.png`, sha256 },
  ]);
  const asked = seen.map(({ url, headers }) => [url, headers.authorization !== undefined]);
  assert.equal(asked, [
    ['/good.png', false],
    ['/moved.png?key=secret', true],
    ['/good.png', false],
  ]);
});

test('what is not trusted, not there, too large, too slow or leads astray is refused', async () => {
  const small = { maxBytes: 1000 };
  const [stranger, wrongName, missing, large, endless, slow, open, circle, file] = await fetched(
    [`${tls.stranger}/good.png`],
    [`${tls.trusted.replace('localhost', '127.0.0.1')}/good.png`],
    [`${tls.trusted}/none.png`],
    [`${tls.trusted}/large.png`, small],
    [`${tls.trusted}/endless.png`, small],
    [`${tls.trusted}/slow.png`, { timeoutMs: 300 }],
    [`${tls.trusted}/open.png`],
    [`${tls.trusted}/circle.png`],
    [`${tls.trusted}/file.png`],
  );
  for (const told of [stranger, wrongName, missing, slow, open, circle, file]) {
    assert.is(told?.error?.code, 'DOWNLOAD_FAILED', JSON.stringify(told));
    assert.is(told?.error?.where, 'input "image"');
  }
  for (const told of [stranger, wrongName]) assert.match(told?.error?.hint ?? '', 'NODE_EXTRA_CA_CERTS');
  assert.match(missing?.error?.what ?? '', '404');
  assert.is(large?.error?.code, 'INPUT_TOO_LARGE');
  assert.is(endless?.error?.code, 'INPUT_TOO_LARGE');
  assert.match(slow?.error?.what ?? '', 'not there after 0.3 s');
  assert.match(open?.error?.what ?? '', `${tls.plain}/good.png, which is not encrypted`);
  assert.not.match(JSON.stringify(open), 'secret');
  for (const { error } of [stranger, missing, large, slow, open, circle, file] as readonly Told[]) {
    assert.ok((error?.hint ?? '').length > 10, JSON.stringify(error));
  }
  for (const told of [missing, circle, file]) assert.not.match(told?.error?.hint ?? '', 'NODE_EXTRA_CA_CERTS');
});

test('the command line: the answer is that of the file; an untrusted server ends with exit code 3', async () => {
  const recipe = join(packageRoot(), 'pipelines', 'internvl.yaml');
  const ask = (image: string): Promise<Ended> =>
    cli([recipe, '--quiet', '--set', 'nodes.decode.with.max_new_tokens=8', '--input', `image=${image}`], {
      env: { NODE_EXTRA_CA_CERTS: authority },
    });
  const [local, remote, stranger] = await Promise.all(
    [picture, `${tls.trusted}/good.png`, `${tls.stranger}/good.png`].map(ask),
  );
  assert.is(remote?.code, 0, remote?.err);
  assert.is(remote?.out, local?.out);
  assert.is(stranger?.code, 3, stranger?.err);
  assert.is(stranger?.out, '');
  assert.match(stranger?.err ?? '', 'NODE_EXTRA_CA_CERTS');
  assert.not.match(stranger?.err ?? '', /\n +at /);
});

test.run();
