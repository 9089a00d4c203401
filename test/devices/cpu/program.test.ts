import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CpuDriver } from '../../../src/devices/cpu/index.js';
import { findIndexLimits, INT32_MAX } from '../../../src/devices/cpu/index-limits.js';
import { largeWeights, mendedGraph } from '../../../src/devices/cpu/mend.js';
import { type OnnxNode, parseOnnx, readOnnx } from '../../../src/devices/cpu/onnx-graph.js';
import { ByteSource } from '../../../src/devices/cpu/onnx-wire.js';
import { readProgram } from '../../../src/devices/cpu/program.js';
import { retainedPairs } from '../../../src/devices/cpu/retained-state.js';
import { fixture, golden, rejects } from '../conformance.js';

const test = suite('programs on cpu');
const FLAVOURS = [
  'rank3',
  'rank2',
  'limits',
  'external',
  'optional',
  'reader',
  'half',
  'by-row',
  'by-row-cb',
  'function',
];
const driver = new CpuDriver();
const config = { kind: 'cpu', threads: 1 };

test('ports read from the file are those that ONNX Runtime reads', async () => {
  for (const flavour of FLAVOURS) {
    const path = fixture(`language-${flavour}.onnx`);
    const { inputs, outputs } = readProgram({ role: 'language', path });
    const session = await InferenceSession.create(path, { logSeverityLevel: 3 });
    const shape = (m: InferenceSession.ValueMetadata) => (m.isTensor ? [m.name, m.type, m.shape] : [m.name]);
    assert.equal(
      inputs.map((p) => [p.graphName, p.dtype, p.dims]),
      session.inputMetadata.map(shape),
    );
    assert.equal(
      outputs.map((p) => [p.graphName, p.dtype, p.dims]),
      session.outputMetadata.map(shape),
    );
    await session.release();
  }
});

test('weights and cache bytes are counted, external weights too', () => {
  const inline = readProgram({ role: 'language', path: fixture('language-limits.onnx') });
  const external = readProgram({ role: 'language', path: fixture('language-external.onnx') });
  assert.is(external.description.weightBytes, inline.description.weightBytes);
  assert.ok(external.external.length > 0);
  assert.is(inline.external.length, 0);
  // 2 layers x key and value x 1 head x 8 x 4 bytes.
  assert.is(inline.description.stateBytesPerToken, 2 * 2 * 8 * 4);
  assert.is(readProgram({ role: 'language', path: fixture('language-half.onnx') }).description.stateBytesPerToken, 64);
});

test('INT32_MAX indices are found wherever they stand; the end of a slice is left alone', () => {
  for (const [flavour, count] of [
    ['rank3', 0],
    ['limits', 4],
    ['external', 4],
    ['optional', 8],
  ] as const) {
    const path = fixture(`language-${flavour}.onnx`);
    const bytes = readFileSync(path);
    const model = parseOnnx(ByteSource.fromBytes(bytes, path));
    const limits = findIndexLimits(model, ByteSource.fromBytes(bytes, path));
    assert.is(limits.tensors.length + limits.ints.length, count, flavour);
    if (count === 0) continue;
    const mended = mendedGraph(ByteSource.fromBytes(bytes, path), limits);
    const source = ByteSource.fromBytes(mended, path);
    const after = parseOnnx(source);
    const left = findIndexLimits(after, source);
    assert.is(left.tensors.length, 0);
    const slice = after.graph.nodes.find((n) => n.op === 'Slice' && n.inputs[2] !== undefined);
    assert.ok(slice);
    const ends = after.graph.initializers.filter((t) => {
      const { payload } = t;
      return (
        payload?.field === 'raw' && t.dims.join() === '1' && source.bytes(payload.start, 4).join() === '255,255,255,127'
      );
    });
    assert.is(ends.length, 1);
    if (flavour === 'external') assert.is(after.graph.initializers.length, model.graph.initializers.length);
    else assert.is(mended.length, bytes.length);
  }
  assert.is(INT32_MAX, 2 ** 31 - 1);
});

