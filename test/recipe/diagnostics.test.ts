import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DIAGNOSTIC_CODES } from '../../src/contracts/recipe.js';
import { NODE_MANIFESTS } from '../../src/nodes/manifests.js';
import { compileText } from '../../src/recipe/index.js';
import { BASE, expectAt, REGISTRY, recipe, run } from './helpers.js';

/** One mistake, the code it must give at the mark §, and a word of its message or hint. */
type Case = readonly [name: string, text: string, codes: string, says?: string];

const decode = (options: string): string =>
  recipe(['vision: $enc.embeddings } }', `vision: $enc.embeddings }, with: { ${options} } }`]);

const answer = (schema: string, mark = ''): string =>
  recipe([
    'image: $inputs.image } }\noutputs',
    `image: $inputs.image }, with: { ${mark}schema: ${schema} } }\noutputs`,
  ]);

const CASES: readonly Case[] = [
  ['version 2', recipe(['version: 1', 'version: §2']), 'E_VERSION', 'newer'],
  ['version 0', recipe(['version: 1', 'version: §0']), 'E_VERSION'],
  ['version as text', recipe(['version: 1', 'version: §"1"']), 'E_TYPE', 'without quotes'],
  ['version without a value', recipe(['version: 1', '§version:']), 'E_TYPE', 'write 1'],
  ['version as a word', recipe(['version: 1', 'version: §latest']), 'E_TYPE', 'write 1'],
  ['unknown key of a node', recipe(['  out: { kind', '  out: { §devices: main, kind']), 'E_UNKNOWN_KEY', '"device"'],
  [
    'unknown key of a node that is like none',
    recipe(['  out: { kind', '  out: { §colour: red, kind']),
    'E_UNKNOWN_KEY',
    'known keys: kind, description, device, inputs, with',
  ],
  ['a seed beyond exactness', decode('seed: §9007199254740993'), 'E_VALUE', '9007199254740991'],
  ['the same in quotes', decode('seed: §"9007199254740993"'), 'E_TYPE', 'the largest whole number'],
  ['no version', `§${recipe(['version: 1\n', ''])}`, 'E_MISSING_KEY', 'version: 1'],
  ['no outputs', `§${recipe(['outputs: { answer: $out.answer }\n', ''])}`, 'E_MISSING_KEY', 'outputs'],
  ['a node without kind', recipe(['  out: { kind: fuse,', '  §out: {']), 'E_MISSING_KEY', 'fuse'],
  [
    'a node with type',
    recipe(['  out: { kind: fuse,', '  §out: { §type: fuse,']),
    'E_MISSING_KEY E_UNKNOWN_KEY',
    'rename',
  ],
  ['an input without type', recipe(['image: { type: image }', '§image: {}']), 'E_MISSING_KEY', 'messages'],
  ['unknown key at the top', `${BASE}§ouputs: {}\n`, 'E_UNKNOWN_KEY', '"outputs"'],
  ['unknown option', decode('§ctx_length: 5'), 'E_UNKNOWN_KEY', '"ctx_len"'],
  ['camel case', decode('§maxNewTokens: 5'), 'E_UNKNOWN_KEY', '"max_new_tokens"'],
  ['the name elsewhere', decode('§generation_len: 5'), 'E_UNKNOWN_KEY', '"max_new_tokens"'],
  ['option of another kind', decode('§overlay: png'), 'E_UNKNOWN_KEY', 'fuse'],
  ['option of a device', decode('§num_cores: 4'), 'E_UNKNOWN_KEY', 'ai100 devices'],
  ['option outside with', recipe(['kind: encode,', 'kind: encode, §batch_size: 2,']), 'E_UNKNOWN_KEY', 'under "with:"'],
  ['option of another device kind', recipe(['{ kind: cpu }', '{ kind: cpu, §ids: [0] }']), 'E_UNKNOWN_KEY', 'ai100'],
  ['text for a number', decode('ctx_len: §"4096"'), 'E_TYPE', 'write 4096 without quotes'],
  ['a fraction for a whole number', decode('ctx_len: §10.5'), 'E_TYPE'],
  ['yes for true', decode('ignore_eos: §yes'), 'E_TYPE', 'write true'],
  ['a number for text', recipe(['name: test', 'name: §42']), 'E_TYPE', '"42"'],
  ['a value for a list', decode('stop: §STOP'), 'E_TYPE', '[STOP]'],
  ['an item of a list', decode('stop_token_ids: [1, §two]'), 'E_TYPE', 'stop_token_ids[1]'],
  ['nothing for a map', recipe(['model: { path: m }', '§model:']), 'E_TYPE', '{}'],
  ['a node that is null', recipe(['outputs:', '  §more:\noutputs:']), 'E_TYPE'],
  ['a node that is text', recipe(['outputs:', '  more: §text\noutputs:']), 'E_TYPE', 'map'],
  ['below the minimum', decode('temperature: §-1'), 'E_VALUE', 'at least 0'],
  ['above the maximum', decode('top_p: §1.5'), 'E_VALUE', 'at most 1'],
  ['at an exclusive minimum', decode('top_p: §0'), 'E_VALUE', 'more than 0'],
  [
    'not one of the allowed',
    recipe(['image: $inputs.image } }\noutputs', 'image: $inputs.image }, with: { overlay: §pgn } }\noutputs']),
    'E_VALUE',
    '"png"',
  ],
  ['a schema with a type that is none', answer('{ properties: { n: { type: §intger } } }'), 'E_VALUE', '2020-12'],
  ['a schema with a key of a wrong type', answer('{ type: [integer, §5] }'), 'E_VALUE', '2020-12'],
  ['a schema that refers to nothing', answer('{ $ref: "#/nothing" }', '§'), 'E_VALUE', '2020-12'],
  ['empty text', recipe(['name: test', 'name: §""']), 'E_VALUE', 'empty'],
  ['a name with a blank', recipe(['outputs: {', 'outputs: { §my answer: $out.answer,']), 'E_VALUE', 'letter'],
  [
    'a node called inputs',
    recipe(['nodes:\n', 'nodes:\n  §§inputs: { kind: fuse, inputs: { text: $dec.text } }\n']),
    'E_VALUE W_UNUSED_NODE',
    '$inputs',
  ],
  ['a hub name with a blank', recipe(['{ path: m }', '{ hub: §"a b" }']), 'E_VALUE', 'OpenGVLab'],
  [
    'no nodes',
    recipe(['nodes:\n', 'old:\n'])
      .replace('old:', '§nodes: {}\n§old:')
      .replace('answer: $out', 'answer: §$out')
      .replace('  image: {', '  §image: {')
      .replace('  prompt: {', '  §prompt: {')
      .replace('  main: {', '  §main: {'),
    'W_UNUSED_INPUT W_UNUSED_INPUT W_UNUSED_DEVICE E_VALUE E_UNKNOWN_KEY E_UNKNOWN_NODE',
  ],
  ['not a reference', recipe(['text: $dec.text', 'text: §dec.text']), 'E_REFERENCE', '"$dec.text"'],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: what users of other languages write
  ['a reference in braces', recipe(['text: $dec.text', 'text: §"${{ dec.text }}"']), 'E_REFERENCE', '"$dec.text"'],
  ['a node without its port', recipe(['text: $dec.text', 'text: §$dec']), 'E_REFERENCE', '"$dec.text"'],
  [
    'an output that repeats an input',
    recipe(['answer: $out.answer', 'answer: $out.answer, same: §$inputs.prompt']),
    'E_REFERENCE',
  ],
  ['unknown input', recipe(['prompt: $inputs.prompt', 'prompt: §$inputs.promt']), 'E_UNKNOWN_INPUT', '"prompt"'],
  ['unknown node', recipe(['pixels: $pre.pixels', 'pixels: §$prep.pixels']), 'E_UNKNOWN_NODE', '"pre"'],
  [
    '$input for $inputs',
    recipe(['prompt: $inputs.prompt', 'prompt: §$input.prompt']),
    'E_UNKNOWN_NODE',
    '"$inputs.prompt"',
  ],
  ['unknown node of an output', recipe(['$out.answer', '§$oot.answer']), 'E_UNKNOWN_NODE', '"out"'],
  ['unknown output port', recipe(['$pre.pixels', '§$pre.pixel']), 'E_UNKNOWN_PORT', '"pixels"'],
  ['an input port read', recipe(['$pre.tokens', '§$pre.messages']), 'E_UNKNOWN_PORT', 'an input of it'],
  ['unknown input port', recipe(['inputs: { pixels:', 'inputs: { §pixel:']), 'E_UNKNOWN_PORT', '"pixels"'],
  [
    'an option among ports',
    recipe(['inputs: { pixels: $pre.pixels', 'inputs: { pixels: $pre.pixels, §batch_size: $pre.pixels']),
    'E_UNKNOWN_PORT',
    'with:',
  ],
  [
    'missing port',
    recipe(['  dec: {', '  §dec: {'], ['tokens: $pre.tokens, ', '']),
    'E_MISSING_PORT',
    'add "tokens: $pre.tokens"',
  ],
  ['none of a group of ports', recipe(['  pre: {', '  §pre: {'], [', prompt: $inputs.prompt', '']), 'E_MISSING_PORT'],
  [
    'two of a group of ports',
    recipe(
      ['prompt: { type: text }', 'prompt: { type: text }\n  chat: { type: messages }'],
      ['prompt: $inputs.prompt', 'prompt: $inputs.prompt, §messages: $inputs.chat'],
    ),
    'E_VALUE',
    'only one',
  ],
  [
    'unknown device',
    recipe(['kind: encode, device: main', 'kind: encode, device: §mian']),
    'E_UNKNOWN_DEVICE',
    '"main"',
  ],
  ['unknown kind', recipe(['kind: encode', 'kind: §encoder']), 'E_UNKNOWN_KIND', '"encode"'],
  ['unknown device kind', recipe(['kind: cpu', 'kind: §cuda']), 'E_UNKNOWN_DEVICE_KIND', 'ai100'],
  [
    'no device',
    recipe(['  enc: {', '  §enc: {'], ['kind: encode, device: main,', 'kind: encode,']),
    'E_MISSING_DEVICE',
    'device: main',
  ],
  ['wrong kind of port', recipe(['tokens: $pre.tokens', 'tokens: §$pre.pixels']), 'E_PORT_KIND', '"$pre.tokens"'],
  ['an image for text', recipe(['prompt: $inputs.prompt', 'prompt: §$inputs.image']), 'E_PORT_KIND', '$inputs.prompt'],
  [
    'many values for one',
    recipe(
      ['prompt: { type: text }', 'prompt: { type: text, many: true }'],
      ['prompt: $inputs.prompt', 'prompt: §$inputs.prompt'],
    ),
    'E_PORT_MANY',
    'many: true',
  ],
  ['a node that waits for itself', recipe(['$dec.text, image', '§§$out.answer, image']), 'E_PORT_KIND E_CYCLE'],
  ['path and hub', recipe(['{ path: m }', '{ path: m, §hub: a/b }']), 'E_MODEL', 'keep one'],
  ['neither path nor hub', recipe(['model: { path: m }', '§model: { programs: { vision: v.onnx } }']), 'E_MODEL'],
  ['revision of a folder', recipe(['{ path: m }', '{ path: m, §revision: main }']), 'E_MODEL'],
  ['a number as default text', recipe(['{ type: text }', '{ type: text, default: §5 }']), 'E_INPUT', '"5"'],
  [
    'a list as default image',
    recipe(['{ type: image }', '{ type: image, §default: [a.png, b.png] }']),
    'E_INPUT',
    'many: true',
  ],
  [
    'messages without a role',
    recipe(['{ type: text }', '{ type: text }\n  §chat: { type: messages, §default: [{ content: x }] }']),
    'W_UNUSED_INPUT E_INPUT',
    'role',
  ],
  ['a plugin that is not allowed', recipe(['kind: fuse', 'kind: §./mine.js']), 'E_PLUGIN', '--allow-plugins'],
  ['extends without reader', `extends: §base.yaml\n${BASE}`, 'E_EXTENDS'],
  ['extends is a list', `extends: [§]\n${BASE}`.replace('extends: [§]', '§extends: [a]'), 'E_TYPE'],
  ['unused input', recipe(['inputs:\n', 'inputs:\n  §spare: { type: text }\n']), 'W_UNUSED_INPUT', '$inputs.spare'],
  [
    'unused node',
    recipe(['outputs:', '  §more: { kind: fuse, inputs: { text: $dec.text } }\noutputs:']),
    'W_UNUSED_NODE',
    'not run',
  ],
  ['unused device', recipe(['devices:\n', 'devices:\n  §spare: { kind: ai100 }\n']), 'W_UNUSED_DEVICE'],
  ['a device for a host node', recipe(['kind: fuse,', 'kind: fuse, device: §main,']), 'W_DEVICE_IGNORED'],
];

