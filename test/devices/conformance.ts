/**
 * What every device driver must do, whatever runs behind it: the same tests for ONNX Runtime, a padded device and a
 * card. Expected tokens and logits come from transformers (tools/reference/dual_program_fixtures.py).
 */
import * as assert from 'uvu/assert';
import type {
  DeviceConfig,
  DeviceDriver,
  DeviceState,
  ProgramSession,
  RunOptions,
  RunResult,
} from '../../src/contracts/device.js';
import { type ErrorCode, VlmError } from '../../src/contracts/errors.js';
import type { Tensor } from '../../src/contracts/tensor.js';
import { generate } from '../../src/generation/index.js';
import type { GenerationOptions } from '../../src/generation/types.js';
import { fromHalf } from '../../src/util/float16.js';
import {
  floats,
  type GoldenCase,
  golden,
  goldenRequest,
  halfStep,
  logitTolerance,
  outcome,
  type Precision,
  sameTokens,
} from './golden.js';
import { suiteOf } from './suite.js';

export * from './golden.js';

/** Asserts that a promise is rejected with a VlmError of this code; gives the error back. */
export async function rejects(work: Promise<unknown> | (() => unknown), code: ErrorCode): Promise<VlmError> {
  let error: unknown;
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (thrown) {
    error = thrown;
  }
  assert.instance(error, VlmError, `expected ${code}`);
  assert.is((error as VlmError).code, code);
  return error as VlmError;
}

/** A session that remembers the logits of every call. */
export function recording(session: ProgramSession): { session: ProgramSession; logits: Float32Array[] } {
  const logits: Float32Array[] = [];
  const run = async (
    state: DeviceState | null,
    inputs: Readonly<Record<string, Tensor>>,
    wanted: readonly string[],
    options?: RunOptions,
  ): Promise<RunResult> => {
    const result = await session.run(state, inputs, [...new Set([...wanted, 'logits'])], options);
    logits.push(Float32Array.from(result.outputs.logits?.data as Float32Array));
    return result;
  };
  return {
    logits,
    session: {
      describe: () => session.describe(),
      activate: () => session.activate(),
      deactivate: () => session.deactivate(),
      createState: (b, c) => session.createState(b, c),
      close: () => session.close(),
      run,
    },
  };
}

export interface ConformanceTarget {
  readonly name: string;
  readonly driver: DeviceDriver;
  readonly config: DeviceConfig;
  readonly language: string;
  readonly vision: string;
  /** What is float16 between host and program: nothing, the vision rows, or also caches and logits. Default nothing. */
  readonly precision?: Precision;
  /** Prefill lengths to try; a padded device has its own list. */
  readonly chunks: readonly number[];
  readonly batches: boolean;
  /** Rows of the smallest state: 1 but for programs of continuous batching, whose cache has all rows. */
  readonly rows?: number;
}

