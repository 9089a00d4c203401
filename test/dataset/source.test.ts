import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, open, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../src/contracts/errors.js';
import { segmentPattern } from '../../src/dataset/match.js';
import {
  areFiles,
  checkSources,
  type DatasetItem,
  datasetItems,
  type SourceOptions,
} from '../../src/dataset/source.js';

const test = suite<{ folder: string }>('dataset source');

test.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), 'vlm-source-'));
});
test.after.each(async ({ folder }) => {
  await rm(folder, { recursive: true, force: true });
});

const INPUTS = { image: { type: 'image' }, prompt: { type: 'text' } };
async function read(folder: string, sources: readonly string[], more: Partial<SourceOptions> = {}) {
  const items: DatasetItem[] = [];
  const options = { imageInput: 'image', inputs: INPUTS, cwd: folder, ...more };
  for await (const item of datasetItems(sources, options)) items.push(item);
  return items;
}
const ids = (items: readonly DatasetItem[]) => items.map((item) => item.id);
async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    assert.instance(error, VlmError);
    return (error as VlmError).code;
  }
  return 'none';
}

test('a segment pattern is of one folder, and hidden files want a dot', () => {
  assert.ok(segmentPattern('*.jpg').test('a.jpg'));
  assert.not.ok(segmentPattern('*.jpg').test('.a.jpg'));
  assert.ok(segmentPattern('.*').test('.a'));
  assert.ok(segmentPattern('a?.png').test('ab.png'));
  assert.not.ok(segmentPattern('a?.png').test('a.png'));
  assert.not.ok(segmentPattern('a.png').test('axpng'));
  assert.ok(segmentPattern('(a)+[b].png').test('(a)+[b].png'));
  assert.ok(segmentPattern('*.{jpg,p?g}').test('a.png'));
  assert.not.ok(segmentPattern('*.{jpg,png}').test('a.gif'));
  assert.ok(segmentPattern('{a}.png').test('{a}.png'));
});

test('files, folders and patterns, in an order that stays', async ({ folder }) => {
  await mkdir(join(folder, 'a', 'deep'), { recursive: true });
  for (const name of ['a/2.jpg', 'a/1.png', 'a/note.txt', 'a/deep/3.jpg', 'z.webp']) {
    await writeFile(join(folder, name), '');
  }
  assert.equal(ids(await read(folder, ['a'])), ['a/1.png', 'a/2.jpg']);
  assert.equal(ids(await read(folder, ['a/*.jpg'])), ['a/2.jpg']);
  assert.equal(ids(await read(folder, ['**/*.jpg'])), ['a/2.jpg', 'a/deep/3.jpg']);
  assert.equal(ids(await read(folder, ['z.webp', 'a/1.png'])), ['z.webp', 'a/1.png']);
  assert.equal(ids(await read(folder, ['a/*.{jpg,png}'])), ['a/1.png', 'a/2.jpg']);
  await writeFile(join(folder, 'a', '?.jpg'), '');
  assert.equal(ids(await read(folder, ['a/?.jpg'])), ['a/?.jpg']);
  assert.equal(ids(await read(folder, [join(folder, 'z.webp')])), ['z.webp']);
});

test('the same file twice has two ids', async ({ folder }) => {
  await writeFile(join(folder, 'a.png'), '');
  assert.equal(ids(await read(folder, ['a.png', 'a.png', '*.png'])), ['a.png', 'a.png#2', 'a.png#3']);
});

test('a pattern does not follow links to folders in a circle', async ({ folder }) => {
  await mkdir(join(folder, 'a'));
  await writeFile(join(folder, 'a', '1.png'), '');
  await symlink(folder, join(folder, 'a', 'up'));
  assert.equal(ids(await read(folder, ['**/*.png'])), ['a/1.png']);
});

test('what names nothing is an error, not an empty dataset', async ({ folder }) => {
  await mkdir(join(folder, 'empty'));
  for (const source of ['none.png', '*.png', 'empty', 'none/**/*.jpg']) {
    assert.is(await codeOf(read(folder, [source])), 'INPUT_UNREADABLE', source);
  }
  await writeFile(join(folder, 'a.png'), '');
  assert.is(await codeOf(read(folder, ['a.png'], { imageInput: null })), 'USAGE');
});

test('JSONL rows: ids of their own or of their line; bad ones fail alone', async ({ folder }) => {
  const rows = [
    '\uFEFF{"id": "one", "image": "a.png", "prompt": "Hi?", "label": "mine"}',
    '',
    '{"id": 2, "prompt": "Only text"}\r',
    'no json',
    '[1]',
    '{"label": "nothing to ask"}',
    '{"prompt": "last"}',
  ];
  await writeFile(join(folder, 'rows.jsonl'), rows.join('\n'));
  const items = await read(folder, ['rows.jsonl']);
  assert.equal(ids(items), ['one', '2', 'rows.jsonl:4', 'rows.jsonl:5', 'rows.jsonl:6', 'rows.jsonl:7']);
  assert.equal(items[0]?.given, { image: 'a.png', prompt: 'Hi?' });
  assert.is(items[0]?.folder, folder);
  assert.equal(
    items.map((item) => item.error?.code ?? null),
    [null, null, 'INPUT_UNREADABLE', 'INPUT_UNREADABLE', 'INPUT_UNREADABLE', null],
  );
});

test('CSV rows: quoted cells with commas and newlines, empty cells are not given', async ({ folder }) => {
  await writeFile(join(folder, 'rows.csv'), 'id,image,prompt\nx,a.png,"What, and\nwhere?"\ny,,"He said ""hi"""\n');
  await writeFile(join(folder, 'rows.tsv'), 'prompt\timage\nHi, you\tb.png\n');
  const items = await read(folder, ['rows.csv', 'rows.tsv']);
  assert.equal(ids(items), ['x', 'y', 'rows.tsv:2']);
  assert.equal(
    items.map((item) => item.given),
    [
      { image: 'a.png', prompt: 'What, and\nwhere?' },
      { prompt: 'He said "hi"' },
      { prompt: 'Hi, you', image: 'b.png' },
    ],
  );
});

