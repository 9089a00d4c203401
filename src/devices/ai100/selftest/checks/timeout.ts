/** Waits that are shorter than the execution. */
import type { Kit } from '../kit.js';
import { SUCCESS, statusText, TIMED_OUT } from '../runtime.js';
import { type Check, Deviation, FACTS, Undecided } from '../types.js';
import { setOf, started } from './run.js';

const EMULATED_MS = 400;
const WAIT = 'qaicExecObjWaitForCompletion';

interface Waited {
  readonly status: number;
  readonly ms: number;
  readonly typicalMs: number;
  readonly timeoutMs: number;
}

/** Waits for a tenth of the time that the execution takes. On a card that time is measured first. */
async function waitBriefly(kit: Kit): Promise<Waited> {
  const { facts, call } = started(kit);
  const shapes = setOf(facts, 0);
  const passed = { shapes };
  let typicalMs = EMULATED_MS;
  if (!(await kit.slow(EMULATED_MS))) {
    const times = Array.from({ length: 5 }, () => {
      const began = performance.now();
      call.runs(passed, 'the execution succeeds');
      return performance.now() - began;
    });
    typicalMs = Math.min(...times);
  }
  const timeoutMs = Math.max(0.001, typicalMs / 10);
  const ready = [call.setData(passed), call.enqueue()].find((status) => status !== SUCCESS);
  if (ready !== undefined) throw new Deviation('setData and enqueue succeed', `status ${ready}`, ready);
  const began = performance.now();
  const status = call.wait(Math.max(1, Math.round(timeoutMs * 1000)));
  return { status, ms: performance.now() - began, typicalMs, timeoutMs };
}

export const TIMEOUT_CHECKS: readonly Check[] = [
  {
    name: 'timeout/wait',
    assumption: 'a wait ends after its timeout (microseconds), though the execution goes on',
    source: FACTS.runtime,
    needs: ['run/echo'],
    program: 'any',
    run: async (kit) => {
      const { status, ms, typicalMs, timeoutMs } = await waitBriefly(kit);
      const received = `${statusText(WAIT, status)} after ${ms.toFixed(2)} ms`;
      const expected = `back after ${timeoutMs.toFixed(3)} ms of an execution of ${typicalMs.toFixed(2)} ms`;
      // Much earlier than asked for: the unit would be another one.
      if (status !== SUCCESS && ms < timeoutMs / 2) throw new Deviation(expected, received, status);
      if (status !== SUCCESS) return { received, status };
      if (kit.order.emulated || ms > typicalMs * 0.8) throw new Deviation(expected, received, status);
      throw new Undecided(`the execution (${typicalMs.toFixed(2)} ms) was over before the wait: try --program`);
    },
  },
  {
    name: 'timeout/status-9',
    assumption: 'a wait that timed out answers 9',
    source: FACTS.field,
    needs: ['timeout/wait'],
    program: 'any',
    run: async (kit) => {
      const { status } = await waitBriefly(kit);
      if (status === SUCCESS) throw new Undecided('the execution was over before the wait: try --program');
      if (status === TIMED_OUT) return { received: statusText(WAIT, status), status };
      throw new Deviation(statusText(WAIT, TIMED_OUT), statusText(WAIT, status), status);
    },
  },
];
