/** A server on this machine that imitates the parts of the hub's API that a pull uses. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { COMMIT, temporary } from './helpers.js';

export const FILES: Readonly<Record<string, string>> = {
  'config.json': '{"model_type":"internvl"}',
  'tokenizer.json': '{"model":{"type":"BPE"}}',
  'chat_template.jinja': 'ü'.repeat(100),
  'onnx/vision.onnx': 'v'.repeat(100_000),
  'onnx/vision.onnx_data': 'd'.repeat(10),
  'model.safetensors': 'weights',
  'model.safetensors.index.json': '{}',
  'README.md': '# model',
};
const LFS = new Set(['onnx/vision.onnx', 'onnx/vision.onnx_data', 'model.safetensors']);

export interface Fake {
  readonly url: string;
  readonly requests: string[];
  /** Changes what a request gets. */
  intercept: (path: string, response: ServerResponse) => boolean;
  close(): Promise<void>;
}

export const bytes = (name: string): Buffer => Buffer.from(FILES[name] ?? '');

function entry(name: string) {
  const content = bytes(name);
  const oid = createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
  const sha256 = createHash('sha256').update(content).digest('hex');
  return LFS.has(name)
    ? {
        type: 'file',
        path: name,
        size: content.length,
        oid,
        lfs: { oid: sha256, size: content.length, pointerSize: 130 },
      }
    : { type: 'file', path: name, size: content.length, oid };
}

async function fakeHub(): Promise<Fake> {
  const fake: { requests: string[]; intercept: Fake['intercept'] } = { requests: [], intercept: () => false };
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url ?? '/', 'http://hub');
    fake.requests.push(`${request.method} ${url.pathname}`);
    if (fake.intercept(url.pathname, response)) return;
    const json = (value: unknown): void => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    };
    if (url.pathname === '/api/models/org/m/revision/main' || url.pathname === `/api/models/org/m/revision/${COMMIT}`) {
      return json({ _id: '1', id: 'org/m', sha: COMMIT, lastModified: '2026-01-01T00:00:00Z' });
    }
    if (url.pathname === `/api/models/org/m/tree/${COMMIT}`) {
      return json([{ type: 'directory', path: 'onnx', size: 0, oid: '0' }, ...Object.keys(FILES).map(entry)]);
    }
    const name = url.pathname.replace(`/org/m/resolve/${COMMIT}/`, '');
    if (FILES[name] !== undefined) {
      const content = bytes(name);
      const range = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '');
      const [from, to] = range === null ? [0, content.length - 1] : [Number(range[1]), Number(range[2])];
      const part = content.subarray(from, to + 1);
      response.writeHead(range === null ? 200 : 206, {
        etag: '"x"',
        'content-length': part.length,
        'content-range': `bytes ${from}-${to}/${content.length}`,
      });
      response.end(part);
      return;
    }
    response.writeHead(404, { 'content-type': 'application/json' }).end('{"error":"Repository not found"}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return Object.assign(fake, {
    url: `http://127.0.0.1:${port}`,
    close: () => new Promise<void>((resolve) => server.close(() => resolve())),
  });
}

/** Runs `action` with a hub and the environment that points to it and to an empty cache, whatever the user's own says. */
export async function withHub(action: (hub: Fake, env: Record<string, string>) => Promise<void>): Promise<void> {
  const hub = await fakeHub();
  try {
    await action(hub, { HF_HUB_CACHE: temporary(), HF_ENDPOINT: hub.url, HF_HUB_OFFLINE: '', HF_TOKEN: '' });
  } finally {
    await hub.close();
  }
}
