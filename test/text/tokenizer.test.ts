import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadTokenizer } from '../../src/text/tokenizer.js';
import { packageRoot } from '../../src/util/package-root.js';
import { codeOf } from './helpers.js';

interface Golden {
  readonly vocabulary: string;
  readonly encoded: readonly {
    readonly text: string;
    readonly ids: number[];
    readonly plain: number[];
    readonly kept: string;
    readonly skipped: string;
  }[];
  readonly decoded: readonly { readonly ids: number[]; readonly kept: string; readonly skipped: string }[];
}

const golden = join(packageRoot(), 'test', 'golden', 'text');
const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'));
const tokenizers = {
  shapes: join(packageRoot(), 'models', 'shapes-internvl', 'tokenizer.json'),
  qwen2: join(golden, 'qwen2', 'tokenizer.json'),
  llama3: join(golden, 'llama3', 'tokenizer.json'),
  granite: join(golden, 'granite', 'tokenizer.json'),
  llama2: join(golden, 'llama2', 'tokenizer.json'),
};

for (const [name, path] of Object.entries(tokenizers)) {
  const tokenizer = loadTokenizer(json(path), {}, path);
  const cases: Golden = json(join(golden, `${name}.json`));

  test(`${name}: the goldens belong to this tokenizer (else run tools/reference/text.py)`, () => {
    const tokens = Object.entries({
      ...json(path).model.vocab,
      ...Object.fromEntries(json(path).added_tokens.map((t: { content: string; id: number }) => [t.content, t.id])),
    }).sort(([, a], [, b]) => Number(a) - Number(b));
    assert.is(tokens.length, tokenizer.vocabSize);
    const digest = createHash('sha256')
      .update(tokens.map(([token]) => token).join('\n'))
      .digest('hex');
    assert.is(digest, cases.vocabulary);
  });

  test(`${name}: ids equal those of the reference`, () => {
    assert.ok(cases.encoded.length > 100);
    for (const { text, ids, plain } of cases.encoded) {
      assert.equal([...tokenizer.encode(text)], ids, JSON.stringify(text));
      assert.equal([...tokenizer.encode(text, { addSpecialTokens: false })], plain, JSON.stringify(text));
    }
  });

  test(`${name}: decoded texts equal those of the reference, with and without special tokens`, () => {
    for (const { ids, kept, skipped } of [...cases.encoded, ...cases.decoded]) {
      assert.is(tokenizer.decode(ids), kept, JSON.stringify(ids));
      assert.is(tokenizer.decode(ids, { skipSpecialTokens: true }), skipped, JSON.stringify(ids));
    }
  });

  test(`${name}: streamed pieces add up to the decoded text and never take anything back`, () => {
    for (const skipSpecialTokens of [false, true]) {
      for (const { ids, kept, skipped } of [...cases.encoded, ...cases.decoded]) {
        const stream = tokenizer.stream({ skipSpecialTokens });
        const whole = skipSpecialTokens ? skipped : kept;
        let text = '';
        for (const id of ids) {
          text += stream.push(id);
          assert.ok(whole.startsWith(text), `${JSON.stringify(text)} of ${JSON.stringify(whole)}`);
        }
        assert.is(text + stream.flush(), whole);
      }
    }
  });
}

test('a character over several tokens comes whole, without replacement characters', () => {
  for (const path of [tokenizers.shapes, tokenizers.llama2]) {
    const tokenizer = loadTokenizer(json(path), {}, path);
    const stream = tokenizer.stream();
    const pieces = [...tokenizer.encode('a👩‍🚀你x', { addSpecialTokens: false })].map((id) => stream.push(id));
    pieces.push(stream.flush());
    assert.is(pieces.join(''), 'a👩‍🚀你x');
    assert.not.ok(pieces.some((piece) => piece.includes('\uFFFD')));
  }
});

test('half a character at the end is given as the reference gives it, by flush', () => {
  const tokenizer = loadTokenizer(json(tokenizers.shapes), {}, 'tokenizer.json');
  const ids = tokenizer.encode('é').subarray(0, 1);
  const stream = tokenizer.stream();
  assert.is(stream.push(ids[0]!), '');
  assert.is(stream.flush(), '\uFFFD');
});

test('ids beyond the vocabulary, as padded embedding tables have them, decode to nothing', () => {
  const tokenizer = loadTokenizer(json(tokenizers.shapes), {}, 'tokenizer.json');
  const id = tokenizer.tokenId('?')!;
  assert.is(tokenizer.decode([id, 1_000_000, id]), '??');
  assert.is(tokenizer.tokenId('no such token'), undefined);
});

interface SpecialCase {
  readonly name: string;
  readonly config: Record<string, unknown>;
  readonly ids: number[];
  readonly skipped: string;
}

test('which tokens are special, for each way of tokenizer_config.json to say so', () => {
  const cases: readonly SpecialCase[] = json(join(golden, 'specials.json')).cases;
  assert.ok(new Set(cases.map((c) => c.skipped)).size > 1);
  for (const { name, config, ids, skipped } of cases) {
    const tokenizer = loadTokenizer(json(tokenizers.shapes), config, 'tokenizer.json');
    assert.is(tokenizer.decode(ids, { skipSpecialTokens: true }), skipped, name);
    assert.is(tokenizer.specialTokens.includes('<ref>'), !skipped.includes('<ref>'), name);
  }
});

test('broken files are TOKENIZER_INVALID and name the file', () => {
  const whole = json(tokenizers.shapes);
  const broken: unknown[] = [
    null,
    [],
    {},
    { ...whole, model: { type: 'Nonsense' } },
    { ...whole, decoder: { type: 'CTC' } },
    { ...whole, decoder: { type: 'Sequence', decoders: [{ type: 'Fuse' }, { type: 'Metaspace' }] } },
    { ...whole, decoder: { type: 'Replace', pattern: { Regex: 'a+' }, content: '' } },
    { ...whole, added_tokens: [{ id: 1, content: 'x', single_word: true }] },
  ];
  for (const file of broken) {
    const error = codeOf(() => loadTokenizer(file, {}, '/models/x/tokenizer.json'));
    assert.is(error.code, 'TOKENIZER_INVALID');
    assert.match(error.message, '/models/x/tokenizer.json');
  }
  assert.is(
    codeOf(() =>
      loadTokenizer(
        { ...whole, model: { ...whole.model, type: 'WordPiece' } },
        { clean_up_tokenization_spaces: true },
        'f',
      ),
    ).code,
    'TOKENIZER_INVALID',
  );
});

test.run();