export function conformance(target: ConformanceTarget): void {
  const test = suiteOf(`conformance: ${target.name}`);
  const precision = target.precision ?? 'float32';
  const rows = target.rows ?? 1;
  let session: ProgramSession;
  const options = (over: Partial<GenerationOptions> = {}): GenerationOptions => ({
    prefillSeqLen: target.chunks[0] ?? 8,
    ctxLen: golden.ctx,
    maxNewTokens: 24,
    ...over,
  });

  test.before(async () => {
    session = await target.driver.open({ role: 'language', path: target.language }, target.config);
    await session.activate();
  });
  test.after(async () => {
    await session.deactivate();
    await session.close();
  });

  test('inspecting a program says what an open session says', async () => {
    const inspected = await target.driver.inspect({ role: 'language', path: target.language }, target.config);
    assert.equal(inspected, session.describe());
    assert.is(inspected.role, 'language');
    assert.ok(inspected.inputs.some((p) => /^past_key\.0(_\w+)?$/.test(p.name)));
    assert.ok(inspected.inputs.every((p) => !p.name.includes('/')));
    assert.ok(inspected.stateBytesPerToken > 0);
    assert.ok(inspected.weightBytes > 0);
  });

  test('the vision program gives the rows of the reference', async () => {
    const vision = await target.driver.open({ role: 'vision', path: target.vision }, target.config);
    await vision.activate();
    for (const c of golden.cases) {
      if (c.pixels === null || c.vision === null) continue;
      const { outputs } = await vision.run(null, { pixel_values: floats(c.pixels) }, ['vision_embeds']);
      const embeds = outputs.vision_embeds;
      assert.is(embeds?.dims.slice(-2).join(), c.vision.dims.join());
      const half = embeds?.dtype === 'float16';
      const given = Array.from((embeds?.data ?? []) as Uint16Array | Float32Array, (v) => (half ? fromHalf(v) : v));
      // A row is a sum of 12 products, each exact in f32 (pixels and weights are f16, weights below 2). In whatever order,
      // 11 additions round by at most 2^-24 of the sum of magnitudes each, here and in the reference.
      const magnitudes = 12 * 2 * Math.max(...c.pixels.data.map(Math.abs));
      const sums = 2 * 11 * 2 ** -24 * magnitudes;
      // A row that is handed over as f16 is rounded once more: by up to half a step of the largest.
      const rounding = half ? halfStep(Math.max(...c.vision.data.map(Math.abs))) / 2 : 0;
      near(given, c.vision.data, sums + rounding);
    }
    await vision.deactivate();
    await vision.close();
  });

  for (const [i, c] of golden.cases.entries()) {
    for (const prefillSeqLen of target.chunks) {
      test(`case ${i} in chunks of ${prefillSeqLen}: tokens and logits of the reference`, async () => {
        const seen = recording(session);
        const [result] = await generate(seen.session, [goldenRequest(c)], options({ prefillSeqLen }));
        const expected = outcome(c, precision);
        assert.is(result?.ids.length, expected.tokens.length);
        sameTokens(result?.ids ?? [], expected, precision);
        assert.is(result?.finish, 'length');
        assert.is(
          result?.prefillChunks.reduce((n, x) => n + x, 0),
          c.ids.length,
        );
        const prefills = result?.prefillChunks.length ?? 0;
        near(
          seen.logits[prefills - 1]?.subarray(0, golden.vocab) ?? [],
          expected.logits.first,
          logitTolerance(precision),
        );
        near(seen.logits.at(-1)?.subarray(0, golden.vocab) ?? [], expected.logits.last, logitTolerance(precision));
      });
    }
  }

  if (target.batches) {
    test('prompts of unequal length in one batch: each row as alone, whatever the order', async () => {
      for (const order of [
        [0, 1, 2, 3],
        [3, 1, 0, 2],
      ]) {
        const cases = order.map((i) => golden.cases[i] as GoldenCase);
        const results = await generate(session, cases.map(goldenRequest), options());
        for (const [i, c] of cases.entries()) {
          assert.is(results[i]?.ids.length, c.tokens.length);
          sameTokens(results[i]?.ids ?? [], outcome(c, precision), precision);
        }
      }
    });

    test('a row that ended goes on without disturbing the others', async () => {
      const cases = golden.cases;
      const eosTokenIds = [cases[1]?.tokens[4] as number];
      const results = await generate(session, cases.map(goldenRequest), options({ eosTokenIds }));
      for (const [i, c] of cases.entries()) {
        const at = c.tokens.indexOf(eosTokenIds[0] as number);
        const expected = at < 0 ? c.tokens : c.tokens.slice(0, at + 1);
        assert.equal(Array.from(results[i]?.ids ?? []), expected);
        assert.is(results[i]?.finish, at < 0 ? 'length' : 'eos');
      }
    });
  }

  test('a used cache leaves no trace in the next prompt', async () => {
    const [a, b] = [golden.cases[3] as GoldenCase, golden.cases[0] as GoldenCase];
    await generate(session, [goldenRequest(a)], options());
    const [result] = await generate(session, [goldenRequest(b)], options());
    assert.equal(Array.from(result?.ids ?? []), b.tokens);
  });

  test('reductions agree with the full logits', async () => {
    const c = golden.cases[1] as GoldenCase;
    const seen = recording(session);
    const ran: RunResult[] = [];
    const spy: ProgramSession = {
      ...seen.session,
      run: async (state, inputs, wanted, opts) => {
        const result = await seen.session.run(state, inputs, wanted, { ...opts, reduce: { kind: 'topk', k: 5 } });
        const { top } = result;
        ran.push({
          outputs: {},
          ...(top === undefined ? {} : { top: { k: top.k, ids: top.ids.slice(), values: top.values.slice() } }),
        });
        return result;
      },
    };
    await generate(spy, [goldenRequest(c)], options({ recordMargins: true, maxNewTokens: 6 }));
    assert.ok(ran.length >= 6);
    for (const [i, { top }] of ran.entries()) {
      const row = Array.from(seen.logits[i]?.subarray(0, golden.vocab) ?? []);
      const expected = row.map((v, id) => ({ v, id })).sort((x, y) => y.v - x.v || x.id - y.id);
      assert.equal(
        Array.from(top?.ids.subarray(0, 5) ?? []),
        expected.slice(0, 5).map((e) => e.id),
      );
      assert.equal(
        Array.from(top?.values.subarray(0, 5) ?? []),
        expected.slice(0, 5).map((e) => e.v),
      );
    }
  });

  test('inputs that do not fit are refused by name', async () => {
    const state = session.createState(rows, golden.ctx);
    const good = await firstCall(session, state);
    const positions = good.position_ids as Tensor;
    const bad: readonly [string, Record<string, Tensor>][] = [
      ['surprise', { ...good, surprise: positions }],
      ['past_key.0', { ...good, 'past_key.0': positions }],
      [
        'position_ids',
        {
          ...good,
          position_ids: { dtype: 'float32', dims: positions.dims, data: new Float32Array(positions.data.length) },
        },
      ],
      ['position_ids', { ...good, position_ids: { ...positions, dims: [positions.data.length] } as Tensor }],
      ['position_ids', { ...good, position_ids: { dtype: 'int64', dims: [1, 77], data: new BigInt64Array(77) } }],
      ['input_ids', { ...good, input_ids: { dtype: 'int64', dims: positions.dims, data: new BigInt64Array(99) } }],
      ['input_ids', { position_ids: positions }],
    ];
    for (const [port, inputs] of bad) {
      const error = await refused(session.run(state, inputs, ['logits']));
      assert.match(error.details.where ?? '', port);
      assert.ok(error.details.expected);
      assert.ok(error.details.received);
    }
    // The state is still good.
    const { outputs } = await session.run(state, good, ['logits']);
    assert.is(outputs.logits?.data.length, golden.vocab);
    await rejects(session.run(state, good, ['nothing']), 'TENSOR_INVALID');
    await rejects(session.run(state, good, ['past_key.0_RetainedState']), 'TENSOR_INVALID');
    state.release();
  });

  test('states belong to their session, and end with their release', async () => {
    const state = session.createState(rows, golden.ctx);
    const inputs = await firstCall(session, state);
    await rejects(session.run(null, inputs, ['logits']), 'STATE_INVALID');
    const other = await target.driver.open({ role: 'language', path: target.language }, target.config);
    await other.activate();
    const foreign = other.createState(rows, golden.ctx);
    await rejects(session.run(foreign, inputs, ['logits']), 'STATE_INVALID');
    state.release();
    await rejects(session.run(state, inputs, ['logits']), 'STATE_INVALID');
    await rejects(() => session.createState(0, golden.ctx), 'STATE_INVALID');
    await other.deactivate();
    await other.close();
    await other.close();
    await rejects(other.run(foreign, inputs, ['logits']), 'DEVICE_CLOSED');
    await rejects(() => other.createState(rows, golden.ctx), 'DEVICE_CLOSED');
  });

  test('a missing file and the wrong half are told apart', async () => {
    const { driver, config } = target;
    await rejects(driver.open({ role: 'language', path: `${target.language}.none` }, config), 'MODEL_MISSING');
    await rejects(driver.inspect({ role: 'language', path: target.vision }, config), 'PROGRAM_INVALID');
    await rejects(driver.inspect({ role: 'vision', path: target.language }, config), 'PROGRAM_INVALID');
  });

  test.run();
}