test('a mended graph refers to the weights in the file it was made from', async () => {
  const path = fixture('language-limits.onnx');
  const bytes = readFileSync(path);
  const source = ByteSource.fromBytes(bytes, path);
  const model = parseOnnx(source);
  const limits = findIndexLimits(model, source);
  // Odd places too: protobuf aligns nothing.
  const weights = largeWeights(model, limits, 256);
  assert.ok(weights.length > 2);
  const graph = mendedGraph(source, limits, weights, 'language-limits.onnx');
  const left = weights.reduce((n, t) => n + t.bytes, 0);
  assert.ok(graph.length < bytes.length - left + 150 * weights.length);
  const after = parseOnnx(ByteSource.fromBytes(graph, path));
  assert.is(after.graph.initializers.filter((t) => t.external !== null).length, weights.length);
  const whole = await InferenceSession.create(mendedGraph(source, limits));
  const folder = { model_external_initializers_file_folder_path: dirname(path) };
  const lean = await InferenceSession.create(graph, { extra: { session: folder } });
  const int64 = (values: number[]): OrtTensor =>
    new OrtTensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
  const feeds: Record<string, OrtTensor> = {
    input_ids: int64([1, 2, 3]),
    position_ids: int64([0, 1, 2]),
    image_idx: int64([0]),
    vision_embeds: new OrtTensor('float32', new Float32Array(16), [1, 1, 16]),
  };
  for (const name of whole.inputNames.filter((n) => n.startsWith('past_'))) {
    feeds[name] = new OrtTensor('float32', new Float32Array(8 * 32), [1, 1, 32, 8]);
  }
  const logits = async (session: InferenceSession) =>
    Buffer.from(new Float32Array((await session.run(feeds, ['logits']))['logits']!.data as Float32Array).buffer);
  assert.is(Buffer.compare(await logits(whole), await logits(lean)), 0);
  await Promise.all([whole.release(), lean.release()]);
});

test('ONNX Runtime fails on the constants as exported: mending them is needed', async () => {
  const session = await InferenceSession.create(fixture('language-limits.onnx'), { logSeverityLevel: 4 });
  const int64 = (v: bigint): OrtTensor => new OrtTensor('int64', BigInt64Array.of(v), [1, 1]);
  const feeds: Record<string, OrtTensor> = {
    input_ids: int64(1n),
    position_ids: int64(0n),
    image_idx: int64(0n),
    vision_embeds: new OrtTensor('float32', new Float32Array(16), [1, 1, 16]),
  };
  for (const name of session.inputNames.filter((n) => n.startsWith('past_'))) {
    feeds[name] = new OrtTensor('float32', new Float32Array(8 * 32), [1, 1, 32, 8]);
  }
  let message = '';
  await session.run(feeds, ['logits']).catch((error: Error) => {
    message = error.message;
  });
  assert.match(message, /invalid ind|out of/i);
  await session.release();
});

test('a cache is renewed in place only when the scatter alone reads it', () => {
  for (const flavour of FLAVOURS) {
    const pairs = retainedPairs(readOnnx(fixture(`language-${flavour}.onnx`)));
    assert.equal(
      pairs.map((p) => [p.bare.replace(/_VLLM$/, ''), p.inPlace]),
      ['past_key.0', 'past_value.0', 'past_key.1', 'past_value.1'].map((n) => [
        n,
        flavour !== 'reader' || n !== 'past_key.0',
      ]),
    );
  }
});

test("ONNX Runtime's fused attention renews its caches in place, the same name in another domain does not", () => {
  const model = readOnnx(fixture('language-rank3.onnx'));
  const cache = (name: string) => ({ name, elementType: 1, dims: ['batch_size', 1, 'ctx_len', 16] });
  const [key, value] = [cache('past_key.0'), cache('past_value.0')];
  const [newKey, newValue] = [cache('past_key.0_RetainedState'), cache('past_value.0_RetainedState')];
  const pairs = (domain: string, inputs: readonly string[]): readonly boolean[] => {
    const node = {
      ...model.graph.nodes[0],
      op: 'GroupQueryAttention',
      domain,
      inputs,
      outputs: ['attended', newKey.name, newValue.name],
      graphs: [],
      tensors: [],
      ints: [],
    } as OnnxNode;
    const graph = { ...model.graph, inputs: [key, value], outputs: [newKey, newValue], nodes: [node] };
    return retainedPairs({ ...model, graph }).map((p) => p.inPlace);
  };
  assert.equal(pairs('com.microsoft', ['q', 'k', 'v', key.name, value.name, 'n', 'm']), [true, true]);
  assert.equal(pairs('com.microsoft', ['q', 'k', 'v', value.name, key.name, 'n', 'm']), [false, false]);
  assert.equal(pairs('com.microsoft', [key.name, 'k', 'v', key.name, value.name, 'n', 'm']), [false, true]);
  assert.equal(pairs('other', ['q', 'k', 'v', key.name, value.name, 'n', 'm']), [false, false]);
});

test('the fixture with another reader would go wrong in place', async () => {
  const session = await InferenceSession.create(fixture('language-reader.onnx'), { executionMode: 'sequential' });
  const run = async (inPlace: boolean): Promise<Float32Array> => {
    const c = golden.cases[1];
    const ids = BigInt64Array.from(c?.ids ?? [], BigInt);
    const dims = [1, ids.length];
    const feeds: Record<string, OrtTensor> = {
      input_ids: new OrtTensor('int64', ids, dims),
      position_ids: new OrtTensor(
        'int64',
        BigInt64Array.from(ids, (_, i) => BigInt(i)),
        dims,
      ),
      image_idx: new OrtTensor('int64', BigInt64Array.of(0n), [1, 1]),
      vision_embeds: new OrtTensor('float32', new Float32Array(16), [1, 1, 16]),
    };
    const fetches: Record<string, OrtTensor | null> = { logits: null };
    for (const name of session.inputNames.filter((n) => n.startsWith('past_'))) {
      const cache = new OrtTensor('float32', new Float32Array(8 * 32), [1, 1, 32, 8]);
      feeds[name] = cache;
      fetches[`${name}_RetainedState`] = inPlace ? cache : null;
    }
    const out = await session.run(feeds, fetches as InferenceSession.OnnxValueMapType);
    return out.logits?.data as Float32Array;
  };
  const worst = (a: Float32Array): number =>
    Math.max(...Array.from(a, (v, i) => Math.abs(v - (golden.cases[1]?.logits.first[i] ?? 0))));
  assert.ok(worst(await run(false)) < 1e-3);
  assert.ok(worst(await run(true)) > 1);
  await session.release();
});

