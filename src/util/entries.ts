/** Files that run in a thread or process of their own, by their place in the folder of compiled code. */
export const ENTRIES = [
  'compose/dataset-child',
  'compose/sweep-child',
  'devices/ai100/emulator/executor-worker',
  'devices/ai100/selftest/child',
  'runner/worker',
] as const;

/** This file, and any part of the bundle that holds it, lies one folder below the folder of compiled code. */
export const entryUrl = (name: (typeof ENTRIES)[number]): URL => new URL(`../${name}.js`, import.meta.url);
