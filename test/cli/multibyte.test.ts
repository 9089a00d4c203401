// Text whose characters are split between tokens: standard output has the bytes of the record's text, in whole characters.
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/util/package-root.js';
import { CLI } from './fakes/spawn.js';

const test = suite('multi-byte answers');
const dir = mkdtempSync(join(tmpdir(), 'vlm-multibyte-'));
const model = join(dir, 'model');

/** Bytes in the letters of byte-level tokenizers: what prints stands for itself, the others follow from 256 on. */
const LETTERS = ((): readonly string[] => {
  const printable = (b: number): boolean => (b > 32 && b < 127) || (b > 160 && b < 256 && b !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : next++));
})();
const token = (bytes: Uint8Array): string => Array.from(bytes, (b) => LETTERS[b]).join('');
const utf8 = (text: string): Buffer => Buffer.from(text);

/** The words of the model's answer to the recipe's own question are given other bytes. */
const emoji = utf8('👩\u200d💻');
const accent = utf8('e\u0301漢');
const flag = utf8('字🇫🇷');
const WORDS: Readonly<Record<string, Buffer>> = {
  small: Buffer.from([0x20, 0xf0, 0x9f]),
  yellow: emoji.subarray(0, 5),
  star: emoji.subarray(5),
  green: accent.subarray(0, 2),
  square: accent.subarray(2),
  red: flag.subarray(0, 5),
  circle: flag.subarray(5),
};

interface TokenizerFile {
  readonly model: { readonly vocab: Record<string, number>; merges: (string | [string, string])[] };
}

test.before(() => {
  cpSync(join(packageRoot(), 'models', 'shapes-internvl'), model, { recursive: true });
  const file = join(model, 'tokenizer.json');
  const tokenizer = JSON.parse(readFileSync(file, 'utf8')) as TokenizerFile;
  const { vocab } = tokenizer.model;
  const gone = new Set<string>();
  for (const [word, bytes] of Object.entries(WORDS)) {
    const id = vocab[`Ġ${word}`] as number;
    delete vocab[`Ġ${word}`];
    vocab[token(bytes)] = id;
    gone.add(`Ġ${word}`);
  }
  tokenizer.model.merges = tokenizer.model.merges.filter((merge) => {
    const [a = '', b = ''] = typeof merge === 'string' ? merge.split(' ') : merge;
    return ![a, b, a + b].some((part) => gone.has(part));
  });
  writeFileSync(file, JSON.stringify(tokenizer));
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

let runs = 0;

async function answer(...set: readonly string[]): Promise<string> {
  const out = join(dir, `run${runs++}`);
  const recipe = join(packageRoot(), 'pipelines', 'internvl.yaml');
  const options = [`model={path: ${model}}`, ...set].flatMap((one) => ['--set', one]);
  const child = spawn(process.execPath, [CLI, recipe, '--quiet', '--out', out, ...options]);
  const chunks: Buffer[] = [];
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  const code = await new Promise((resolve) => child.on('close', resolve));
  assert.is(code, 0, err);
  const record = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')) as {
    readonly items: readonly { readonly text?: string }[];
  };
  const text = record.items[0]?.text ?? '';
  assert.equal(Buffer.concat(chunks), utf8(`${text}\n`));
  // No write ends inside a character: a terminal would show a broken one.
  for (const chunk of chunks) new TextDecoder('utf-8', { fatal: true }).decode(chunk);
  return text;
}

const stop = (text: string): string => `nodes.decode.with.stop=${JSON.stringify([text])}`;

test('emoji, combining marks and Chinese split between tokens arrive whole; a half character is one replacement', async () => {
  const whole = 'a \ufffd👩\u200d💻, a largee\u0301漢 and a large字🇫🇷';
  assert.equal(
    await Promise.all([
      answer(),
      answer('nodes.decode.with.max_new_tokens=13'),
      answer('nodes.decode.with.batch_size=3'),
    ]),
    [whole, `${whole.slice(0, -4)}\ufffd`, whole],
  );
});

test('a stop string inside an emoji, or across tokens, cuts there and shows nothing of itself', async () => {
  const texts = [
    await Promise.all([answer(stop('💻')), answer(stop('\u0301漢 and'))]),
    await answer(stop('👩\u200d💼')),
  ];
  assert.equal(texts.flat(), [
    'a \ufffd👩\u200d',
    'a \ufffd👩\u200d💻, a largee',
    'a \ufffd👩\u200d💻, a largee\u0301漢 and a large字🇫🇷',
  ]);
});

test.run();
