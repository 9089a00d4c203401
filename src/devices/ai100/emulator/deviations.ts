/**
 * Ways in which the emulated card can be told to differ from what is assumed of the card runtime, one a name:
 * `VLM_AICEMU_FAULTS='deviate NAME'`. `vlm-run selftest` is tried against each. The names are those of
 * native/emulator/faults.cc; a test compares the two.
 */
export const EMULATOR_DEVIATIONS = {
  'version-layout': 'qaicGetAicVersion gives its numbers in the other order, and null for patch and variant',
  'resource-layout': 'QResourceInfo is packed: its fields have no gaps for alignment',
  'devices-endless': 'device ids past the last card are answered as cards, not with status 5',
  'buffer-info-sizes': 'qaicProgramGetIoBufferInfo gives half the size of each buffer',
  'descriptor-sizes': 'the size of every binding in the I/O descriptor is off by one',
  'descriptor-short': 'the I/O descriptor is cut in half',
  'shapes-order': 'the first two shapes of each allowed set belong to each other’s binding',
  'unlisted-accepted': 'a shape that was not compiled completes with success, its outputs not written',
  'unlisted-early': 'a shape that was not compiled is refused by setData with 6, not at completion with 300',
  'skipped-reset': 'vision rows of which the buffer is skipped are reset to zero instead of kept',
  'skipped-refused': 'a skipped buffer (size 0, dims [0]) is refused by setData with 6',
  'state-lost': 'retained caches are empty again at each call',
  'timeout-ignored': 'a wait for completion takes as long as the execution, whatever its timeout',
  'timeout-status': 'a wait that timed out answers 500 instead of 9',
  'small-buffer-accepted': 'a buffer smaller than its shape is accepted, and the rest taken for zero',
  'largest-size-only': 'a buffer must have the size of the largest shape, not that of the call’s',
  'outputs-not-written': 'an execution succeeds and leaves the output buffers as they were',
  'cores-unlimited': 'programs are activated together though their cores do not fit the card',
  'cores-not-freed': 'deactivating a program does not free its cores',
  'stale-accepted': 'calls with a handle that was released before succeed',
  'double-release-accepted': 'releasing a handle a second time succeeds',
  'error-forgiven': 'a program goes on after a device error or timeout, without being made anew',
} as const satisfies Readonly<Record<string, string>>;

export type EmulatorDeviation = keyof typeof EMULATOR_DEVIATIONS;
