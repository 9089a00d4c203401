import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkProgram, estimateMemory } from '../../../../src/devices/ai100/compile/checks.js';
import { compilerRequest, customIo } from '../../../../src/devices/ai100/compile/command.js';
import {
  completeSymbols,
  deriveSpecializations,
  mostTiles,
  shapeSetsOf,
} from '../../../../src/devices/ai100/compile/specializations.js';
import { internvlSymbols } from '../../../../src/families/internvl/symbols.js';
import { llama4Symbols } from '../../../../src/families/llama4/symbols.js';
import { codeOf } from '../../../text/helpers.js';
import { graphsOf, LAYOUTS, modelOf, must, planOf, port } from './fixtures.js';

const test = suite('specializations');
const symbols = internvlSymbols(448, 256);
const graphs = graphsOf(must(LAYOUTS['internvl']));
const specs = (
  device: Parameters<typeof planOf>[0],
  with_ = {},
  tiling = { minTiles: 1, maxTiles: 12, useThumbnail: true },
) => deriveSpecializations(planOf(device, with_), modelOf(symbols, tiling));

test('several of each: every combination, numbered, prefill before decode', () => {
  const [vision, language] = specs({
    shapes: { tiles: [13, 5], batch_size: [1, 4], prefill_seq_len: [32, 128], ctx_len: [1024, 4096] },
  });
  assert.equal(
    vision?.specializations.map((s) => [s.name, s.symbols['num_patches'], s.rows]),
    [
      ['Vision_0', 5, 1280],
      ['Vision_1', 13, 3328],
    ],
  );
  const sets = language?.specializations ?? [];
  assert.is(sets.filter((s) => s.name.startsWith('Prefill_')).length, 8);
  assert.is(sets.filter((s) => s.name.startsWith('Decode_')).length, 4);
  assert.is(new Set(sets.map((s) => s.name)).size, 12);
  assert.ok(sets.every((s) => s.symbols['vision_size'] === 3328));
  assert.is(
    sets.findIndex((s) => s.name.startsWith('Decode')),
    8,
  );
});

test('continuous batching: prefill one, decode all, the cache has full_batch_size rows', () => {
  const [, language] = specs({ shapes: { full_batch_size: 4 } });
  const [prefill, decode] = language?.specializations ?? [];
  assert.is(prefill?.symbols['batch_size'], 1);
  assert.is(prefill?.symbols['full_batch_size'], 4);
  assert.is(decode?.symbols['batch_size'], 4);
  assert.is(decode?.symbols['full_batch_size'], 4);
});

test('tiles: max_tiles of the recipe before the model’s own, the whole image beside several or always', () => {
  const of = (with_: Readonly<Record<string, unknown>>, isWholeAlways = false) => {
    const plan = planOf({}, with_);
    const encode = must(plan.nodes.find((n) => n.name === 'encode'));
    const tiling = { minTiles: 1, maxTiles: 12, useThumbnail: true, isWholeAlways };
    return mostTiles(plan, modelOf(symbols, tiling), encode);
  };
  assert.is(of({}), 13);
  assert.is(of({ max_tiles: 4 }), 5);
  assert.is(of({ max_tiles: 4, use_thumbnail: false }), 4);
  assert.is(of({ max_tiles: 1 }), 1);
  assert.is(of({ max_tiles: 1 }, true), 2);
  assert.is(of({ max_tiles: 4 }, true), 5);
});

test('an axis that the graph names in its own way gets its value', () => {
  const [vision] = specs({ shapes: { tiles: 5 } });
  const set = must(vision?.specializations[0]);
  const ports = [port('pixel_values', ['num_tiles', 3, 448, 448]), port('vision_embeds', [1, 'Concat_1_dim', 8])];
  assert.is(completeSymbols(set, ports.slice(0, 1)).symbols['num_tiles'], 5);
  const [shapes] = shapeSetsOf(must(vision), ports);
  assert.equal(shapes?.shapes, { pixel_values: [5, 3, 448, 448], vision_embeds: [1, 1280, 8] });
});

test('an axis that nothing says is refused', () => {
  const [vision] = specs({});
  const run = () => shapeSetsOf(must(vision), [port('pixel_values', ['frames', 3, 448, 448])]);
  assert.is(codeOf(run).code, 'PROGRAM_INVALID');
});

test('a family without symbols cannot be compiled', () => {
  assert.is(codeOf(() => deriveSpecializations(planOf({}), modelOf(undefined))).code, 'MODEL_UNSUPPORTED');
});

test('flags that the recipe decides cannot be given by hand', () => {
  const [vision] = specs({});
  for (const flag of ['aic_num_cores', 'm', 'aic-binary-dir', 'custom_IO_list_file', 'x y', '-m']) {
    const device = { kind: 'ai100', compiler_flags: { [flag]: '1' } };
    const run = () => compilerRequest(graphs.vision, must(vision), device);
    assert.is(codeOf(run).code, 'OPTION_INVALID', flag);
  }
});

