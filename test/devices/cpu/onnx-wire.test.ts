import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ByteSource } from '../../../src/devices/cpu/onnx-wire.js';
import { rejects } from '../conformance.js';

/** Some windows long; each byte tells its place. */
const BYTES = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 31 + (i >> 8)) & 0xff);

async function withFile(use: (source: ByteSource) => void | Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'vlm-wire-'));
  const path = join(folder, 'bytes');
  await writeFile(path, BYTES);
  const source = ByteSource.open(path);
  try {
    await use(source);
  } finally {
    source.close();
    await rm(folder, { recursive: true, force: true });
  }
}

test('what is kept of one place does not change when another is read', async () => {
  await withFile((source) => {
    const places = [0, 65_530, 299_990, 131_072, 3];
    const kept = places.map((at) => source.bytes(at, 10).slice());
    for (const [i, at] of places.entries()) {
      assert.equal(Array.from(kept[i] ?? []), Array.from(BYTES.subarray(at, at + 10)), `at ${at}`);
    }
  });
});

test('bytes, numbers and texts across and beyond a window', async () => {
  await withFile((source) => {
    assert.equal(Array.from(source.bytes(1000, 200_000)), Array.from(BYTES.subarray(1000, 201_000)));
    for (const at of [0, 65_535, 65_536, 200_999, 299_999, 5]) assert.is(source.byte(at), BYTES[at]);
    const text = new TextDecoder().decode(BYTES.subarray(65_500, 65_600));
    assert.is(source.text(65_500, 100), text);
    assert.is(source.text(10, 0), '');
  });
});

test('a read past the end is refused, and the places before it can still be read', async () => {
  await withFile(async (source) => {
    assert.is(source.byte(4), BYTES[4]);
    for (const read of [() => source.byte(300_000), () => source.bytes(299_999, 2), () => source.text(-1, 2)]) {
      await rejects(read, 'PROGRAM_INVALID');
    }
    assert.is(source.byte(4), BYTES[4]);
  });
});

test.run();
