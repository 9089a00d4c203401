import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { VlmError } from '../../../src/contracts/errors.js';
import { decodeIoDesc, encodeIoDesc, type IoBinding, type IoDescription } from '../../../src/devices/ai100/io-desc.js';

const test = suite('I/O descriptor');

const bindings: readonly IoBinding[] = Array.from({ length: 6 }, (_, index) => ({
  name: `prefix/port.${index}`,
  index,
  direction: index < 3 ? 'in' : 'out',
  type: [0, 1, 7, 6, 11, 2][index] ?? 0,
  dims: [1, 300, index + 1],
  size: 300 * (index + 1) * 4,
  partial: index === 2,
  quantScale: index === 5 ? 0.5 : 0,
  quantOffset: index === 5 ? -3 : 0,
}));
const description: IoDescription = {
  programName: 'language',
  sets: [{ name: 'default', bindings }],
  selected: 'default',
  bindings,
  allowedShapes: [1, 2].map((n) => bindings.map((b) => ({ type: b.type, dims: [n, 300, b.index + 1] }))),
};
const whole = encodeIoDesc(description);

test('what is written is read back', () => {
  assert.equal(decodeIoDesc(whole), description);
});

test('bytes made by hand from the schema are read: unpacked dims, a negative offset in ten bytes, unknown fields', () => {
  const binding = [
    ...[0x0a, 1, 0x78, 0x10, 0, 0x18, 1, 0x20, 1, 0x2d, 0, 0, 0x80, 0x3f],
    ...[0x30, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ...[0x38, 2, 0x38, 0xac, 0x02, 0x40, 0xb0, 0x09, 0x4a, 2, 0x08, 1, 0x50, 1, 0xa0, 0x01, 1],
  ];
  const set = [0x12, binding.length, ...binding];
  const bytes = Uint8Array.from([0x12, set.length, ...set, 0x1a, 1, 0x70, 0x22, 2, 0x08, 0]);
  const read = decodeIoDesc(bytes);
  assert.is(read.programName, 'p');
  assert.equal(read.bindings, [
    {
      name: 'x',
      index: 0,
      direction: 'out',
      type: 1,
      dims: [2, 300],
      size: 1200,
      partial: true,
      quantScale: 1,
      quantOffset: -2,
    },
  ]);
});

test('12,000 malformed descriptors are refused with a code or read, never anything else', () => {
  let seed = 12345;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  let refused = 0;
  for (let i = 0; i < 12_000; i++) {
    let bytes = whole.slice();
    const kind = i % 4;
    if (kind === 0) bytes = bytes.subarray(0, random(bytes.length));
    else if (kind === 1) for (let n = 0; n <= random(4); n++) bytes[random(bytes.length)] = random(256);
    else if (kind === 2) bytes = Uint8Array.from({ length: random(200) }, () => random(256));
    else bytes.copyWithin(random(bytes.length), random(bytes.length), random(bytes.length));
    try {
      const read = decodeIoDesc(bytes, 'a file');
      assert.ok(read.bindings.length > 0);
      assert.ok(read.allowedShapes.every((s) => s.length === read.bindings.length));
      assert.ok(read.bindings.every((b) => b.dims.every((d) => d >= 0 && d <= 0x7fffffff)));
    } catch (error) {
      assert.instance(error, VlmError, String(error));
      assert.is((error as VlmError).code, 'PROGRAM_INVALID');
      assert.match((error as VlmError).details.where ?? '', 'a file');
      refused++;
    }
  }
  assert.ok(refused > 5_000, `only ${refused} refused`);
});

test.run();
