import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ProgramSession } from '../../src/contracts/device.js';
import { cpuDriver } from '../../src/devices/cpu/index.js';
import { generate } from '../../src/generation/index.js';
import { fixture, type GoldenCase, golden, goldenRequest } from '../devices/conformance.js';

/** Records `image_idx` of every call; its own output says 0, as QEfficient's graphs do after a chunk of words alone. */
function forgetful(session: ProgramSession, seen: number[]): ProgramSession {
  return {
    describe: () => session.describe(),
    activate: () => session.activate(),
    deactivate: () => session.deactivate(),
    createState: (batch, ctxLen) => session.createState(batch, ctxLen),
    close: () => session.close(),
    run: async (state, inputs, wanted, options) => {
      seen.push(Number(inputs['image_idx']?.data[0]));
      const result = await session.run(state, inputs, wanted, options);
      const { image_idx_output: index, ...outputs } = result.outputs;
      return index === undefined
        ? result
        : { ...result, outputs: { ...outputs, image_idx_output: { ...index, data: new BigInt64Array(1) } } };
    },
  };
}

test('vision rows of a second image are counted by the host, whatever a chunk of words alone gives back', async () => {
  const session = await cpuDriver.open(
    { role: 'language', path: fixture('language-rank3.onnx') },
    { kind: 'cpu', threads: 1 },
  );
  try {
    await session.activate();
    const base = goldenRequest(golden.cases.find((c) => goldenRequest(c).vision !== null) as GoldenCase);
    const rows = base.vision?.dims[0] ?? 0;
    assert.ok(rows >= 2);
    const image = (n: number): number[] => Array<number>(n).fill(base.imageTokenId);
    const words = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    const ids = Int32Array.from([...image(1), ...words, ...image(rows - 1), 17, 18]);
    const seen: number[] = [];
    const options = { ctxLen: golden.ctx, maxNewTokens: 4 };
    const [chunked] = await generate(forgetful(session, seen), [{ ...base, ids }], { ...options, prefillSeqLen: 4 });
    const [whole] = await generate(session, [{ ...base, ids }], { ...options, prefillSeqLen: 64 });
    assert.equal([...(chunked?.ids ?? [])], [...(whole?.ids ?? [])]);
    const chunks = Math.ceil(ids.length / 4);
    const expected = Array.from({ length: chunks }, (_, i) =>
      ids.subarray(0, 4 * i).reduce((n, id) => n + (id === base.imageTokenId ? 1 : 0), 0),
    );
    assert.equal(seen.slice(0, chunks), expected);
  } finally {
    await session.close();
  }
});

test.run();