for (const [name, text, codes, says] of CASES) {
  test(name, async () => {
    const diagnostics = await expectAt(text, codes.split(' '));
    const words = diagnostics.map((d) => `${d.message} ${d.hint ?? ''}`).join('\n');
    if (says) assert.ok(words.includes(says), `${JSON.stringify(says)} in ${words}`);
  });
}

// Were a phase quadratic, the time-out of the file would end it.
test('hundreds of nodes are checked, thousands are refused', async () => {
  const chain = (n: number): string =>
    Array.from({ length: n }, (_, i) => `  n${i}: { kind: preprocess, inputs: { prompt: $n${i + 1}.pixels } }\n`).join(
      '',
    );
  const many = await run(recipe(['nodes:\n', `nodes:\n${chain(900)}`]));
  assert.is(many.diagnostics.filter((d) => d.code === 'E_PORT_KIND').length, 899);
  const more = await run(recipe(['nodes:\n', `nodes:\n${chain(2000)}`]));
  assert.ok(
    more.diagnostics.some((d) => d.code === 'E_VALUE' && d.path === 'nodes' && d.message.includes('at most 1000')),
  );
});

test('long keys and lines do not flood the messages', async () => {
  const { diagnostics } = await run(recipe(['kind: cpu', `kind: ${'k'.repeat(100_000)}`]));
  assert.equal(
    diagnostics.map((d) => d.code),
    ['E_UNKNOWN_DEVICE_KIND'],
  );
  assert.ok(JSON.stringify(diagnostics[0]?.message).length < 500);
  assert.is(diagnostics[0]?.excerpt, undefined);
});

