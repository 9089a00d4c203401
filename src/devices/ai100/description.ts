/** A compiled program as the device contract describes it. */
import { closeSync, existsSync, openSync, readSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { ProgramDescription, ProgramPort, ProgramSource, ShapeSet } from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';
import { BYTES_PER_ELEMENT, type DType, elementCount } from '../../contracts/tensor.js';
import { checkHalf } from '../shared/halves.js';
import type { IoBinding, IoDescription } from './io-desc.js';

const DTYPES: Readonly<Record<number, DType>> = {
  0: 'float32',
  1: 'float16',
  2: 'int8',
  3: 'uint8',
  5: 'int32',
  6: 'int32',
  7: 'int64',
  8: 'int8',
};

/** Bytes of an element, also of types that the host never touches (16-bit quantized, bf16). */
export function elementBytes(type: number): number {
  const dtype = DTYPES[type];
  if (dtype !== undefined) return BYTES_PER_ELEMENT[dtype];
  return type === 4 || type === 11 ? 2 : 1;
}

export interface CardPort extends ProgramPort {
  readonly binding: IoBinding;
  readonly dims: readonly number[];
  /** Stays on the card: always passed as skipped. */
  readonly retained: boolean;
  readonly elementBytes: number;
  /** The renewed value of a cache or of the vision rows. */
  readonly renewed: boolean;
}

export interface CardProgram {
  readonly path: string;
  readonly ports: readonly CardPort[];
  readonly sets: readonly ShapeSet[];
  readonly description: ProgramDescription;
}

/** The file to open: a folder with programqpc.bin, or that file. Throws MODEL_MISSING / PROGRAM_INVALID. */
export function qpcFile(source: ProgramSource): string {
  const stat = statSync(source.path, { throwIfNoEntry: false });
  const file = stat?.isDirectory() === true ? join(source.path, 'programqpc.bin') : source.path;
  if (stat === undefined || !existsSync(file)) {
    throw new VlmError('MODEL_MISSING', {
      what: 'A compiled program is missing',
      expected: 'a folder with programqpc.bin, or that file',
      received: stat === undefined ? 'no such file' : 'a folder without programqpc.bin',
      where: source.path,
      hint: 'compile it with `vlm-run compile RECIPE`',
    });
  }
  if (basename(file).endsWith('.onnx')) {
    throw new VlmError('PROGRAM_INVALID', {
      what: 'A card runs compiled programs, not ONNX files',
      expected: 'a folder with programqpc.bin, or that file',
      received: basename(file),
      where: source.path,
      hint: 'compile it with `vlm-run compile RECIPE`',
    });
  }
  return file;
}

/** By its first bytes: a compiled program may be larger than what can be read at once. */
export function isEmulatedFile(file: string): boolean {
  const head = Buffer.alloc(8);
  const handle = openSync(file, 'r');
  try {
    readSync(handle, head);
  } finally {
    closeSync(handle);
  }
  return head.toString('latin1') === 'VLMEMQPC';
}

export function describeProgram(
  source: ProgramSource,
  file: string,
  io: IoDescription,
  emulated: boolean,
): CardProgram {
  const ports = io.bindings.map(portOf);
  checkNames(ports, file);
  const names = (direction: IoBinding['direction']) =>
    ports.filter((p) => p.binding.direction === direction).map((p) => p.name);
  checkHalf(source.role, { inputs: names('in'), outputs: names('out') }, file);
  const sets = shapeSets(io, ports);
  const caches = ports.filter((p) => p.retained && p.binding.direction === 'in');
  const perToken = caches.reduce(
    (n, p) => n + p.elementBytes * p.dims.reduce((m, d, axis) => (axis === 0 || axis === 2 ? m : m * d), 1),
    0,
  );
  const port = ({ name, dtype, dims }: CardPort): ProgramPort => ({ name, dtype, dims });
  return {
    path: file,
    ports,
    sets,
    description: {
      role: source.role,
      inputs: ports.filter((p) => p.binding.direction === 'in').map(port),
      outputs: ports.filter((p) => p.binding.direction === 'out').map(port),
      allowedShapes: sets,
      calls: 'padded',
      weightBytes: statSync(file).size,
      stateBytesPerToken: perToken,
      emulated,
    },
  };
}

/** The name that a port has in the contract: without prefix, retained state by one name. */
export function contractName(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1).replace(/_InternalRetainedState$/, '_RetainedState');
}

function portOf(binding: IoBinding): CardPort {
  const name = contractName(binding.name);
  const renewed = binding.direction === 'out' && name.endsWith('_RetainedState');
  return {
    name,
    dtype: DTYPES[binding.type] ?? 'uint8',
    dims: binding.dims,
    binding,
    renewed,
    retained: renewed || (binding.direction === 'in' && name.startsWith('past_')),
    elementBytes: elementBytes(binding.type),
  };
}

function checkNames(ports: readonly CardPort[], where: string): void {
  const seen = new Set<string>();
  for (const p of ports) {
    if (!p.retained && DTYPES[p.binding.type] === undefined) {
      throw invalid(
        'A port of a compiled program has a type that is not supported',
        `type ${p.binding.type}`,
        `${where}: ${p.name}`,
      );
    }
    if (seen.has(p.name)) throw invalid('Two ports of a compiled program have the same name', p.name, where);
    seen.add(p.name);
  }
}

function shapeSets(io: IoDescription, ports: readonly CardPort[]): readonly ShapeSet[] {
  const lists =
    io.allowedShapes.length > 0 ? io.allowedShapes.map((s) => s.map((x) => x.dims)) : [ports.map((p) => p.dims)];
  return lists.map((dims, i) => {
    const shapes: Record<string, readonly number[]> = {};
    for (const [j, port] of ports.entries()) shapes[port.name] = dims[j] ?? port.dims;
    const symbols = symbolsOf(shapes);
    const seq = symbols.seq_len;
    const name = seq === undefined ? `Set ${i}` : seq === 1 ? 'Decode' : 'Prefill';
    return { name, symbols, shapes };
  });
}

function symbolsOf(shapes: Readonly<Record<string, readonly number[]>>): Record<string, number> {
  const symbols: Record<string, number> = {};
  const put = (name: string, value: number | undefined): void => {
    if (value !== undefined) symbols[name] = value;
  };
  put('batch_size', shapes.input_ids?.[0]);
  put('seq_len', shapes.input_ids?.[1]);
  // Layers of chunked attention keep a shorter cache: the longest one holds every position.
  const caches = Object.entries(shapes).flatMap(([n, dims]) => (n.startsWith('past_key') ? (dims[2] ?? []) : []));
  if (caches.length > 0) put('ctx_len', Math.max(...caches));
  put('comp_ctx_lengths', shapes.comp_ctx_lengths?.[0]);
  const pixels = shapes.pixel_values;
  put('num_patches', pixels?.length === 5 ? pixels[1] : pixels?.[0]);
  put('img_size', pixels?.at(-1));
  put('vision_size', shapes.vision_embeds?.at(-2));
  return symbols;
}

/** Bytes of the largest shape of a port over all sets. */
export function largestBytes(port: CardPort, sets: readonly ShapeSet[]): number {
  const shapes = sets.map((s) => elementCount(s.shapes[port.name] ?? []) * port.elementBytes);
  return Math.max(port.binding.size, elementCount(port.dims) * port.elementBytes, ...shapes);
}

function invalid(what: string, received: string, where: string): VlmError {
  return new VlmError('PROGRAM_INVALID', {
    what,
    received,
    where,
    hint: 'give the vision and the language program each their own compiled file',
  });
}
