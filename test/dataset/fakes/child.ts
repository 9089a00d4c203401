// A child as the supervisor sees it. Ids say what happens to it: "crash…" ends the process, "hang…" is never answered,
// "bad…" fails, everything else succeeds. `given.ahead` of the start message: how many items it takes at once.
import type { ChildMessage, ParentMessage } from '../../../src/dataset/protocol.js';

const tell = (message: ChildMessage): void => void process.send?.(message);
let ahead = 1;
let open = 0;
let ended = false;
let stopped = false;
let told = false;

function maybeDone(): void {
  // Each item that was wanted in vain is answered with an end of its own; the child is done once.
  if ((!ended && !stopped) || open > 0 || told) return;
  told = true;
  process.send?.({ type: 'done', ledger: { wallMs: 1, lanes: [] } } satisfies ChildMessage, undefined, undefined, () =>
    process.disconnect(),
  );
}

process.on('message', (message: ParentMessage) => {
  if (message.type === 'start') {
    const mode = String(message.given['mode'] ?? '');
    if (mode === 'dead') process.kill(process.pid, 'SIGKILL');
    if (mode === 'fatal') {
      return tell({ type: 'fatal', error: { code: 'MODEL_MISSING', what: 'There is no model' } });
    }
    ahead = Number(message.given['ahead'] ?? 1);
    for (let i = 0; i < ahead; i++) tell({ type: 'want' });
    return;
  }
  if (message.type === 'end') ended = true;
  if (message.type === 'stop') stopped = true;
  if (message.type === 'item') {
    const { seq, item } = message;
    open++;
    if (item.id.startsWith('crash')) process.kill(process.pid, 'SIGSEGV');
    if (item.id.startsWith('hang')) return;
    setTimeout(() => {
      const ok = !item.id.startsWith('bad');
      tell({
        type: 'row',
        seq,
        row: { id: item.id, ok, ...(ok ? {} : { error: { code: 'IMAGE_UNREADABLE', what: 'x' } }) },
      });
      open--;
      if (!ended && !stopped) tell({ type: 'want' });
      maybeDone();
    }, 5);
  }
  maybeDone();
});
process.on('disconnect', () => process.exit());
