import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ProgramSession } from '../../../src/contracts/device.js';
import { VlmError } from '../../../src/contracts/errors.js';
import type { ItemResult, NodeInputs } from '../../../src/contracts/node.js';
import type { EmbeddingsValue } from '../../../src/contracts/ports.js';
import { cpuDriver } from '../../../src/devices/cpu/index.js';
import { run } from '../../../src/nodes/encode/run.js';
import { fixture, floats, type GoldenCase, golden, near, rejects } from '../../devices/conformance.js';
import { deviceContext, imageInfo } from '../device-context.js';

const test = suite('encode');
const withImages = golden.cases.filter((c) => c.pixels !== null);
let session: ProgramSession;
let calls: number[][] = [];

test.before(async () => {
  const inner = await cpuDriver.open(
    { role: 'vision', path: fixture('vision-rank3.onnx') },
    { kind: 'cpu', threads: 1 },
  );
  session = {
    describe: () => inner.describe(),
    activate: () => inner.activate(),
    deactivate: () => inner.deactivate(),
    createState: (b, c) => inner.createState(b, c),
    close: () => inner.close(),
    run: (state, inputs, wanted, options) => {
      calls.push([...(inputs.pixel_values?.dims ?? [])]);
      return inner.run(state, inputs, wanted, options);
    },
  };
});
test.before.each(() => {
  calls = [];
});
test.after(() => session.close());

function item(c: GoldenCase | null): NodeInputs {
  const tensor = c?.pixels ? floats(c.pixels) : null;
  const images = tensor === null ? [] : [imageInfo(tensor.dims[0] ?? 0)];
  return { pixels: { kind: 'pixels', tensor, images } };
}

function embeddings(result: ItemResult | undefined): EmbeddingsValue {
  if (result?.ok !== true) throw new VlmError('INTERNAL', { what: 'The item failed' });
  return result.outputs.embeddings as EmbeddingsValue;
}

test('each item gets the rows of the reference, whatever goes together in a call', async () => {
  const items = [...withImages, ...withImages].map(item);
  for (const [batch_size, expected] of [
    [
      1,
      [
        [1, 3, 4, 4],
        [3, 3, 4, 4],
        [1, 3, 4, 4],
        [3, 3, 4, 4],
      ],
    ],
    [
      3,
      [
        [5, 3, 4, 4],
        [3, 3, 4, 4],
      ],
    ],
  ] as const) {
    calls = [];
    const { context, seen } = deviceContext(session, { batch_size });
    const results = await run(items, context);
    assert.equal(calls, expected);
    for (const [i, result] of results.entries()) {
      const { tensor } = embeddings(result);
      const { vision } = withImages[i % 2] as GoldenCase;
      assert.equal(tensor?.dims, vision?.dims);
      near(tensor?.data ?? [], vision?.data ?? [], 1e-5);
    }
    assert.equal(
      seen.spans.map((s) => s.stage),
      expected.map(() => 'encode'),
    );
    assert.equal(seen.progress.at(-1), [4, 4, 'items']);
    const buffers = new Set(results.map((r) => embeddings(r).tensor?.data.buffer));
    assert.is(buffers.size, 4, 'results move to other threads one by one');
  }
});

test('a card takes as many items a call as its largest compiled count of tiles holds', async () => {
  const compiled: ProgramSession = {
    ...session,
    describe: () => {
      const inner = session.describe();
      const inputs = inner.inputs.map((port) => ({ ...port, dims: [8, ...port.dims.slice(1)] }));
      const allowedShapes = [3, 8].map((n) => ({ name: '', symbols: {}, shapes: { pixel_values: [n, 3, 4, 4] } }));
      return { ...inner, inputs, allowedShapes, calls: 'padded' };
    },
  };
  // 1, 3, 1, 3, 1 tiles: 1 + 3 + 1 + 3 fit into 8.
  const items = [...withImages, ...withImages, withImages[0] ?? null].map(item);
  const { context } = deviceContext(compiled, { batch_size: 5 });
  const results = await run(items, context);
  // Padding to a compiled count is the family's.
  assert.equal(
    calls.map(([tiles]) => tiles),
    [8, 1],
  );
  for (const [i, result] of results.entries()) {
    const { vision } = withImages[i % 2] as GoldenCase;
    assert.equal(embeddings(result).tensor?.dims, vision?.dims);
    near(embeddings(result).tensor?.data ?? [], vision?.data ?? [], 1e-5);
  }
});

test('a text-only item runs nothing', async () => {
  const { context } = deviceContext(session, {});
  const [result] = await run([item(null)], context);
  assert.is(embeddings(result).tensor, null);
  assert.is(calls.length, 0);
});

test('an item whose pixels do not fit fails alone', async () => {
  const bad: NodeInputs = {
    pixels: {
      kind: 'pixels',
      tensor: { dtype: 'float32', dims: [1, 3, 5, 5], data: new Float32Array(75) },
      images: [imageInfo(1)],
    },
  };
  const { context } = deviceContext(session, { batch_size: 3 });
  const results = await run([item(withImages[0] ?? null), bad, item(withImages[1] ?? null)], context);
  assert.equal(
    results.map((r) => r.ok),
    [true, false, true],
  );
  const failed = results[1];
  assert.is(failed?.ok === false && failed.error.code, 'TENSOR_INVALID');
  near(embeddings(results[2]).tensor?.data ?? [], withImages[1]?.vision?.data ?? [], 1e-5);
});

test('cancelling ends the node before the next call', async () => {
  const { context } = deviceContext(session, {}, () => {
    throw new VlmError('CANCELLED', { what: 'cancelled' });
  });
  await rejects(run([item(withImages[0] ?? null)], context), 'CANCELLED');
  assert.is(calls.length, 0);
});

test.run();
