/** Node fires a timer of more milliseconds at once: a longer wait is cut to these 24 days. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;
