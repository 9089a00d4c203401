import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BASE, recipe, run } from './helpers.js';

const setting = async (...set: string[]) => run(BASE, { set, cwd: '/base' });
const option = async (node: string, name: string, ...set: string[]): Promise<unknown> => {
  const { plan, diagnostics } = await setting(...set);
  assert.equal(diagnostics, []);
  return plan?.nodes.find((n) => n.name === node)?.options[name];
};
/** `CODE column` of each diagnostic, all of them in the argument. */
const refused = async (...set: string[]): Promise<string[]> => {
  const { plan, diagnostics } = await setting(...set);
  assert.is(plan, null);
  return diagnostics.map((d) => `${d.code} ${d.location?.file} ${d.location?.column}`);
};
const hint = async (...set: string[]): Promise<string> => {
  const { diagnostics } = await setting(...set);
  return diagnostics[0]?.hint ?? '';
};

test('values are typed as YAML types them', async () => {
  assert.is(await option('dec', 'ctx_len', 'nodes.dec.with.ctx_len=2048'), 2048);
  assert.is(await option('dec', 'temperature', 'nodes.dec.with.temperature=0.7'), 0.7);
  assert.is(await option('dec', 'temperature', 'nodes.dec.with.temperature=1e-2'), 0.01);
  assert.is(await option('dec', 'ignore_eos', 'nodes.dec.with.ignore_eos=true'), true);
  assert.equal(await option('dec', 'stop', 'nodes.dec.with.stop=["a", b]'), ['a', 'b']);
  assert.is(await option('pre', 'system', 'nodes.pre.with.system="8"'), '8');
  assert.is(await option('pre', 'system', 'nodes.pre.with.system='), '');
});

test('text needs no YAML quoting', async () => {
  for (const text of ['What is it: a dog?', '- a list?', "it's", '*bold*', '@x', '50% #1', 'a = b', '"half']) {
    assert.is(await option('pre', 'system', `nodes.pre.with.system=${text}`), text);
  }
});

test('later changes win, maps replace, null removes', async () => {
  assert.is(await option('dec', 'ctx_len', 'nodes.dec.with.ctx_len=20', 'nodes.dec.with.ctx_len=30'), 30);
  assert.is(await option('dec', 'top_k', 'nodes.dec.with={ top_k: 3 }'), 3);
  assert.is(await option('dec', 'top_k', 'nodes.dec.with={ top_k: 3 }', 'nodes.dec.with.top_k=null'), 0);
  const { plan } = await setting(
    'nodes.out=null',
    'outputs={ text: $dec.text }',
    'devices.main={ kind: cpu, threads: 2 }',
  );
  assert.is(plan?.nodes.length, 3);
  assert.is(plan?.devices['main']?.['threads'], 2);
});

test('places in lists', async () => {
  assert.equal(await option('dec', 'stop', 'nodes.dec.with.stop=[a, b]', 'nodes.dec.with.stop[1]=c'), ['a', 'c']);
  assert.equal(await option('dec', 'stop', 'nodes.dec.with.stop=[a]', 'nodes.dec.with.stop.1=b'), ['a', 'b']);
  assert.equal(await option('dec', 'stop', 'nodes.dec.with.stop[0]=a', 'nodes.dec.with.stop[1]=b'), ['a', 'b']);
  assert.equal(await refused('nodes.dec.with.stop=[a]', 'nodes.dec.with.stop[5]=b'), ['E_SET --set (2) 1']);
  assert.equal(await refused('nodes.dec.with.stop[1]=b'), ['E_SET --set 1']);
});

