import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../../src/contracts/errors.js';
import type { Plan, PlanInput } from '../../../src/contracts/recipe.js';
import { type InputGiven, type LoadOptions, loadInputs } from '../../../src/runner/inputs/load.js';
import { mapPictures } from '../../../src/runner/inputs/messages.js';
import { fakePlan } from '../fakes/plans.js';

const test = suite('inputs');
const dir = mkdtempSync(join(tmpdir(), 'vlm-inputs-'));
const PNG = Uint8Array.from([1, 2, 3, 250]);
let server: Server;
let base = '';

test.before(async () => {
  mkdirSync(join(dir, 'chat'));
  writeFileSync(join(dir, 'a.png'), PNG);
  writeFileSync(join(dir, 'chat', 'b.png'), Uint8Array.from([9]));
  writeFileSync(join(dir, 'ask.txt'), 'What is ä?\n');
  writeFileSync(join(dir, 'latin.txt'), Uint8Array.from([0xe4]));
  server = createServer((request, response) => {
    if (request.url === '/a.png?key=secret') response.end(PNG);
    else if (request.url === '/endless') response.write(new Uint8Array(5000));
    else if (request.url === '/large') response.writeHead(200, { 'content-length': '4000' }).end(new Uint8Array(4000));
    else if (request.url === '/drip') {
      const timer = setInterval(() => response.write(new Uint8Array(900)), 5);
      response.on('close', () => clearInterval(timer));
    } else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
test.after(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(dir, { recursive: true, force: true });
});

function planWith(inputs: Record<string, Partial<PlanInput>>): Plan {
  const full = Object.entries(inputs).map(([name, input]): [string, PlanInput] => [
    name,
    { name, type: 'image', many: false, required: true, ...input },
  ]);
  return { ...fakePlan({}, {}), file: join(dir, 'recipe.yaml'), inputs: Object.fromEntries(full) };
}

const load = (
  inputs: Record<string, Partial<PlanInput>>,
  given: Record<string, InputGiven>,
  options: LoadOptions = {},
) => loadInputs(planWith(inputs), given, { cwd: dir, ...options });

async function fails(code: string, work: Promise<unknown>): Promise<VlmError> {
  try {
    await work;
  } catch (error) {
    assert.instance(error, VlmError);
    assert.is((error as VlmError).code, code, (error as VlmError).message);
    return error as VlmError;
  }
  throw new VlmError('INTERNAL', { what: `nothing was thrown instead of ${code}` });
}

test('an image from a path, a file: address, a data URL, an address, standard input, bytes', async () => {
  const stdin = async function* () {
    yield PNG.subarray(0, 2);
    yield PNG.subarray(2);
  };
  const places: InputGiven[] = [
    'a.png',
    join(dir, 'a.png'),
    pathToFileURL(join(dir, 'a.png')).href,
    `data:image/png;base64,${Buffer.from(PNG).toString('base64')}`,
    'data:image/png,%01%02%03',
    `${base}/a.png?key=secret`,
    '-',
    PNG,
    { kind: 'image', bytes: PNG, name: 'given' },
  ];
  for (const place of places) {
    const { values } = await load({ image: {} }, { image: place }, { stdin: stdin() });
    const value = values['image'];
    assert.ok(value !== undefined && 'kind' in value && value.kind === 'image');
    const expected = place === 'data:image/png,%01%02%03' ? [1, 2, 3] : Array.from(PNG);
    assert.equal(Array.from(value.bytes), expected, String(place));
    assert.is.not(value.bytes.buffer, PNG.buffer, 'the caller keeps its bytes');
    assert.not.match(value.name, 'secret');
  }
});

test('digests tell what was given', async () => {
  const { digests } = await load({ image: {}, prompt: { type: 'text' } }, { image: 'a.png', prompt: 'hi' });
  assert.equal(
    digests.map((d) => [d.input, d.name, d.bytes, d.sha256.length]),
    [
      ['image', 'a.png', 4, 64],
      ['prompt', 'text', 2, 64],
    ],
  );
});

test('text as it is, from a file without its last newline, with an e-mail address', async () => {
  const of = async (given: InputGiven) =>
    (await load({ prompt: { type: 'text' } }, { prompt: given })).values['prompt'];
  assert.equal(await of('me@example.org'), { kind: 'text', text: 'me@example.org' });
  assert.equal(await of({ file: 'ask.txt' }), { kind: 'text', text: 'What is ä?' });
  await fails('INPUT_UNREADABLE', of({ file: 'latin.txt' }));
});

test('defaults start from the recipe, given values from the working directory', async () => {
  const inputs = { image: { default: 'a.png' } };
  const { values } = await loadInputs(planWith(inputs), {}, { cwd: '/' });
  assert.ok('image' in values);
  await fails('INPUT_UNREADABLE', loadInputs(planWith(inputs), { image: 'a.png' }, { cwd: '/' }));
  const hintOf = async (cwd?: string): Promise<string> => {
    const missing = planWith({ image: { default: 'none.png' } });
    const loading = cwd === undefined ? loadInputs(missing, {}) : loadInputs(missing, { image: 'none.png' }, { cwd });
    return (await fails('INPUT_UNREADABLE', loading)).details.hint ?? '';
  };
  assert.match(await hintOf(), 'start from its folder');
  assert.match(await hintOf('/'), 'start from its folder, here /');
  assert.match(await hintOf(process.cwd()), 'command line start from the working directory');
});

test('unknown, missing, optional, several', async () => {
  const error = await fails(
    'INPUT_UNKNOWN',
    load({ image: {} }, { imgae: 'a.png' }, { suggest: (word, known) => `${word}? ${known.join()}` }),
  );
  assert.is(error.details.hint, 'imgae? image');
  await fails('INPUT_MISSING', load({ image: {} }, {}));
  const missing = await fails('INPUT_MISSING', load({ image: { description: 'The cat.' } }, {}));
  assert.is(missing.details.expected, 'a value of type image: The cat.');
  assert.equal((await load({ image: { required: false } }, {})).values, {});
  await fails('OPTION_INVALID', load({ image: {} }, { image: ['a.png', 'a.png'] }));
  const { values } = await load({ image: { many: true } }, { image: ['a.png', 'chat/b.png'] });
  assert.is((values['image'] as readonly unknown[]).length, 2);
  const one = await load({ image: { many: true } }, { image: 'a.png' });
  assert.is((one.values['image'] as readonly unknown[]).length, 1);
});

test('a name that every object has is no input', async () => {
  for (const name of ['toString', 'constructor', '__proto__']) {
    const given = Object.defineProperty({ image: 'a.png' }, name, { value: 'x', enumerable: true });
    await fails('INPUT_UNKNOWN', load({ image: {} }, given));
    await fails('INPUT_MISSING', load({ [name]: { type: 'text' } }, {}));
  }
});

test('what only says that it is a value of a port is judged as anything else', async () => {
  const image = { kind: 'image', bytes: PNG, name: 'given' } as const;
  for (const given of [{ kind: 'image' }, { ...image, bytes: 5 }, { ...image, name: 5 }]) {
    await fails('OPTION_INVALID', load({ image: {} }, { image: given }));
  }
  await fails('OPTION_INVALID', load({ ask: { type: 'text' } }, { ask: { kind: 'text' } }));
  const message = { role: 'user', content: [{ type: 'image', image: 0 }] };
  const wrong = [
    { messages: [{ role: 5, content: 'x' }], images: [] },
    { messages: [{ role: 'user', content: [{ type: 'text' }] }], images: [image] },
    { messages: 'x', images: [] },
    { images: [] },
  ];
  for (const value of wrong) {
    await fails('INPUT_UNREADABLE', load({ chat: { type: 'messages' } }, { chat: { kind: 'messages', ...value } }));
  }
  const chat = { kind: 'messages', messages: [message], images: [image] };
  const { values } = await load({ chat: { type: 'messages' } }, { chat });
  assert.equal(values['chat'], chat);
});

test('what cannot be read', async () => {
  await fails('INPUT_UNREADABLE', load({ image: {} }, { image: 'none.png' }));
  await fails('INPUT_UNREADABLE', load({ image: {} }, { image: '.' }));
  await fails('INPUT_UNREADABLE', load({ image: {} }, { image: '-' }));
  await fails('INPUT_UNREADABLE', load({ image: {} }, { image: 'data:nonsense' }));
  await fails('DOWNLOAD_FAILED', load({ image: {} }, { image: `${base}/nothing` }));
  await fails('DOWNLOAD_FAILED', load({ image: {} }, { image: 'http://127.0.0.1:1/x.png' }));
});

test('limits of size and time', async () => {
  const limits = { maxBytes: 3 };
  await fails('INPUT_TOO_LARGE', load({ image: {} }, { image: 'a.png' }, { limits }));
  await fails('INPUT_TOO_LARGE', load({ image: {} }, { image: 'data:,abcd' }, { limits }));
  for (const path of ['large', 'drip']) {
    await fails('INPUT_TOO_LARGE', load({ image: {} }, { image: `${base}/${path}` }, { limits: { maxBytes: 3000 } }));
  }
  const error = await fails(
    'DOWNLOAD_FAILED',
    load({ image: {} }, { image: `${base}/endless` }, { limits: { timeoutMs: 100 } }),
  );
  assert.match(error.details.what, '0.1 s');
});

test('a download ends when the run is cancelled', async () => {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 50);
  await fails('CANCELLED', load({ image: {} }, { image: `${base}/endless` }, { signal: controller.signal }));
});

test('a conversation from JSON or YAML, its images beside it', async () => {
  const messages = [
    { role: 'system', content: 'Be brief.' },
    {
      role: 'user',
      content: [
        { type: 'image', image: 'b.png' },
        { type: 'text', text: 'What?' },
      ],
    },
    { role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:,xy' } }, 'And this?'] },
  ];
  writeFileSync(join(dir, 'chat', 'c.json'), JSON.stringify({ messages }));
  writeFileSync(
    join(dir, 'chat', 'c.yaml'),
    '- { role: system, content: Be brief. }\n- { role: user, content: [{ type: image, image: b.png }, { type: text, text: What? }] }\n- { role: user, content: [{ type: image_url, image_url: { url: "data:,xy" } }, And this?] }\n',
  );
  for (const given of ['chat/c.json', 'chat/c.yaml']) {
    const { values, digests } = await load({ chat: { type: 'messages' } }, { chat: given });
    const value = values['chat'];
    assert.ok(value !== undefined && 'kind' in value && value.kind === 'messages');
    assert.equal(value.messages, [
      { role: 'system', content: 'Be brief.' },
      {
        role: 'user',
        content: [
          { type: 'image', image: 0 },
          { type: 'text', text: 'What?' },
        ],
      },
      {
        role: 'user',
        content: [
          { type: 'image', image: 1 },
          { type: 'text', text: 'And this?' },
        ],
      },
    ]);
    assert.equal(
      value.images.map((i) => Array.from(i.bytes)),
      [[9], [120, 121]],
    );
    assert.is(digests.length, 3);
  }
});

test('pictures of a conversation lie beside its file, however that is named; those of a pipe in the working directory', async () => {
  const folder = join(dir, 'a b');
  mkdirSync(folder);
  writeFileSync(join(folder, 'own.png'), Uint8Array.from([7]));
  const chat = (image: string) => JSON.stringify([{ role: 'user', content: [{ type: 'image', image }, 'What?'] }]);
  writeFileSync(join(folder, 'chat.json'), chat('own.png'));
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const shell = `cat > "${pipe}"`;
  for (const [place, picture] of [
    [pathToFileURL(join(folder, 'chat.json')).href, 7],
    [pipe, PNG[0]],
  ] as const) {
    const writer = place === pipe ? spawn('sh', ['-c', shell], { stdio: ['pipe', 'ignore', 'ignore'] }) : null;
    writer?.stdin.end(chat('a.png'));
    const { values } = await load({ chat: { type: 'messages' } }, { chat: place });
    const value = values['chat'];
    assert.ok(value !== undefined && 'kind' in value && value.kind === 'messages');
    assert.is(value.images[0]?.bytes[0], picture);
  }
});

test('the places of the pictures of a conversation can be changed, and nothing else of it', () => {
  const chat = (image: string, url: string) => ({
    messages: [
      { role: 'user', content: [{ type: 'image', image }, { type: 'text', text: 'a.png' }, 'b.png'] },
      {
        role: 'user',
        content: [
          { type: 'image_url', image_url: { url } },
          { type: 'image', image: 0 },
        ],
      },
    ],
  });
  assert.equal(
    mapPictures(chat('a.png', 'b.png'), (place) => `/r/${place}`),
    chat('/r/a.png', '/r/b.png'),
  );
});

for (const [title, chat, where] of [
  ['no list', { messages: 'x' }, 'chat'],
  ['an empty list', [], 'chat'],
  ['no role', [{ content: 'x' }], 'messages[0].role'],
  ['content of a wrong type', [{ role: 'user', content: 5 }], 'messages[0].content'],
  ['an unknown part', [{ role: 'user', content: [{ type: 'video' }] }], 'messages[0].content[0].type'],
] as const) {
  test(`a conversation with ${title} is refused with its place`, async () => {
    const error = await fails('INPUT_UNREADABLE', load({ chat: { type: 'messages' } }, { chat: chat as InputGiven }));
    assert.ok(error.details.where?.includes(where), error.details.where);
  });
}

test.run();
