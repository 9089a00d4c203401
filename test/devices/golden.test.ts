// How near to the reference is near: wide enough for what its own runs showed, too narrow for a program that is wrong.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ProgramSession } from '../../src/contracts/device.js';
import type { Tensor } from '../../src/contracts/tensor.js';
import { cpuDriver } from '../../src/devices/cpu/index.js';
import { generate } from '../../src/generation/index.js';
import type { GenerationRequest } from '../../src/generation/types.js';
import {
  fixture,
  type GoldenCase,
  golden,
  goldenRequest,
  logitErrors,
  logitTolerance,
  outcome,
  type Precision,
  recording,
} from './conformance.js';

const test = suite('near to the reference');

test('the tolerances hold what the reference itself showed, and never excuse a token of the goldens', () => {
  const float = logitErrors('float32');
  const half = logitErrors('half');
  assert.ok(golden.floatSpread <= float.sums, `${golden.floatSpread} of ${float.sums}`);
  assert.ok(golden.halfSpread <= half.sums + half.stored, `${golden.halfSpread} of ${half.sums + half.stored}`);
  for (const precision of ['float32', 'halfRows', 'half'] as const) {
    const margins = golden.cases.flatMap((c) => outcome(c, precision).margins);
    assert.ok(2 * logitTolerance(precision) < Math.min(...margins), precision);
  }
});

const language = { float32: 'language-rank3.onnx', half: 'language-half.onnx' } as const;
type Wrong = (request: GenerationRequest, session: ProgramSession) => readonly [GenerationRequest, ProgramSession];

/** Inputs of every call, changed before the program sees them. */
const withInputs =
  (change: (inputs: Readonly<Record<string, Tensor>>) => Readonly<Record<string, Tensor>>): Wrong =>
  (request, session) => [
    request,
    {
      describe: () => session.describe(),
      activate: () => session.activate(),
      deactivate: () => session.deactivate(),
      createState: (batch, ctx) => session.createState(batch, ctx),
      close: () => session.close(),
      run: (state, inputs, wanted, options) => session.run(state, change(inputs), wanted, options),
    },
  ];

const withRows =
  (change: (data: Float32Array) => Float32Array): Wrong =>
  (request, session) => {
    const { vision } = request;
    if (vision === null || !(vision.data instanceof Float32Array)) return [request, session];
    return [{ ...request, vision: { dtype: 'float32', dims: vision.dims, data: change(vision.data) } }, session];
  };

/** Without its last `bits` bits of 23: what a narrower format keeps. */
const cut =
  (bits: number) =>
  (data: Float32Array): Float32Array =>
    new Float32Array(Uint32Array.from(new Uint32Array(data.slice().buffer), (word) => (word >> bits) << bits).buffer);

const shifted = (data: Float32Array): Float32Array => {
  const rows = data.slice();
  rows.set(data.subarray(golden.hidden));
  return rows;
};

const later = (positions: Tensor): Tensor => ({
  ...positions,
  dtype: 'int64',
  data: BigInt64Array.from(positions.data as BigInt64Array, (p) => (p > 3n ? p + 1n : p)),
});

const WRONG: Readonly<Record<string, Wrong>> = {
  'vision rows one too far': withRows(shifted),
  'vision rows in eight bits': withRows(cut(20)),
  'positions one too far behind the fourth': withInputs((inputs) => ({
    ...inputs,
    ...(inputs['position_ids'] === undefined ? {} : { position_ids: later(inputs['position_ids']) }),
  })),
};

async function apart(c: GoldenCase, precision: 'float32' | 'half', wrong?: Wrong): Promise<number> {
  const path = fixture(language[precision]);
  const session = await cpuDriver.open({ role: 'language', path }, { kind: 'cpu', threads: 1 });
  await session.activate();
  try {
    const [request, used] = wrong?.(goldenRequest(c), session) ?? [goldenRequest(c), session];
    const seen = recording(used);
    await generate(seen.session, [request], { prefillSeqLen: 8, ctxLen: golden.ctx, maxNewTokens: 1 });
    const expected = outcome(c, precision as Precision).logits.first;
    return Math.max(...expected.map((v, i) => Math.abs(v - (seen.logits.at(-1)?.[i] ?? Number.NaN))));
  } finally {
    await session.deactivate();
    await session.close();
  }
}

for (const precision of ['float32', 'half'] as const) {
  test(`${precision}: the right program is near, a wrong one is not`, async () => {
    const [c] = golden.cases.filter((one) => one.vision !== null);
    assert.ok(c);
    const tolerance = logitTolerance(precision);
    assert.ok((await apart(c, precision)) <= tolerance);
    for (const [what, wrong] of Object.entries(WRONG)) {
      const off = await apart(c, precision, wrong);
      assert.ok(off > tolerance, `${what}: ${off} of ${tolerance}`);
    }
  });
}

test.run();
