/** All checks, in the order in which they run: what others build on comes first. */
import type { Check } from '../types.js';
import { ABI_CHECKS } from './abi.js';
import { BINDING_CHECKS } from './binding.js';
import { DEVICE_CHECKS } from './device.js';
import { HANDLE_CHECKS } from './handle.js';
import { IO_CHECKS } from './io.js';
import { LIFECYCLE_CHECKS, PROGRAM_CHECKS } from './program.js';
import { RUN_CHECKS, SHAPE_CHECKS } from './run.js';
import { SKIPPED_CHECKS, STATE_CHECKS } from './state.js';
import { SWAP_CHECKS } from './swap.js';
import { TIMEOUT_CHECKS } from './timeout.js';

const [lifecycle, ...again] = LIFECYCLE_CHECKS;

export const CHECKS: readonly Check[] = [
  ...ABI_CHECKS,
  ...DEVICE_CHECKS,
  ...PROGRAM_CHECKS,
  ...IO_CHECKS,
  ...(lifecycle === undefined ? [] : [lifecycle]),
  ...RUN_CHECKS,
  ...SKIPPED_CHECKS,
  ...STATE_CHECKS,
  ...SWAP_CHECKS,
  ...again,
  ...SHAPE_CHECKS,
  ...TIMEOUT_CHECKS,
  ...HANDLE_CHECKS,
  ...BINDING_CHECKS,
];