test('a removal of nothing is right for a known key and refused for a misspelt one', async () => {
  const fine = [
    'nodes.dec.with.top_k=null',
    'nodes.out.with.overlay=null',
    'devices.main.threads=~',
    'description=null',
  ];
  for (const text of fine) assert.equal((await setting(text)).diagnostics, [], text);
  const wrong = [
    ['nodes.dec.with.ctx_lenn=null', '"ctx_len"'],
    ['nodes.dec.inputs.visio=null', '"vision"'],
    ['nodes.dec.withh=null', '"with"'],
    ['nodes.dec.withh.ctx_len=null', '"with"'],
    ['devices.main.thread=null', '"threads"'],
    ['model.pth=null', '"path"'],
    ['inputs.image.defualt=null', '"default"'],
  ] as const;
  for (const [text, meant] of wrong) {
    assert.equal(await refused(text), ['E_UNKNOWN_KEY --set 1'], text);
    assert.match(await hint(text), meant, text);
  }
  assert.equal(await refused('outputs.anser=null'), ['E_SET --set 1']);
  assert.match(await hint('outputs.anser=null'), '"outputs.answer"');
  const later = ['nodes.dec.with.ctx_lenn=null', 'name=ok'];
  assert.equal(await refused(...later), ['E_UNKNOWN_KEY --set 1'], 'whatever comes after it');
  const twice = ['nodes.dec.with.ctx_len=20', 'nodes.dec.with.ctx_len=null', 'nodes.dec.with.ctx_len=null'];
  assert.is(await option('dec', 'ctx_len', ...twice), 1024);
});

test('a whole number that cannot be kept exactly', async () => {
  assert.equal(await refused('nodes.dec.with.seed=9007199254740993'), ['E_TYPE --set 21']);
  assert.is(await hint('nodes.dec.with.seed=9007199254740993'), 'the largest whole number is 9007199254740991');
  assert.is(await option('dec', 'seed', 'nodes.dec.with.seed=9007199254740991'), Number.MAX_SAFE_INTEGER);
  assert.is(
    await option('pre', 'system', 'nodes.pre.with.system=9007199254740993'),
    '9007199254740993',
    'text is text',
  );
});

test('paths in values start from the working directory', async () => {
  const { plan } = await setting('model.path=models/x', 'inputs.image.default=a.png');
  assert.is(plan?.model.path, '/base/models/x');
  assert.is(plan?.inputs['image']?.default, '/base/a.png');
});

test('what is no path=value', async () => {
  assert.equal(await refused('nodes.dec.with.ctx_len'), ['E_SET --set 1']);
  assert.equal(await refused('=5'), ['E_SET --set 1']);
  assert.equal(await refused('nodes..dec=5'), ['E_SET --set 1']);
  assert.equal(await refused('nodes.dec.with.stop=[a'), ['E_SET --set 21']);
});

test('a wrong path says which one was meant', async () => {
  assert.equal(await refused('nodes.dek.with.ctx_len=5'), ['E_SET --set 1']);
  assert.match(await hint('nodes.dek.with.ctx_len=5'), '"nodes.dec.with.ctx_len"');
  assert.match(await hint('node.dec.with.ctx_len=5'), '"nodes.dec.with.ctx_len"');
  assert.match(await hint('ctx_len=5'), '"nodes.dec.with.ctx_len"');
  assert.match(await hint('dec.ctx_length=5'), '"nodes.dec.with.ctx_len"');
  assert.match(await hint('input.image.default=x.png'), '"inputs.image.default"');
  assert.match(await hint('inputs.imag.default=x.png'), '"inputs.image.default"');
  assert.equal(await refused('nodes.dec.with.ctx_lenn=5'), ['E_UNKNOWN_KEY --set 1']);
  assert.match(await hint('nodes.dec.with.ctx_lenn=5'), '"ctx_len"');
  assert.equal(await refused('name.first=x'), ['E_SET --set 1']);
});

test('a wrong value is shown inside the argument', async () => {
  assert.equal(await refused('nodes.dec.with.ctx_len=-5'), ['E_VALUE --set 24']);
  assert.equal(await refused('nodes.dec.with.ctx_len=many'), ['E_TYPE --set 24']);
  assert.equal(await refused('nodes.dec.with={ ctx_len: 5, topk: 1 }'), ['E_UNKNOWN_KEY --set 30']);
  const { diagnostics } = await setting('name=ok', 'nodes.dec.with.ctx_len=-5');
  assert.is(diagnostics[0]?.location?.file, '--set (2)');
  assert.is(diagnostics[0]?.excerpt, 'nodes.dec.with.ctx_len=-5');
});

