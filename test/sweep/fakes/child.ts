// A point's child: what happens is in the first change.
import type { PointMessage, PointTask } from '../../../src/sweep/protocol.js';

process.once('message', (task: PointTask) => {
  const [what = ''] = task.set;
  if (what === 'crash') process.kill(process.pid, 'SIGSEGV');
  if (what === 'hang') return;
  if (what === 'killed') process.kill(process.pid, 'SIGKILL');
  const hoard: string[][] = [];
  while (what === 'greedy') hoard.push(Array.from({ length: 10_000 }, (_, i) => `${i} of ${hoard.length}`));
  if (what === 'talks') process.stderr.write('a library says why\n');
  if (what === 'exit' || what === 'talks') process.exit(7);
  process.send?.({ type: 'progress', done: 1, total: 2 } satisfies PointMessage);
  process.send?.(
    { type: 'failed', error: { code: 'IMAGE_UNREADABLE', what: 'no picture' } } satisfies PointMessage,
    undefined,
    undefined,
    () => process.disconnect(),
  );
});
process.on('disconnect', () => process.exit());
