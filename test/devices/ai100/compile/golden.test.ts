import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { commandLine, compilerRequest } from '../../../../src/devices/ai100/compile/command.js';
import { deriveSpecializations, shapeSetsOf } from '../../../../src/devices/ai100/compile/specializations.js';
import { internvlSymbols } from '../../../../src/families/internvl/symbols.js';
import { llama4Symbols } from '../../../../src/families/llama4/symbols.js';
import { GRANITE_VISION, llavaNextSymbols } from '../../../../src/families/llava-next/symbols.js';
import { packageRoot } from '../../../../src/util/package-root.js';
import { graphsOf, LAYOUTS, modelOf, must, planOf } from './fixtures.js';

interface GoldenProgram {
  readonly command: readonly string[];
  readonly files: Readonly<Record<string, unknown>>;
}
interface Golden {
  readonly arguments: Readonly<Record<string, number | boolean>>;
  readonly programs: Readonly<Record<'vision' | 'language', GoldenProgram>>;
}
type Goldens = Readonly<Record<'internvl' | 'llava_next' | 'llama4', Readonly<Record<string, Golden>>>>;

const goldens = JSON.parse(readFileSync(join(packageRoot(), 'test/golden/compile.json'), 'utf8')) as Goldens;
const SYMBOLS = {
  internvl: internvlSymbols(448, 256),
  llava_next: llavaNextSymbols(GRANITE_VISION),
  llama4: llama4Symbols(336, 144, 8192),
};

const test = suite('compiler commands of each family');

for (const family of ['internvl', 'llava_next', 'llama4'] as const) {
  for (const [name, golden] of Object.entries(goldens[family])) {
    test(`${family}: ${name}`, () => {
      const a = golden.arguments;
      const tiles = a['num_patches'] ?? a['max_num_tiles'];
      const flags = Object.fromEntries(['mos', 'aic_enable_depth_first'].flatMap((k) => (k in a ? [[k, a[k]]] : [])));
      const plan = planOf(
        {
          ids: Array.from({ length: Number(a['num_devices'] ?? 1) }, (_, i) => i + 3),
          num_cores: a['num_cores'],
          mxfp6_matmul: a['mxfp6_matmul'] ?? false,
          mxint8_kv_cache: a['mxint8_kv_cache'] ?? false,
          compiler_flags: flags,
          ...(tiles === undefined ? {} : { shapes: { tiles } }),
        },
        { batch_size: a['batch_size'] ?? 1, prefill_seq_len: a['prefill_seq_len'], ctx_len: a['ctx_len'] },
      );
      const specs = deriveSpecializations(plan, modelOf(SYMBOLS[family]));
      assert.equal(
        specs.map((s) => `${s.device} ${s.role} ${s.node}`),
        ['main vision encode', 'main language decode'],
      );
      const graphs = graphsOf(must(LAYOUTS[family]));
      for (const spec of specs) {
        const { command, files } = golden.programs[spec.role];
        const request = compilerRequest(graphs[spec.role], spec, must(plan.devices['main']));
        const line = commandLine('/opt/qti-aic/exec/qaic-compile', graphs[spec.role].path, request, 'OUT', 'OUT/qpc');
        assert.equal(line, command, spec.role);
        const made = request.files.map((f) => [f.name, f.name.endsWith('.json') ? JSON.parse(f.text) : f.text]);
        assert.equal(Object.fromEntries(made), files, spec.role);
        // The same symbols make every port's shape a list of numbers.
        const { inputs, outputs } = graphs[spec.role];
        for (const set of shapeSetsOf(spec, [...inputs, ...outputs])) {
          assert.ok(
            Object.values(set.shapes).every((dims) => dims.every((d) => Number.isInteger(d) && d > 0)),
            set.name,
          );
        }
      }
    });
  }
}

test.run();