test('a shared value is changed in one place only', async () => {
  const shared = recipe(
    ['inputs: { pixels: $pre.pixels }', 'inputs: { pixels: $pre.pixels }, with: &size { batch_size: 4 }'],
    ['vision: $enc.embeddings }', 'vision: $enc.embeddings }, with: *size'],
  );
  const { plan } = await run(shared, { set: ['nodes.dec.with.batch_size=8'] });
  assert.equal(
    plan?.nodes.flatMap((n) => n.options['batch_size'] ?? []),
    [4, 8],
  );
});

const device = async (...devices: string[]) => run(BASE, { devices });

test('--device', async () => {
  const { plan, diagnostics } = await device('main=ai100:0,2-3');
  assert.equal(diagnostics, []);
  assert.is(plan?.devices['main']?.kind, 'ai100');
  assert.equal(plan?.devices['main']?.ids, [0, 2, 3]);
  assert.is(plan?.devices['main']?.['num_cores'], 16, 'defaults of the new kind');
  assert.equal((await device('ai100')).plan?.devices['main']?.ids, [0], 'without a name: every device');
  const threads = recipe(['{ kind: cpu }', '{ kind: cpu, threads: 2 }']);
  assert.is(
    (await run(threads, { devices: ['main=cpu'] })).plan?.devices['main']?.['threads'],
    2,
    'the same kind keeps',
  );
  const other = await run(threads, { devices: ['main=ai100'] });
  assert.equal(other.diagnostics, [], 'another kind starts anew');
});

test('--device: what is wrong, and where', async () => {
  const codes = async (text: string): Promise<string[]> =>
    (await device(text)).diagnostics.map((d) => `${d.code} ${d.location?.column}`);
  assert.equal(await codes('mian=ai100'), ['E_UNKNOWN_DEVICE 1']);
  assert.equal(await codes('main=ai10'), ['E_UNKNOWN_DEVICE_KIND 6']);
  assert.equal(await codes('main=ai100:x'), ['E_SET 12']);
  assert.equal(await codes('main=ai100:0,0'), ['E_SET 12']);
  assert.equal(await codes('main=cpu:0'), ['E_SET 10']);
  assert.equal(await codes('main='), ['E_SET 1']);
});

test('--device: a name alone says what to write', async () => {
  for (const [given, code] of [
    ['main', 'E_SET'],
    ['main:0', 'E_SET'],
    ['mian', 'E_UNKNOWN_DEVICE_KIND'],
  ] as const) {
    const [problem] = (await device(given)).diagnostics;
    assert.is(problem?.code, code);
    assert.match(problem?.hint ?? '', 'main=cpu or main=ai100');
  }
  assert.match((await device('ai10')).diagnostics[0]?.hint ?? '', 'did you mean "ai100"');
});

test('--set works on what --device made', async () => {
  const { plan } = await run(BASE, { devices: ['main=ai100:1'], set: ['devices.main.num_cores=8'] });
  assert.is(plan?.devices['main']?.['num_cores'], 8);
});

test('no argument makes --set or --device throw', async () => {
  const parts = [
    'nodes',
    'dec',
    'with',
    'ctx_len',
    'devices',
    'main',
    '.',
    '[0]',
    '[',
    ']',
    '=',
    ':',
    '{',
    '}',
    '"',
    "'",
    '-',
    '5',
    '&a',
    '*a',
    '~',
    ' ',
    '\n',
    '\t',
    '#',
    '__proto__',
  ];
  let seed = 3;
  const random = (n: number): number => {
    seed = (seed * 1103515245 + 12345) & 0x7fffffff;
    return (seed >> 8) % n;
  };
  for (let i = 0; i < 300; i++) {
    const text = Array.from({ length: 1 + random(9) }, () => parts[random(parts.length)]).join('');
    const { plan, diagnostics } = await run(BASE, i % 2 === 0 ? { set: [text] } : { devices: [text] });
    assert.ok(plan !== null || diagnostics.some((d) => d.severity === 'error'), text);
  }
});

test.run();
