import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { emulatedProgram } from '../../../../src/devices/ai100/compile/emulator-target.js';
import { deriveSpecializations } from '../../../../src/devices/ai100/compile/specializations.js';
import { describeProgram } from '../../../../src/devices/ai100/description.js';
import { decodeIoDesc, encodeIoDesc } from '../../../../src/devices/ai100/io-desc.js';
import { internvlSymbols } from '../../../../src/families/internvl/symbols.js';
import { llama4Symbols } from '../../../../src/families/llama4/symbols.js';
import { graphsOf, LAYOUTS, modelOf, must, planOf } from './fixtures.js';

const test = suite('emulated programs');
const graphs = graphsOf(must(LAYOUTS['internvl']));
const model = modelOf(internvlSymbols(448, 256));

function describe(
  role: 'vision' | 'language',
  device: Parameters<typeof planOf>[0],
  with_ = {},
  graph = graphs[role],
  symbols = model,
) {
  const plan = planOf(device, with_);
  const spec = must(deriveSpecializations(plan, symbols).find((s) => s.role === role));
  const program = emulatedProgram(graph, spec, must(plan.devices['main']), 1000);
  const { name, bindings, sets } = program;
  const bytes = encodeIoDesc({
    programName: name,
    sets: [{ name: 'set', bindings }],
    selected: 'set',
    bindings,
    allowedShapes: sets,
  });
  const folder = mkdtempSync(join(tmpdir(), 'vlm-emulated-'));
  const file = join(folder, 'programqpc.bin');
  writeFileSync(file, bytes);
  const card = describeProgram({ role, path: file }, file, decodeIoDesc(bytes), true);
  rmSync(folder, { recursive: true });
  return { program, card };
}

test('caches of two lengths: ctx_len is the longer, whichever layer comes first', () => {
  const { language } = graphsOf(must(LAYOUTS['llama4']));
  // The second layer sees every position, the first looks back within its chunk.
  const longer = <T extends { readonly name: string; readonly dims: readonly (number | string)[] }>(port: T): T =>
    /^past_.*\.1/.test(port.name)
      ? { ...port, dims: port.dims.map((d) => (d === 'chunk_ctx_len' ? 'ctx_len' : d)) }
      : port;
  const graph = { ...language, inputs: language.inputs.map(longer), outputs: language.outputs.map(longer) };
  const symbols = modelOf(llama4Symbols(336, 144, 96));
  const { card } = describe(
    'language',
    { shapes: { tiles: 17 } },
    { ctx_len: 768, prefill_seq_len: 32 },
    graph,
    symbols,
  );
  assert.equal(
    card.sets.map((s) => [s.shapes['past_key.0']?.[2], s.shapes['past_key.1']?.[2], s.symbols['ctx_len']]),
    [
      [96, 768, 768],
      [96, 768, 768],
    ],
  );
});

test('the card device reads the shapes that were derived', () => {
  const { card } = describe(
    'language',
    { shapes: { tiles: 5, batch_size: [1, 2], prefill_seq_len: [32, 128] } },
    { ctx_len: 2048 },
  );
  assert.equal(
    card.sets.map((s) => [s.shapes['input_ids'], s.shapes['past_key.0'], s.shapes['vision_embeds']]),
    [
      [
        [1, 32],
        [1, 2, 2048, 4],
        [1, 1280, 8],
      ],
      [
        [1, 128],
        [1, 2, 2048, 4],
        [1, 1280, 8],
      ],
      [
        [2, 32],
        [2, 2, 2048, 4],
        [1, 1280, 8],
      ],
      [
        [2, 128],
        [2, 2, 2048, 4],
        [1, 1280, 8],
      ],
      [
        [1, 1],
        [1, 2, 2048, 4],
        [1, 1280, 8],
      ],
      [
        [2, 1],
        [2, 2, 2048, 4],
        [1, 1280, 8],
      ],
    ],
  );
  assert.equal(
    must(card.ports.find((p) => p.name === 'input_ids')).dims,
    [2, 128],
    'buffers are as large as the largest set',
  );
});

test('half precision where custom I/O says so; whole where the recipe asks for the graph’s own', () => {
  const types = (card: ReturnType<typeof describe>['card']) =>
    Object.fromEntries(card.ports.map((p) => [p.name, p.dtype]));
  const half = types(describe('language', { shapes: { tiles: 5 } }).card);
  assert.is(half['vision_embeds'], 'float16');
  assert.is(half['past_key.0'], 'float16');
  assert.is(half['logits'], 'float32');
  assert.is(half['input_ids'], 'int64');
  const whole = types(describe('language', { shapes: { tiles: 5 }, io_precision: 'float32' }).card);
  assert.not.ok(Object.values(whole).includes('float16'));
});

test('several tile counts make several sets of the vision program', () => {
  const { card, program } = describe('vision', { shapes: { tiles: [5, 13] }, ids: [0, 1], num_cores: 8 });
  assert.equal(
    card.sets.map((s) => [s.shapes['pixel_values'], s.shapes['vision_embeds']]),
    [
      [
        [5, 3, 448, 448],
        [1, 1280, 8],
      ],
      [
        [13, 3, 448, 448],
        [1, 3328, 8],
      ],
    ],
  );
  assert.is(program.cores, 8);
  assert.is(program.devices, 2);
});

test.run();
