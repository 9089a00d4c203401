/** The binding as runs use it, over the same program. */
import type { Tensor } from '../../../../contracts/tensor.js';
import { CTX_LEN, HEAD_DIM, ROWS, WIDTH } from '../models.js';
import { SUCCESS } from '../runtime.js';
import { type Check, Deviation } from '../types.js';

const int64 = (values: readonly number[]): Tensor => ({
  dtype: 'int64',
  dims: [1, values.length],
  data: BigInt64Array.from(values, (v) => BigInt(v)),
});

export const BINDING_CHECKS: readonly Check[] = [
  {
    name: 'binding/session',
    assumption: 'the ai100 device of vlm-run runs a prompt of two calls and gets the right sums',
    source: 'this project',
    needs: ['run/retained-state', 'run/retained-rows'],
    program: 'language',
    run: async (kit) => {
      const { ai100Driver } = await import('../../index.js');
      const { emulated } = kit.order;
      const config = { kind: 'ai100', ids: [kit.device], emulated, timeout_ms: 10_000 };
      const session = await ai100Driver.open({ role: 'language', path: kit.facts('language').file }, config);
      try {
        await session.activate();
        const state = session.createState(1, CTX_LEN);
        const rows: Tensor = {
          dtype: 'float32',
          dims: [1, ROWS, WIDTH],
          data: new Float32Array(ROWS * WIDTH).fill(0.5),
        };
        const call = async (ids: readonly number[], at: readonly number[], more: Record<string, Tensor>) => {
          const inputs = { input_ids: int64(ids), position_ids: int64(at), image_idx: int64([0]), ...more };
          const { outputs } = await session.run(state, inputs, ['logits']);
          return [...((outputs['logits']?.data as Float32Array | undefined) ?? [])];
        };
        await call([3, 5, 2, 4], [0, 1, 2, 3], { vision_embeds: rows });
        const received = (await call([7], [4], {})).join(', ');
        const expected = [21 * HEAD_DIM, (ROWS * WIDTH) / 2, 7].join(', ');
        if (received !== expected) throw new Deviation(expected, received, SUCCESS);
        return { received, status: SUCCESS };
      } finally {
        await session.close();
      }
    },
  },
];
