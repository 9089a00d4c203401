/**
 * Forked by the campaign: goes through its cases and tells of each step as it happens, so that what was finished is known
 * whatever comes of the rest.
 */

import type { DeviceState, ProgramSession } from '../../../../src/contracts/device.js';
import { VlmError } from '../../../../src/contracts/errors.js';
import type { Tensor } from '../../../../src/contracts/tensor.js';
import { loadControl } from '../../../../src/devices/ai100/emulator/addon.js';
import { ai100Driver } from '../../../../src/devices/ai100/index.js';
import type { FaultCase, Phase } from './cases.js';

export interface Order {
  readonly cases: readonly FaultCase[];
  readonly vision: string;
  readonly language: string;
}
export type Told =
  | { readonly kind: 'begin'; readonly name: string }
  | { readonly kind: 'result'; readonly index: number; readonly right: boolean }
  | { readonly kind: 'error'; readonly phase: Phase; readonly code: string; readonly message: string }
  | { readonly kind: 'warning'; readonly message: string }
  | { readonly kind: 'end'; readonly leaked: number };

const tell = (told: Told): void => {
  process.send?.(told);
};

process.on('warning', ({ message }) => tell({ kind: 'warning', message }));

/** Runs one step; an error is told, not thrown. */
async function step<T>(phase: Phase, work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    const foreign = !(error instanceof VlmError);
    tell({ kind: 'error', phase, code: foreign ? 'foreign' : error.code, message: String(error) });
    return undefined;
  }
}

async function image(session: ProgramSession, index: number): Promise<boolean> {
  const data = Float32Array.from({ length: 8 }, (_, i) => 10 * index + i + 1);
  const pixels: Tensor = { dtype: 'float32', dims: [2, 4], data };
  const { outputs } = await session.run(null, { pixel_values: pixels }, ['vision_embeds']);
  return data.every((v, i) => outputs['vision_embeds']?.data[i] === v);
}

/** Two steps of one prompt. */
async function prompt(session: ProgramSession, index: number): Promise<boolean> {
  const state = session.createState(1, 32);
  try {
    let right = true;
    for (const at of [0, 1]) {
      const word = 1 + index * 2 + at;
      const ids: Tensor = { dtype: 'int64', dims: [1, 1], data: BigInt64Array.of(BigInt(word)) };
      const positions: Tensor = { dtype: 'int64', dims: [1, 1], data: BigInt64Array.of(BigInt(at)) };
      const { outputs } = await session.run(state, { input_ids: ids, position_ids: positions }, ['logits']);
      const logits = outputs['logits']?.data as Float32Array;
      right &&= new Uint32Array(logits.buffer, logits.byteOffset, 2)[0] === word;
    }
    return right;
  } catch (error) {
    // What the card kept is lost with the program: the state must not be taken for a live one.
    if (!(await isLost(session, state))) tell({ kind: 'result', index, right: false });
    throw error;
  } finally {
    state.release();
  }
}

async function isLost(session: ProgramSession, state: DeviceState): Promise<boolean> {
  const ids: Tensor = { dtype: 'int64', dims: [1, 1], data: BigInt64Array.of(1n) };
  try {
    await session.run(state, { input_ids: ids, position_ids: ids }, ['logits']);
    return false;
  } catch (error) {
    // A state that was made while there was no program is refused for that.
    return error instanceof VlmError && ['STATE_INVALID', 'DEVICE_FAILED', 'DEVICE_UNAVAILABLE'].includes(error.code);
  }
}

async function runCase(order: Order, fault: FaultCase, device: number): Promise<void> {
  const path = fault.role === 'vision' ? order.vision : order.language;
  const config = { kind: 'ai100', emulated: true, ids: [device], timeout_ms: fault.timeoutMs ?? 20_000 };
  const session = await step('open', () => ai100Driver.open({ role: fault.role, path }, config));
  if (session === undefined) return;
  const active = await step('activate', async () => {
    await session.activate();
    return true;
  });
  for (let index = 0; active === true && index < 3; index++) {
    const right = await step('run', () => (fault.role === 'vision' ? image : prompt)(session, index));
    if (right !== undefined) tell({ kind: 'result', index, right });
  }
  await step('close', () => session.deactivate());
  await step('close', () => session.close());
}

process.once('message', async (order: Order) => {
  const control = loadControl();
  for (const [i, fault] of order.cases.entries()) {
    tell({ kind: 'begin', name: fault.name });
    if (fault.faults === 'abort') process.abort();
    control.faults(fault.faults);
    const before = control.liveHandles();
    // Each case on a card of its own: a release that was refused leaves its cores taken.
    await runCase(order, fault, i % 64);
    // Warnings are told on a later turn.
    await new Promise((resolve) => setImmediate(resolve));
    tell({ kind: 'end', leaked: control.liveHandles() - before });
  }
  process.disconnect();
});