test('a recipe with an input named id gets it', async ({ folder }) => {
  await writeFile(join(folder, 'rows.jsonl'), '{"id": "7", "prompt": "x"}\n');
  const [item] = await read(folder, ['rows.jsonl'], { inputs: { ...INPUTS, id: { type: 'text' } } });
  assert.equal(item?.given, { id: '7', prompt: 'x' });
  assert.is(item?.id, '7');
});

test('a table whose first line names no input is refused as a whole, whatever its rows say', async ({ folder }) => {
  for (const text of [
    'a,b\n"never closed,1\n',
    'a.png,What is it?\n',
    'image;prompt\na.png;x\n',
    'image,image\na,b\n',
  ]) {
    await writeFile(join(folder, 'rows.csv'), text);
    assert.is(await codeOf(read(folder, ['rows.csv'])), 'INPUT_UNREADABLE', text);
  }
  await writeFile(join(folder, 'rows.csv'), ' image , prompt \na.png,x\n');
  assert.equal((await read(folder, ['rows.csv']))[0]?.given, { image: 'a.png', prompt: 'x' });
});

test('quotes where none belong are part of the cell; one that is never closed costs the last row only', async ({
  folder,
}) => {
  await writeFile(join(folder, 'a.tsv'), 'prompt\tid\nHow "big" is a 5" disk?\tq\n');
  await writeFile(join(folder, 'b.csv'), 'id,prompt\n1,"a ""b"" c"\n2,"bad "quote" here"\n3,"never closed\n4,x\n');
  const items = await read(folder, ['a.tsv', 'b.csv', 'a.tsv']);
  assert.equal(
    items.map(({ id, given, error }) => [id, given['prompt'] ?? error?.code]),
    [
      ['q', 'How "big" is a 5" disk?'],
      ['1', 'a "b" c'],
      ['2', '"bad "quote" here"'],
      ['b.csv:4', 'INPUT_UNREADABLE'],
      ['q#2', 'How "big" is a 5" disk?'],
    ],
  );
});

test('only a newline ends a JSONL row; what is no UTF-8, or too long, fails alone', async ({ folder }) => {
  const long = Buffer.concat([Buffer.from('{"prompt":"'), Buffer.alloc(17 * 1024 * 1024, 'x'), Buffer.from('"}\n')]);
  const parts = [
    Buffer.from('{"prompt":"a\u2028b\u2029c"}\r\n'),
    long,
    Buffer.from('{"prompt":"'),
    Buffer.of(0xff, 0xfe),
    Buffer.from('"}\n{"__proto__":{"prompt":"x"},"constructor":"y","prompt":"last"}'),
  ];
  await writeFile(join(folder, 'rows.jsonl'), Buffer.concat(parts));
  const items = await read(folder, ['rows.jsonl']);
  assert.equal(
    items.map(({ given, error }) => [given, error?.received]),
    [
      [{ prompt: 'a\u2028b\u2029c' }, undefined],
      [{}, `a row of ${long.length - 1} bytes (at most 16777216)`],
      [{}, 'text that is not UTF-8'],
      [{ prompt: 'last' }, undefined],
    ],
  );
});

test('what an item asks has a digest that moves with the folder; another question has another', async ({ folder }) => {
  for (const name of ['a', 'b']) {
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, 'p.png'), '');
    await writeFile(join(folder, name, 'rows.jsonl'), '{"id":1,"image":"p.png","prompt":"x","label":3}\n');
  }
  const asked = async (name: string): Promise<readonly string[]> =>
    (await read(join(folder, name), ['p.png', 'rows.jsonl'])).map((item) => item.asked);
  assert.equal(await asked('a'), await asked('b'));
  await writeFile(join(folder, 'b', 'rows.jsonl'), '{"id":1,"image":"p.png","prompt":"y","label":3}\n');
  assert.is((await asked('a'))[0], (await asked('b'))[0]);
  assert.is.not((await asked('a'))[1], (await asked('b'))[1]);
});

test('sources that are of no use are told before anything is read', async ({ folder }) => {
  await writeFile(join(folder, 'a.png'), '');
  await writeFile(join(folder, 'list.json'), '[]');
  const check = (sources: readonly string[]) =>
    codeOf(checkSources(sources, { imageInput: 'image', inputs: INPUTS, cwd: folder }));
  assert.is(await check(['a.png', '-']), 'none');
  for (const source of ['none.png', '*.gif', 'list.json']) {
    assert.is(await check(['a.png', source]), 'INPUT_UNREADABLE', source);
  }
  assert.is(await areFiles(['a.png', '*.png'], folder), true);
  assert.is(await areFiles(['a.png', '-'], folder), false);
});

test('a pipe gives rows as they come, and can be given up while it has none', async ({ folder }) => {
  if (process.platform === 'win32') return;
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const writer = open(pipe, 'w');
  const stop = new AbortController();
  const options = { imageInput: 'image', inputs: INPUTS, cwd: folder, signal: stop.signal };
  const items = datasetItems(['pipe'], options);
  const first = items.next();
  const file = await writer;
  await file.write('{"prompt":"one"}\n{"prompt":');
  assert.equal((await first).value.given, { prompt: 'one' });
  const second = items.next();
  stop.abort();
  assert.is((await second).done, true);
  await file.close();
  // Nothing is left that would close the pipe again: Node ends the process for it.
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let i = 0; i < 3; i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
});

test.run();
