/** Forked by the kit: runs the checks that it is told, one at a time. It may be lost with any of them. */
import { VlmError } from '../../../contracts/errors.js';
import { loadAddon } from '../library.js';
import { CHECKS } from './checks/index.js';
import { Kit } from './kit.js';
import { type Answer, Deviation, type Order, Undecided } from './types.js';

async function answer(order: Order): Promise<Answer> {
  const check = CHECKS.find((c) => c.name === order.check);
  if (check === undefined) return { verdict: 'skipped', reason: 'unknown check' };
  const kit = new Kit(loadAddon(), order);
  let executor: { close(): Promise<void> } | null = null;
  try {
    if (order.emulated && check.program === 'language') {
      executor = await (await import('../emulator/control.js')).startEmulatorExecutor();
    }
    return { verdict: 'passed', ...(await check.run(kit)) };
  } catch (error) {
    return failure(error);
  } finally {
    kit.end();
    await executor?.close();
  }
}

function failure(error: unknown): Answer {
  if (error instanceof Undecided) return { verdict: 'skipped', reason: error.reason };
  if (error instanceof Deviation) {
    const { expected, received, status } = error;
    return { verdict: 'failed', expected, received, ...(status === undefined ? {} : { status }) };
  }
  const received = error instanceof VlmError ? [error.details.what, error.details.received] : [String(error)];
  return {
    verdict: 'failed',
    expected: 'the check runs',
    received: received.filter((s) => s !== undefined).join(': '),
  };
}

process.on('message', (order: Order) => {
  const began = performance.now();
  void answer(order).then((answered) => process.send?.({ ...answered, ms: performance.now() - began }));
});
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
