// The suite that cpu passes, on the emulated card: shapes are compiled, calls padded, computing is another thread's.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ProgramRole } from '../../../src/contracts/device.js';
import { writeEmulatedQpc } from '../../../src/devices/ai100/emulator/qpc.js';
import { ai100Driver } from '../../../src/devices/ai100/index.js';
import { skipped } from '../../skipped.js';
import { conformance, fixture, golden, type Precision } from '../conformance.js';
import { suiteOf } from '../suite.js';
import { emulated, type Shapes, unbuilt } from './emulator/programs.js';

const missing = unbuilt();
const root = mkdtempSync(join(tmpdir(), 'vlm-card-'));
process.once('exit', () => rmSync(root, { recursive: true, force: true }));

interface Flavour {
  readonly name: string;
  readonly language: string;
  readonly vision: string;
  readonly precision?: Precision;
  readonly shapes?: Shapes;
  readonly rows?: number;
}

// Not `reader`: it shows what a slot held before, and a card's cache holds what the last prompt left there.
const FLAVOURS: readonly Flavour[] = [
  { name: 'rank3', language: 'rank3', vision: 'rank3' },
  { name: 'rank2', language: 'rank2', vision: 'rank2-half' },
  { name: 'limits', language: 'limits', vision: 'rank3' },
  { name: 'external', language: 'external', vision: 'rank3' },
  {
    name: 'optional, context buckets',
    language: 'optional',
    vision: 'rank3',
    shapes: { contextLengths: [32, golden.ctx] },
  },
  { name: 'optional, continuous batching', language: 'optional', vision: 'rank3', shapes: { fullBatch: 4 }, rows: 4 },
  { name: 'vision rows per row', language: 'rank3', vision: 'rank3', shapes: { visionBatch: true } },
  { name: 'a function of the model', language: 'function', vision: 'rank3' },
  // What the compiler is told for such graphs: rows for each row of the batch, or with continuous batching for one.
  { name: 'vision rows by row', language: 'by-row', vision: 'rank3', shapes: { visionBatch: true } },
  { name: 'vision rows by row, one set of them', language: 'by-row', vision: 'rank3' },
  {
    name: 'vision rows by row, continuous batching',
    language: 'by-row-cb',
    vision: 'rank3',
    shapes: { fullBatch: 4 },
    rows: 4,
  },
  { name: 'half in the graph', language: 'half', vision: 'rank2-half', precision: 'half' },
  { name: 'half boundaries', language: 'rank3', vision: 'rank3', precision: 'halfRows', shapes: { half: true } },
  {
    name: 'half boundaries, rank 2',
    language: 'rank2',
    vision: 'rank2-half',
    precision: 'halfRows',
    shapes: { half: true },
  },
];

async function compiled(role: ProgramRole, flavour: Flavour): Promise<string> {
  const folder = join(root, `${role}-${flavour.name.replaceAll(/\W+/g, '-')}`);
  const shapes: Shapes = {
    batches: [1, 4],
    seqLens: [8, 16],
    ctxLen: golden.ctx,
    visionRows: 16,
    tiles: [1, 3],
    rowsPerTile: golden.rowsPerTile,
    ...flavour.shapes,
  };
  await writeEmulatedQpc(folder, emulated(role, fixture(`${role}-${flavour[role]}.onnx`), shapes));
  return folder;
}

if (missing === null) {
  const programs: { flavour: Flavour; language: string; vision: string }[] = [];
  for (const flavour of FLAVOURS) {
    const [language, vision] = [await compiled('language', flavour), await compiled('vision', flavour)];
    programs.push({ flavour, language, vision });
  }
  // All at once, without a wait between them: suites that are added together run one after another.
  for (const { flavour, language, vision } of programs) {
    conformance({
      name: `emulated card, ${flavour.name}`,
      driver: ai100Driver,
      config: { kind: 'ai100', emulated: true },
      language,
      vision,
      ...(flavour.precision === undefined ? {} : { precision: flavour.precision }),
      ...(flavour.rows === undefined ? {} : { rows: flavour.rows }),
      chunks: [8, 16, 13],
      batches: true,
    });
  }
} else {
  const test = suiteOf('conformance: emulated card');
  skipped('compiler', missing);
  test.run();
}