test('float32 at the borders needs no custom I/O, a compressed cache does', () => {
  assert.equal(customIo(graphs.language, { kind: 'ai100', io_precision: 'float32' }), []);
  const compressed = customIo(graphs.language, { kind: 'ai100', io_precision: 'float32', mxint8_kv_cache: true });
  assert.is(compressed.length, 8);
  assert.ok(compressed.every(([name, precision]) => name.startsWith('past_') && precision === 'mxint8'));
});

test('checks find everything that is wrong at once', () => {
  const { family } = modelOf(symbols);
  const [, language] = specs({ shapes: { tiles: 13 } }, { ctx_len: 70000, prefill_seq_len: 80000 });
  const broken = {
    ...graphs.language,
    opsets: { '': 21, 'some.vendor': 1 },
    inputs: [
      ...graphs.language.inputs.filter((p) => p.name !== 'image_idx'),
      port('past_key.2', ['batch_size', 2, 'other', 4]),
    ],
  };
  const found = checkProgram(broken, must(language), { kind: 'ai100' }, family)
    .map((p) => p.what)
    .join('\n');
  for (const part of [
    'image_idx',
    'past_key.2',
    '3 layers',
    '"other"',
    '65536',
    'prefill_seq_len',
    'opset 21',
    'some.vendor',
  ]) {
    assert.ok(found.includes(part), `${part} in ${found}`);
  }
  const [, good] = specs({ shapes: { tiles: 13 } }, { ctx_len: 4096 });
  assert.equal(checkProgram(graphs.language, must(good), { kind: 'ai100' }, family), []);
});

test('shapes that the export does not know are refused beforehand', () => {
  const { family } = modelOf(symbols);
  const [, language] = specs(
    { shapes: { tiles: 13, full_batch_size: 4, comp_ctx_lengths_prefill: 1024 } },
    { ctx_len: 4096 },
  );
  const what = (graph: typeof graphs.language) =>
    checkProgram(graph, must(language), { kind: 'ai100' }, family)
      .filter((p) => p.severity === 'error')
      .map((p) => p.what)
      .join('\n');
  assert.match(what(graphs.language), 'no input batch_index');
  assert.match(what(graphs.language), 'no input comp_ctx_lengths');
  const extra = [
    port('batch_index', ['batch_size', 1], 'int64'),
    port('comp_ctx_lengths', ['comp_ctx_lengths'], 'int64'),
  ];
  assert.is(what({ ...graphs.language, inputs: [...graphs.language.inputs, ...extra] }), '');
});

test('chunked attention: a prefill length that does not divide the chunk is refused, unless the chunk holds every position', () => {
  const chunked = graphsOf(must(LAYOUTS['llama4'])).language;
  const model = modelOf(llama4Symbols(336, 144, 8192));
  const refused = (graph: typeof chunked, prefill: number | readonly number[], ctx: number) => {
    const plan = planOf({ shapes: { tiles: 17, prefill_seq_len: prefill } }, { ctx_len: ctx });
    const [, language] = deriveSpecializations(plan, model);
    return checkProgram(graph, must(language), { kind: 'ai100' }, model.family)
      .filter((p) => p.severity === 'error')
      .map((p) => p.what);
  };
  assert.equal(refused(chunked, [128, 1024], 16384), []);
  assert.equal(refused(chunked, 3000, 8192), []);
  assert.equal(refused(graphs.language, 3000, 16384), []);
  const [what] = refused(chunked, [128, 3000], 16384);
  assert.match(what ?? '', 'prefill_seq_len 3000 does not divide the attention chunk of 8192');
});

test('memory: half precision, MXFP6 and MXINT8, spread over the cards', () => {
  const [, language] = specs({ shapes: { tiles: 13, batch_size: [1, 4] } }, { ctx_len: 4096 });
  const spec = must(language);
  const plain = estimateMemory(graphs.language, spec, { kind: 'ai100' });
  assert.is(plain.weightBytes, 2000);
  assert.is(plain.cacheBytes, 4 * 4096 * 32);
  // A graph that is half precision already does not shrink.
  assert.is(estimateMemory({ ...graphs.language, halfWeightBytes: 4000 }, spec, { kind: 'ai100' }).weightBytes, 4000);
  const small = estimateMemory(graphs.language, spec, {
    kind: 'ai100',
    ids: [0, 1],
    mxfp6_matmul: true,
    mxint8_kv_cache: true,
  });
  assert.is(small.weightBytes, Math.ceil((2000 * 6.25) / 16));
  assert.is(small.cacheBytes, Math.ceil((4 * 4096 * 32 * 8.25) / 16));
  assert.is(small.perCard, Math.ceil((small.weightBytes + small.cacheBytes) / 2));
  const { family } = modelOf(symbols);
  const refused = checkProgram(graphs.language, spec, { kind: 'ai100', memory_gib: 0.0001 }, family);
  assert.equal(
    refused.map((p) => p.severity),
    ['error'],
  );
});

test.run();
