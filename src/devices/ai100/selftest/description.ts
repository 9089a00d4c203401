/** What a program says of its inputs and outputs, read out of the runtime's memory without trusting it. */
import { VlmError } from '../../../contracts/errors.js';
import { decodeIoDesc, type IoDescription } from '../io-desc.js';
import { CANARY, Out, type Runtime } from './runtime.js';
import { Deviation } from './types.js';

/** More than any descriptor is: a size beyond it is no size. */
const MOST = 64 << 20;
const MAPPING_BYTES = 32;

export interface ReadDescription {
  /** QData as the runtime filled it in: what qaicCreateExecObj wants. */
  readonly data: Buffer;
  readonly bytes: number;
  readonly description: IoDescription;
}

export function readDescription(runtime: Runtime, program: bigint): ReadDescription {
  const data = Buffer.alloc(32, CANARY);
  data.fill(0, 0, 16);
  runtime.ok('qaicProgramGetIoDescriptor', program, data);
  const size = Number(data.readBigUInt64LE(0));
  const received = size > MOST ? null : runtime.read(data.readBigUInt64LE(8), size);
  if (received === null || received.length !== size) {
    throw new Deviation('QData {size, data} of readable memory', `size ${size}, memory that is not there`, 0);
  }
  try {
    return { data, bytes: size, description: decodeIoDesc(received) };
  } catch (error) {
    if (!(error instanceof VlmError)) throw error;
    throw new Deviation(
      'a whole protobuf aicapi.IoDesc',
      `${size} bytes: ${error.details.received ?? error.message}`,
      0,
    );
  }
}

export interface Mapping {
  readonly name: string | null;
  readonly index: number;
  readonly ioType: number;
  readonly size: number;
  readonly partial: number;
  readonly type: number;
}

/** QAicIoBufferInfo by the layout that is assumed. */
export function readMappings(runtime: Runtime, program: bigint): readonly Mapping[] {
  const out = new Out();
  runtime.ok('qaicProgramGetIoBufferInfo', program, out.bytes);
  const head = runtime.read(out.value, 16);
  if (head === null || head.length < 16) throw new Deviation('a QAicIoBufferInfo', 'memory that is not there', 0);
  const count = head.readUInt32LE(0);
  const size = count * MAPPING_BYTES;
  const table = size > MOST ? null : runtime.read(head.readBigUInt64LE(8), size);
  if (table === null || table.length !== size) {
    throw new Deviation('numBufferMappings and a table of them', `${count} mappings that are not there`, 0);
  }
  return Array.from({ length: count }, (_, i) => {
    const at = i * MAPPING_BYTES;
    return {
      name: runtime.text(table.readBigUInt64LE(at)),
      index: table.readUInt32LE(at + 8),
      ioType: table.readUInt32LE(at + 12),
      size: table.readUInt32LE(at + 16),
      partial: table.readUInt8(at + 20),
      type: table.readUInt32LE(at + 24),
    };
  });
}
