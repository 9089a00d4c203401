import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BASE, expectAt, recipe, run } from './helpers.js';

test('the base recipe has no problem', async () => {
  await expectAt(BASE, []);
});

test('an empty file, blanks and comments only', async () => {
  await expectAt('§', ['E_EMPTY']);
  await expectAt('§\n  \n\n', ['E_EMPTY']);
  await expectAt('§# only a comment\n', ['E_EMPTY']);
  await expectAt('§---\n...\n', ['E_EMPTY']);
});

test('the top must be a map', async () => {
  await expectAt('§- a\n- b\n', ['E_TYPE']);
  await expectAt('§just text\n', ['E_TYPE']);
});

test('syntax errors are one diagnostic at their place', async () => {
  await expectAt('version: 1\nname: §a: b\n', ['E_YAML']);
  await expectAt('version: 1\nname: §@home\n', ['E_YAML']);
  await expectAt('version: 1\nname: §!secret x\n', ['E_YAML']);
  await expectAt('version: 1\nmodel: { path: x\n§name: y\n', ['E_YAML']);
  await expectAt('version: 1\nname: §"open\n', ['E_YAML']);
});

test('a tab as indentation', async () => {
  const [d] = await expectAt('version: 1\nmodel:\n§\tpath: x\n', ['E_TAB']);
  assert.match(d?.hint ?? '', 'spaces');
  const [many] = await expectAt('nodes:\n§\ta: 1\n\tb: 2\n', ['E_TAB']);
  assert.match(many?.hint ?? '', '2 lines');
});

test('a duplicate key is reported and the rest is still checked', async () => {
  const [d] = await expectAt(`${BASE}§name: again\n`, ['E_DUPLICATE_KEY']);
  assert.match(d?.hint ?? '', 'line 2, column 1');
  await expectAt(recipe(['kind: cpu }', 'kind: cpu, §kind: cpu, §thread: 2 }']), ['E_DUPLICATE_KEY', 'E_UNKNOWN_KEY']);
  await expectAt(recipe(['{ kind: cpu }', '{ kind: cpu, threads: 1, §"threads": 2 }']), ['E_DUPLICATE_KEY']);
});

test('several documents are refused', async () => {
  await expectAt(`${BASE}§---\nversion: 1\n`, ['E_YAML']);
  const first = await run(`---\n${BASE}`);
  assert.equal(first.diagnostics, [], 'a leading separator is fine');
});

test('keys must be plain text', async () => {
  await expectAt(`${BASE}? §[a, b]\n: 1\n`, ['E_YAML']);
  await expectAt(`${BASE}§: 1\n`, ['E_YAML']);
});

test('anchors and aliases', async () => {
  const { plan, diagnostics } = await run(
    recipe(
      ['inputs: { pixels: $pre.pixels }', 'inputs: { pixels: $pre.pixels }, with: &size { batch_size: 4 }'],
      ['vision: $enc.embeddings }', 'vision: $enc.embeddings }, with: *size'],
    ),
  );
  assert.equal(diagnostics, []);
  assert.is(plan?.nodes.find((n) => n.name === 'dec')?.options['batch_size'], 4);
});

test('a mistake behind an alias points to where it was written, once', async () => {
  await expectAt(
    recipe(
      ['inputs: { pixels: $pre.pixels }', 'inputs: { pixels: $pre.pixels }, with: &size { batch_size: §many }'],
      ['vision: $enc.embeddings }', 'vision: $enc.embeddings }, with: *size'],
    ),
    ['E_TYPE'],
  );
});

test('merge keys: own keys win, wherever << stands; the first of several wins', async () => {
  const text = recipe(
    ['devices:\n', 'devices:\n'],
    ['vision: $enc.embeddings } }', `vision: $enc.embeddings }, with: { top_k: 1, <<: [*a, *b], max_new_tokens: 3 } }`],
    [
      'pre: { kind: preprocess,',
      'x: { kind: decode, device: main, inputs: { tokens: $pre.tokens }, with: &a { top_k: 9, seed: 1 } }\n  y: { kind: decode, device: main, inputs: { tokens: $pre.tokens }, with: &b { seed: 2, max_new_tokens: 9, ctx_len: 77 } }\n  pre: { kind: preprocess,',
    ],
  );
  const { plan, diagnostics } = await run(text);
  assert.equal(
    diagnostics.map((d) => d.code),
    ['W_UNUSED_NODE', 'W_UNUSED_NODE'],
  );
  const options = plan?.nodes.find((n) => n.name === 'dec')?.options;
  assert.is(options?.['top_k'], 1);
  assert.is(options?.['seed'], 1);
  assert.is(options?.['max_new_tokens'], 3);
  assert.is(options?.['ctx_len'], 77);
});