test('circles are printed as a path, each once', async () => {
  const text = recipe(
    ['inputs: { pixels: $pre.pixels }', 'inputs: { pixels: §$b.out }'],
    ['nodes:\n', 'nodes:\n  b: { kind: loop, inputs: { in: §$c.out } }\n  c: { kind: loop, inputs: { in: $b.out } }\n'],
  );
  const loop = {
    kind: 'loop',
    description: 'Gives back what it gets.',
    stage: 'fuse' as const,
    inputs: { in: { kind: 'pixels' as const, description: 'Anything.' } },
    outputs: { out: { kind: 'pixels' as const, description: 'The same.' } },
    options: {},
  };
  const registry = { ...REGISTRY, nodes: [...NODE_MANIFESTS, loop] };
  const unmarked = text.replace('pixels: §$b.out', 'pixels: $b.out');
  const [d] = await expectAt(unmarked, ['E_CYCLE'], { registry });
  assert.match(d?.message ?? '', 'b → c → b');
});

test('a deprecated option is a warning with its description', async () => {
  const nodes = NODE_MANIFESTS.map((m) =>
    m.kind === 'decode'
      ? {
          ...m,
          options: { ...m.options, max_length: { type: 'integer', deprecated: true, description: 'Use ctx_len.' } },
        }
      : m,
  );
  const [d] = await expectAt(decode('§max_length: 9'), ['W_DEPRECATED'], { registry: { ...REGISTRY, nodes } });
  assert.is(d?.hint, 'Use ctx_len.');
});

