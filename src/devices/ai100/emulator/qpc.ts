/** Writes an emulated program: a table that the emulator reads, the I/O descriptor, and the graph that computes it. */
import { constants } from 'node:fs';
import { copyFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { VlmError } from '../../../contracts/errors.js';
import { makeFolders } from '../../../util/folders.js';
import { parseOnnx } from '../../cpu/onnx-graph.js';
import { ByteSource } from '../../cpu/onnx-wire.js';
import { encodeIoDesc, type IoShape } from '../io-desc.js';

export interface EmulatedQpcBinding {
  readonly name: string;
  readonly index: number;
  readonly direction: 'in' | 'out';
  readonly dtype: number;
  readonly dims: readonly number[];
  readonly size: number;
  readonly partial: boolean;
  readonly quantScale: number;
  readonly quantOffset: number;
}

export interface EmulatedQpc {
  readonly role: 'vision' | 'language';
  readonly name: string;
  /** `echo` and `argmax` are built in and need neither a graph nor an executor. */
  readonly compute: 'executor' | 'echo' | 'argmax';
  readonly cores: number;
  readonly devices: number;
  readonly memoryBytes: number;
  readonly bindings: readonly EmulatedQpcBinding[];
  /** `sets[i][j]`: type and dims of binding j. */
  readonly sets: readonly (readonly IoShape[])[];
  readonly onnx?: string;
}

const WORD = /^\S+$/;

/** Makes `folder` with programqpc.bin, and beside it the files that the executor reads. */
export async function writeEmulatedQpc(folder: string, program: EmulatedQpc): Promise<void> {
  check(program);
  await makeFolders(folder);
  const io = Buffer.from(descriptor(program));
  const text = Buffer.from(table(program));
  const head = Buffer.alloc(16);
  head.write('VLMEMQPC', 'latin1');
  head.writeUInt32LE(1, 8);
  head.writeUInt32LE(text.length, 12);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(io.length);
  if (program.onnx !== undefined) await copyGraph(program.onnx, folder);
  const { role, bindings, sets } = program;
  await writeFile(join(folder, 'emulated.json'), `${JSON.stringify({ version: 1, role, bindings, sets }, null, 1)}\n`);
  // Last: a folder without it is not a program.
  await writeFile(join(folder, 'programqpc.bin'), Buffer.concat([head, text, length, io]));
}

function check(program: EmulatedQpc): void {
  const { bindings, sets, compute, onnx } = program;
  const good =
    bindings.length > 0 &&
    sets.length > 0 &&
    WORD.test(program.name) &&
    bindings.every((b, i) => b.index === i && WORD.test(b.name)) &&
    sets.every((s) => s.length === bindings.length) &&
    (compute !== 'executor' || onnx !== undefined);
  if (good) return;
  throw new VlmError('PROGRAM_INVALID', {
    what: 'An emulated program is not complete',
    expected: 'bindings in the order of their index, sets with a shape for each, and a graph for the executor',
    where: program.name,
  });
}

function table(p: EmulatedQpc): string {
  const lines = [
    `name ${p.name}`,
    `compute ${p.compute}`,
    `cores ${p.cores}`,
    `devices ${p.devices}`,
    `memory ${Math.round(p.memoryBytes)}`,
    ...p.bindings.map((b) => `binding ${b.index} ${b.direction} ${b.dtype} ${b.size} ${b.partial ? 1 : 0} ${b.name}`),
    ...p.sets.map((set) => `shape ${set.map((s) => `${s.type}:${s.dims.join('x')}`).join(' ')}`),
  ];
  return `${lines.join('\n')}\n`;
}

function descriptor(p: EmulatedQpc): Uint8Array {
  const bindings = p.bindings.map(({ dtype, ...b }) => ({ ...b, type: dtype }));
  const set = 'default';
  return encodeIoDesc({
    programName: p.name,
    sets: [{ name: set, bindings }],
    selected: set,
    bindings,
    allowedShapes: p.sets,
  });
}

/** The graph as model.onnx; external weights keep the names by which the graph knows them. */
async function copyGraph(path: string, folder: string): Promise<void> {
  const source = ByteSource.open(path);
  const locations = new Set<string>();
  try {
    const { graph } = parseOnnx(source);
    const tensors = [...graph.initializers, ...graph.nodes.flatMap((n) => n.tensors)];
    for (const { external } of tensors) if (external !== null) locations.add(external.location);
  } finally {
    source.close();
  }
  await copyFile(path, join(folder, 'model.onnx'), constants.COPYFILE_FICLONE);
  for (const name of locations) {
    await makeFolders(dirname(join(folder, name)));
    await copyFile(join(dirname(path), name), join(folder, name), constants.COPYFILE_FICLONE);
  }
}
