/** What the statuses of the runtime mean, and what to do about them. */
import { VlmError } from '../../contracts/errors.js';
import { buildNativeCommand } from '../../util/native-parts.js';
import { type Failure, permissionProblem, unavailable } from './library.js';

const NAMES: Readonly<Record<number, string>> = {
  1: 'permission',
  2: 'again',
  3: 'no memory',
  4: 'busy',
  5: 'no device',
  6: 'invalid',
  7: 'no space',
  8: 'bad descriptor',
  9: 'timed out',
  10: 'protocol',
  11: 'unsupported',
  12: 'data CRC',
  300: 'device error',
  500: 'error',
};

/** Statuses of opening a file that speak of the file: invalid, bad descriptor, unsupported, data CRC, error. */
const UNREADABLE: ReadonlySet<number> = new Set([6, 8, 11, 12, 500]);

export function failureLabel({ status, call }: Failure): string {
  return `${call}: status ${status} (${NAMES[status] ?? 'unknown'})`;
}

/** An error for a call of the runtime that failed. */
export function failed(failure: Failure, where: string): VlmError {
  const label = failureLabel(failure);
  const { status, call } = failure;
  if (call === 'devMapping') {
    return unavailable(
      'Several cards for one program need a binding built against the SDK header',
      'a build without QAicApi.h',
      `install the platform SDK (/opt/qti-aic/dev/inc) and run ${buildNativeCommand()}, or give one card in \`ids\``,
    ).at(where);
  }
  if (status === 1) {
    return (
      permissionProblem() ?? unavailable('The card refused this user', label, 'check the access to /dev/accel')
    ).at(where);
  }
  if (status === 5) {
    return (
      permissionProblem() ??
      unavailable('There is no such card', label, '`vlm-run devices` lists the cards; set `ids` in the recipe')
    ).at(where);
  }
  if (call === 'qaicOpenQpcFile' && UNREADABLE.has(status)) {
    return new VlmError('PROGRAM_INVALID', {
      what: 'The card runtime cannot read a compiled program',
      received: label,
      where,
      hint: 'compile it again with `vlm-run compile RECIPE`',
    });
  }
  return new VlmError('DEVICE_FAILED', {
    what: 'A call of the card runtime failed',
    received: label,
    where,
    hint: hintOf(failure),
  });
}

function hintOf({ status, call }: Failure): string {
  if (status === 9) return 'the card did not answer in time: raise `timeout_ms` of the device, or check the card';
  const starting = ['qaicCreateProgram', 'qaicLoadProgram', 'qaicRunActivationCmd'].includes(call);
  if (starting) return 'a card holds 16 cores of programs at a time: check that no other program is active on it';
  if (status === 300) return 'check the card (qaic-util -q) and the kernel log (dmesg)';
  return 'check the card with `vlm-run devices` and the kernel log (dmesg)';
}