test('an option with a newer name is handed on as that one, on nodes and on devices', async () => {
  const renamed = (description: string, replacedBy: string) => ({ type: 'integer', description, replacedBy });
  const nodes = NODE_MANIFESTS.map((m) =>
    m.kind === 'decode' ? { ...m, options: { ...m.options, max_length: renamed('Slots.', 'ctx_len') } } : m,
  );
  const devices = REGISTRY.devices.map((m) =>
    m.kind === 'cpu' ? { ...m, options: { ...m.options, cores: renamed('Threads.', 'threads') } } : m,
  );
  const registry = { ...REGISTRY, nodes, devices };
  const [d] = await expectAt(decode('§max_length: 777'), ['W_DEPRECATED'], { registry });
  assert.match(d?.hint ?? '', 'rename it to "ctx_len"');
  const [both] = await expectAt(decode('ctx_len: 700, §max_length: 777'), ['W_DEPRECATED'], { registry });
  assert.match(both?.hint ?? '', 'given as well');
  const optionsOf = async (text: string) => {
    const { plan } = await compileText(text.replace('§', ''), { file: 'x.yaml', registry });
    return plan?.nodes.find((n) => n.manifest.kind === 'decode');
  };
  const alone = await optionsOf(decode('max_length: 777'));
  assert.equal([alone?.options['ctx_len'], alone?.options['max_length'], alone?.given], [777, undefined, ['ctx_len']]);
  assert.ok(alone?.optionLocations['ctx_len'] !== undefined);
  assert.is((await optionsOf(decode('ctx_len: 700, max_length: 777')))?.options['ctx_len'], 700);
  const { plan, diagnostics } = await compileText(recipe(['kind: cpu', 'kind: cpu, cores: 3']), {
    file: 'x.yaml',
    registry,
  });
  assert.equal([plan?.devices['main']?.threads, diagnostics.map((p) => p.code)], [3, ['W_DEPRECATED']]);
});

