import * as assert from 'uvu/assert';
import { VlmError } from '../../src/contracts/errors.js';

/** The VlmError that `action` throws. */
export function codeOf(action: () => unknown): VlmError {
  let thrown: unknown;
  try {
    action();
  } catch (error) {
    thrown = error;
  }
  assert.instance(thrown, VlmError);
  return thrown as VlmError;
}

/** The VlmError that `action` rejects with. */
export async function rejectionOf(action: () => Promise<unknown>): Promise<VlmError> {
  let thrown: unknown;
  try {
    await action();
  } catch (error) {
    thrown = error;
  }
  assert.instance(thrown, VlmError);
  return thrown as VlmError;
}