/** The inputs of a real first prefill call, taken from the loop, for a state of one row. */
async function firstCall(session: ProgramSession, state: DeviceState): Promise<Record<string, Tensor>> {
  let inputs: Record<string, Tensor> | null = null;
  const spy: ProgramSession = {
    describe: () => session.describe(),
    activate: () => session.activate(),
    deactivate: () => session.deactivate(),
    createState: () => ({
      batch: state.batch,
      ctxLen: state.ctxLen,
      row: (i) => state.row(i),
      release: () => undefined,
    }),
    close: () => session.close(),
    run: (_, given, wanted, options) => {
      inputs ??= { ...given };
      return session.run(state, given, wanted, options);
    },
  };
  const request = goldenRequest(golden.cases[1] as GoldenCase);
  await generate(spy, [request], { prefillSeqLen: 8, ctxLen: golden.ctx, maxNewTokens: 1 });
  if (inputs === null) throw new VlmError('INTERNAL', { what: 'The loop made no call' });
  return inputs;
}

async function refused(work: Promise<unknown>): Promise<VlmError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof VlmError && ['TENSOR_INVALID', 'SHAPE_NOT_ALLOWED'].includes(error.code)) return error;
    throw error;
  }
  return assert.unreachable('a call with bad inputs was accepted') as never;
}

export function near(given: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  assert.is(given.length, expected.length);
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const off = Math.abs((given[i] as number) - (expected[i] as number));
    worst = Number.isNaN(off) ? Number.POSITIVE_INFINITY : Math.max(worst, off);
  }
  assert.ok(worst <= tolerance, `worst difference ${worst} is above ${tolerance}`);
}