test('padded positions and positions past the cache are refused, and the state stays good', async () => {
  const session = await driver.open({ role: 'language', path: fixture('language-rank3.onnx') }, config);
  const state = session.createState(1, 16);
  const int64 = (...values: number[]) =>
    ({ dtype: 'int64', dims: [1, values.length], data: BigInt64Array.from(values, BigInt) }) as const;
  const call = (a: number, b: number) =>
    session.run(state, { input_ids: int64(1, 2), position_ids: int64(a, b), image_idx: int64(0) }, ['logits']);
  const padded = await rejects(call(0, -1), 'TENSOR_INVALID');
  assert.match(padded.details.what, 'padded');
  assert.match(padded.details.where ?? '', 'position_ids');
  await rejects(call(15, 16), 'TENSOR_INVALID');
  await rejects(call(0, 2 ** 33), 'TENSOR_INVALID');
  const { outputs } = await call(0, 1);
  assert.is(outputs.logits?.data.length, golden.vocab);
  await rejects(() => state.row(1), 'STATE_INVALID');
  await session.close();
});

test('inputs of a refused call are not mixed into the next one', async () => {
  const session = await driver.open({ role: 'language', path: fixture('language-rank3.onnx') }, config);
  const state = session.createState(1, 16);
  const int64 = (...values: number[]) =>
    ({ dtype: 'int64', dims: [1, values.length], data: BigInt64Array.from(values, BigInt) }) as const;
  const [ids, positions, longer] = [int64(1, 2), int64(0, 1), int64(0, 1, 2)];
  const index = int64(0);
  await session.run(state, { input_ids: ids, position_ids: positions, image_idx: index }, []);
  await rejects(session.run(state, { position_ids: longer, image_idx: index }, []), 'TENSOR_INVALID');
  for (let again = 0; again < 2; again++) {
    const mixed = { input_ids: ids, position_ids: longer, image_idx: index };
    await rejects(session.run(state, mixed, []), 'TENSOR_INVALID');
  }
  await session.run(state, { input_ids: ids, position_ids: positions, image_idx: index }, []);
  await session.close();
});

test('settings are recorded; options out of range are refused', async () => {
  const path = fixture('language-external.onnx');
  const session = await driver.open(
    { role: 'language', path },
    { kind: 'cpu', threads: 1, graph_optimization: 'basic' },
  );
  assert.equal(session.settings, {
    threads: 1,
    graphOptimization: 'basic',
    mendedConstants: 4,
    inPlaceCaches: 4,
    caches: 4,
  });
  await session.close();
  await rejects(driver.open({ role: 'language', path }, { kind: 'cpu', threads: 0 }), 'OPTION_INVALID');
  await rejects(driver.open({ role: 'language', path }, { kind: 'cpu', graph_optimization: 'most' }), 'OPTION_INVALID');
  const [info] = await driver.list();
  assert.is(info?.kind, 'cpu');
  assert.is(info?.status, 'ready');
});

test('files that are no program are told from files that are missing', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'vlm-program-'));
  const put = (name: string, bytes: Uint8Array | string): string => {
    writeFileSync(join(dir, name), bytes);
    return join(dir, name);
  };
  const model = readFileSync(fixture('language-rank3.onnx'));
  const open = (path: string) => driver.inspect({ role: 'language', path }, config);
  await rejects(open(put('empty.onnx', '')), 'PROGRAM_INVALID');
  await rejects(
    open(put('pointer.onnx', 'version https://git-lfs.github.com/spec/v1\noid sha256:00\n')),
    'PROGRAM_INVALID',
  );
  await rejects(open(put('cut.onnx', model.subarray(0, 9000))), 'PROGRAM_INVALID');
  await rejects(open(dir), 'PROGRAM_INVALID');
  // The weights file did not come along, or not whole.
  const lone = put('language-external.onnx', readFileSync(fixture('language-external.onnx')));
  assert.match((await rejects(open(lone), 'MODEL_MISSING')).details.expected ?? '', 'language-external.onnx.data');
  put('language-external.onnx.data', readFileSync(fixture('language-external.onnx.data')).subarray(0, 100));
  await rejects(open(lone), 'MODEL_MISSING');
  rmSync(dir, { recursive: true });
});

test.run();
