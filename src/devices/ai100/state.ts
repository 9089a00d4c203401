/** The retained state of a program: it lives with an exec object on the card, and ends with the program that made it. */
import type { DeviceState, ProgramRole } from '../../contracts/device.js';
import { VlmError } from '../../contracts/errors.js';

/** The session that a state belongs to. */
export interface StateOwner {
  freed(slot: number): void;
}

export class CardState implements DeviceState {
  alive = true;
  constructor(
    readonly owner: StateOwner,
    readonly batch: number,
    readonly ctxLen: number,
    readonly slot: number,
    readonly life: number,
  ) {}

  row(index: number): DeviceState {
    if (this.batch === 1 && index === 0) return this;
    throw stateInvalid('A compiled program cannot run one row of a batch alone', 'the whole batch', `row ${index}`);
  }

  release(): void {
    if (this.alive) this.owner.freed(this.slot);
    this.alive = false;
  }
}

/** The session's own live state, or null for a vision program. Throws STATE_INVALID. */
export function ownState(
  owner: StateOwner,
  role: ProgramRole,
  life: number,
  state: DeviceState | null,
): CardState | null {
  if (role === 'vision') {
    if (state === null) return null;
    throw stateInvalid('A vision program runs without state', 'null', 'a state');
  }
  if (!(state instanceof CardState) || state.owner !== owner) {
    throw stateInvalid(
      'A language program needs a state',
      'a state of this session',
      state === null ? 'null' : 'a foreign one',
    );
  }
  if (!state.alive) throw stateInvalid('A state was used after its release', 'a live state', 'a released one');
  if (state.life !== life) {
    throw stateInvalid('The state was lost when the program left the card', 'a new state', 'a lost one');
  }
  return state;
}

export function stateInvalid(what: string, expected: string, received: string): VlmError {
  return new VlmError('STATE_INVALID', { what, expected, received });
}