test('merging what is no map, unknown anchors, an alias inside its own anchor', async () => {
  await expectAt(recipe(['{ kind: cpu }', '{ kind: cpu, <<: §text }']), ['E_ALIAS']);
  const [d] = await expectAt(recipe(['{ path: m }', '{ path: &place m, hub: §*palce }']), ['E_ALIAS']);
  assert.match(d?.hint ?? '', 'place');
  await expectAt('version: 1\nmodel: &m { path: §*m }\n', ['E_ALIAS']);
});

test('an alias bomb is refused at once', async () => {
  const levels = Array.from({ length: 12 }, (_, i) =>
    i === 0
      ? 'a0: &a0 [x, x, x, x, x, x, x, x, x]'
      : `a${i}: &a${i} [${Array(9)
          .fill(`*a${i - 1}`)
          .join(', ')}]`,
  );
  const { diagnostics } = await run(`${levels.join('\n')}\n`);
  assert.equal(
    diagnostics.map((d) => d.code),
    ['E_ALIAS'],
  );
  const merges = Array.from({ length: 3000 }, (_, i) => `k${i}: { <<: *big }`);
  const big = `big: &big { ${Array.from({ length: 100 }, (_, i) => `x${i}: 1`).join(', ')} }`;
  const merged = await run(`${big}\n${merges.join('\n')}\n`);
  assert.equal(
    merged.diagnostics.map((d) => d.code),
    ['E_ALIAS'],
  );
});

test('deep nesting is refused, in brackets, braces, dashes and by indentation', async () => {
  const indented = Array.from({ length: 300 }, (_, i) => `${' '.repeat(i)}a:`).join('\n');
  for (const text of ['['.repeat(30_000), '{a: '.repeat(20_000), '- '.repeat(20_000), '? '.repeat(20_000), indented]) {
    const { diagnostics } = await run(text);
    assert.equal(
      diagnostics.map((d) => d.code),
      ['E_YAML'],
      text.slice(0, 20),
    );
  }
});

test('numbers that a double cannot hold', async () => {
  await expectAt(
    recipe(['vision: $enc.embeddings }', 'vision: $enc.embeddings }, with: { seed: §12345678901234567890 }']),
    ['E_VALUE'],
  );
  const inf = await run(
    recipe(['vision: $enc.embeddings }', 'vision: $enc.embeddings }, with: { temperature: .inf }']),
  );
  assert.ok(inf.diagnostics.some((d) => d.code === 'E_VALUE'));
});

test('Windows line ends and a byte order mark keep their places', async () => {
  const text = `\uFEFF${recipe(['{ path: m }', '{ §pth: m, path: n }']).replace(/\n/g, '\r\n')}`;
  await expectAt(text.replace('\uFEFF', ''), ['E_UNKNOWN_KEY']);
  const { diagnostics } = await run(text.replace('§', ''));
  assert.equal(
    diagnostics.map((d) => `${d.code} ${d.location?.line}:${d.location?.column}`),
    ['E_UNKNOWN_KEY 3:10'],
  );
});

test('a key called __proto__ or constructor is only an unknown key', async () => {
  await expectAt(`${BASE}§__proto__: { polluted: true }\n`, ['E_UNKNOWN_KEY']);
  await expectAt(recipe(['main: {', '§§__proto__: { kind: cpu }\n  main: {']), ['E_VALUE', 'W_UNUSED_DEVICE']);
  await expectAt(recipe(['$dec.text', '§$dec.constructor']), ['E_UNKNOWN_PORT']);
  assert.is(({} as Record<string, unknown>)['polluted'], undefined);
});

test('documents cut anywhere, or with a character changed, give diagnostics and never throw', async () => {
  const codes = new Set<string>();
  let seed = 7;
  const random = (n: number): number => {
    seed = (seed * 1103515245 + 12345) & 0x7fffffff;
    return seed % n;
  };
  for (let cut = 0; cut < BASE.length; cut += 3) {
    const { plan, diagnostics } = await run(BASE.slice(0, cut));
    assert.ok(plan !== null || diagnostics.some((d) => d.severity === 'error'), `cut at ${cut}`);
    for (const d of diagnostics) codes.add(d.code);
  }
  const chars = [...'{}[]:,&*!|>#-?"\'%@`$.\t\n x0~\\', '\u{1F600}', '\u0000', '\uD800'];
  for (let i = 0; i < 400; i++) {
    let text = BASE;
    for (let n = 1 + random(3); n > 0; n--) {
      const at = random(text.length);
      text = text.slice(0, at) + (chars[random(chars.length)] ?? '') + text.slice(at + random(2));
    }
    const { plan, diagnostics } = await run(text);
    assert.ok(plan !== null || diagnostics.some((d) => d.severity === 'error'), text);
    for (const d of diagnostics) {
      codes.add(d.code);
      const lines = text.split('\n');
      assert.ok(d.location !== undefined && d.location.line >= 1 && d.location.line <= lines.length, text);
      assert.ok((d.location?.column ?? 0) <= (lines[(d.location?.line ?? 1) - 1] ?? '').length + 1, text);
    }
  }
  assert.ok(codes.size >= 8, `many kinds of trouble were met: ${[...codes].join(' ')}`);
});

test.run();
