import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { chain, readDecoder } from '../../src/text/detokenizer.js';

function decode(
  decoder: unknown,
  tokens: readonly string[],
): { readonly text: string; readonly pieces: readonly string[] } {
  const stage = chain(readDecoder(decoder, 'tokenizer.json'));
  const pieces = [...tokens.map((token) => stage.push(token).join('')), stage.flush().join('')];
  return { text: pieces.join(''), pieces };
}

const llama = {
  type: 'Sequence',
  decoders: [
    { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    { type: 'Strip', content: ' ', start: 1, stop: 0 },
  ],
};

test('a run of byte tokens waits until it ends', () => {
  const { pieces } = decode(llama, ['▁a', '<0xE4>', '<0xBD>', '<0xA0>', 'b']);
  assert.equal(pieces, ['a', '', '', '', '你b', '']);
});

test('an invalid run is one replacement character a byte', () => {
  assert.is(decode(llama, ['▁a', '<0xE4>', '<0xBD>']).text, 'a\uFFFD\uFFFD');
  assert.is(decode(llama, ['<0xFF>', '<0x41>', 'x']).text, '\uFFFD\uFFFDx');
});

test('only the first space of the whole text is stripped', () => {
  assert.is(decode(llama, ['▁', '▁a', '▁b']).text, ' a b');
  assert.is(decode(llama, ['', '▁a']).text, 'a');
});

test('trailing characters to strip wait until it is known that they are not the last', () => {
  const strip = { type: 'Sequence', decoders: [{ type: 'Fuse' }, { type: 'Strip', content: '.', start: 0, stop: 2 }] };
  assert.equal(decode(strip, ['a..', '.', 'b', '...']).pieces, ['a', '.', '..b', '.', '']);
});

test('byte-level text keeps a byte order mark and replaces broken bytes once', () => {
  assert.is(decode({ type: 'ByteLevel' }, ['ï', '»', '¿', 'a']).text, '\uFEFFa');
  assert.is(decode({ type: 'ByteLevel' }, ['ä', 'a']).text, '\uFFFDa');
});

test('metaspace writes no space before the first token; without a decoder tokens are joined by spaces', () => {
  assert.is(decode({ type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' }, ['▁a', '▁b']).text, 'a b');
  assert.is(decode({ type: 'Metaspace', replacement: '▁', prepend_scheme: 'never' }, ['▁a', '▁b']).text, ' a b');
  assert.is(decode(null, ['a', 'b']).text, 'a b');
});

test.run();