test('a value that fits no form of several is one problem', async () => {
  const nodes = NODE_MANIFESTS.map((m) =>
    m.kind === 'decode'
      ? {
          ...m,
          options: {
            ...m.options,
            end: {
              description: 'Where to end.',
              anyOf: [{ type: 'integer' }, { type: 'array', items: { type: 'integer' } }],
              examples: [1, [1, 2]],
            },
          },
        }
      : m,
  );
  const [d] = await expectAt(decode('end: §x'), ['E_SCHEMA'], { registry: { ...REGISTRY, nodes } });
  assert.match(d?.hint ?? '', 'for example 1 or [1,2]');
});

test('problems of every phase are reported together, in the order of the text', async () => {
  const text = recipe(
    ['name: test', 'nam: test'],
    ['kind: cpu', 'kind: cpuu'],
    ['prompt: $inputs.prompt', 'prompt: $inputs.image'],
    ['vision: $enc.embeddings }', 'vision: $enc.vision }, with: { ctx_len: 1 }'],
  );
  await expectAt(
    text
      .replace('version', '§version')
      .replace('nam:', '§nam:')
      .replace('cpuu', '§cpuu')
      .replace('prompt: $inputs.image', 'prompt: §$inputs.image')
      .replace('$enc.vision', '§$enc.vision')
      .replace('ctx_len: 1', 'ctx_len: §1'),
    ['E_MISSING_KEY', 'E_UNKNOWN_KEY', 'E_UNKNOWN_DEVICE_KIND', 'E_PORT_KIND', 'E_UNKNOWN_PORT', 'E_VALUE'],
  );
});

test('numbers that JSON cannot write are called by their names in YAML', async () => {
  const text = BASE.replace('kind: decode,', 'kind: decode, with: { ctx_len: .nan },').replace(
    'path: m',
    'path: -.inf',
  );
  const { diagnostics } = await compileText(text, { registry: REGISTRY, file: 'r.yaml' });
  assert.equal(
    diagnostics.map((d) => [d.code, d.message, d.hint]),
    [
      ['E_TYPE', 'model.path must be text, not -.inf', 'put it in quotes: "-.inf"'],
      ['E_VALUE', '.nan is no finite number', 'write a finite number; quote it where text is meant'],
    ],
  );
});

for (const [name, change, wanted] of [
  ['no number', ['kind: decode,', 'kind: decode, with: { temperature: .inf },'], ['E_VALUE .inf is no finite number']],
  [
    'too large',
    ['kind: decode,', 'kind: decode, with: { seed: 9007199254740993 },'],
    ['E_VALUE 9007199254740993 cannot be kept exactly as a number'],
  ],
  [
    'digits where text is meant',
    ['path: m', 'path: 99999999999999999999'],
    ['E_TYPE model.path must be text, not 999'],
  ],
  ['as written', ['name: test', 'name: 1.10'], ['E_TYPE name must be text, not 1.10']],
  [
    'a port that is not there',
    ['pixels: $pre.pixels', 'pixels: $pre.pixels, mask: [1]'],
    ['E_UNKNOWN_PORT encode node "enc" has no input port "mask"'],
  ],
] as const) {
  test(`one mistake at one place is told once: ${name}`, async () => {
    const { diagnostics } = await compileText(recipe(change), { registry: REGISTRY, file: 'r.yaml' });
    assert.equal(
      diagnostics.map((d, i) => `${d.code} ${d.message}`.slice(0, wanted[i]?.length)),
      wanted,
    );
    for (const { hint } of diagnostics) assert.not.match(hint ?? '', /quotes: "(?!1\.10"|9{20}")/);
  });
}

test('every code of the union has a test', async () => {
  const { readdir, readFile } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const { packageRoot } = await import('../../src/util/package-root.js');
  const folder = join(packageRoot(), 'test', 'recipe');
  const files = (await readdir(folder)).filter((f) => f.endsWith('.test.ts'));
  const texts = await Promise.all(files.map((f) => readFile(join(folder, f), 'utf8')));
  const all = texts.join('\n');
  const missing = DIAGNOSTIC_CODES.filter((code) => !all.includes(code));
  assert.ok(files.length > 3);
  assert.equal(missing, []);
});

test.run();
